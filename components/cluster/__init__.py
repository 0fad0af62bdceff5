"""What runs on a Ray cluster: the embedding, the interests and the training, with the same parts as in one process."""
