"""egohands dataset."""
