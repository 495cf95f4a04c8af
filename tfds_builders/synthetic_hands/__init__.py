"""Synthetic egocentric hands: a procedural generator and its TFDS builder."""
