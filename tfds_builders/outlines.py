"""Draws masks from outlines of hands."""

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw


def draw(height: int, width: int, shapes: Iterable[tuple[np.ndarray, int]]) -> np.ndarray:
    """Draws outlines in the given order, later over earlier.

    Args:
      height: height in pixels.
      width: width in pixels.
      shapes: corners of each outline, float [n, 2] of continuous x and y (pixel (0, 0) covers [0, 1] x [0, 1]), and the value
        to fill it with.

    Returns:
      uint8 [height, width], 0 outside all outlines.
    """
    mask = Image.new("L", (width, height))
    for points, value in shapes:
        # PIL truncates toward zero, which is wrong for negative coordinates.
        ImageDraw.Draw(mask).polygon(np.floor(points).ravel().tolist(), fill=value)
    return np.array(mask)
