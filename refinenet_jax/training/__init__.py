"""Batches -> a checkpoint."""
