"""A run's folder: its files, its seal, where it was computed."""
