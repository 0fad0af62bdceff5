"""Benchmarks against named peers; `benchmarks.registry` lists the modules that `duotempo bench` runs."""
