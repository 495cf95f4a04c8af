"""Folders of pictures with masks or annotations: their layouts, classes and splits."""
