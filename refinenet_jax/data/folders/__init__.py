"""Folders of pictures with masks or annotations: the layouts that people have, their classes and their splits."""
