"""One training loop for every model, and what it needs: batches, checkpoints, logs, validation, processes."""
