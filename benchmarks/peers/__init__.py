"""Peers of the benchmarks: services to compare with, and scripts for their own environment (`make peers`)."""
