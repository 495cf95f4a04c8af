"""person_parts dataset."""
