"""Procedural generator of synthetic egocentric hands, and its TFDS builder."""
