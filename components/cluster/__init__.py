"""Embedding and interests on a Ray cluster, with the same code as in one process."""
