"""hof dataset."""
