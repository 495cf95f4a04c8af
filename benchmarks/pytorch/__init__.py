"""PyTorch, as the other side of `benchmarks.compare`."""
