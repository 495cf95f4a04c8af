"""A checkpoint and pictures -> masks."""
