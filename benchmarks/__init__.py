"""What `make bench` runs: each module prints one table and writes one figure (`docs/benchmarks.md`)."""
