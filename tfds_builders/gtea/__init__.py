"""gtea dataset."""
