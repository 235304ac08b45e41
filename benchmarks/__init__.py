"""Benchmarks of `make bench`: each module prints a table and writes a figure (`docs/benchmarks.md`)."""
