"""The benchmarks of `make bench`: each module prints one table and writes one figure (`docs/benchmarks.md`)."""
