"""eyth dataset."""
