"""Scripts that run in the peers' own environment (`make peers`) and import nothing of Duotempo."""
