"""Figures of Duotempo beside those of named peers; each module with a `run` is a bench of `duotempo bench`."""
