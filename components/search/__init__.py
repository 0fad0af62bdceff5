"""Hyper-parameter search: what is varied, how a trial is judged, and the best set as a preset."""
