"""Training: from batches to a checkpoint."""
