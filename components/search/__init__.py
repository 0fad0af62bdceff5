"""Hyper-parameter search: the search space, the evaluation of a trial, and the best values as a preset."""
