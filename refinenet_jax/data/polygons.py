"""Draws regions into masks."""

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

# PIL computes with 32-bit integers; no picture is this large.
_FARTHEST = 2**20


def draw(height: int, width: int, shapes: Iterable[tuple[np.ndarray, int]]) -> np.ndarray:
    """Paints regions in the given order; later ones cover earlier ones.

    Coordinates are continuous: pixel (0, 0) covers [0, 1] x [0, 1], and PIL gets the pixel that contains each corner.

    Args:
      height: height of the mask in pixels.
      width: width of the mask in pixels.
      shapes: (region, value) pairs. A region is a polygon, float [n, 2] of x and y in pixels with n >= 3, which may extend
        beyond the picture; or bool [height, width]. The value, 0 to 255, is painted.

    Returns:
      uint8 [height, width], 0 outside all regions.

    Raises:
      ValueError: a polygon has fewer than 3 corners, or a corner that is not finite or too far away.
    """
    mask = Image.new("L", (width, height))
    canvas = ImageDraw.Draw(mask)
    for index, (points, value) in enumerate(shapes):
        if np.asarray(points).dtype.kind == "b":
            canvas.bitmap((0, 0), Image.fromarray(points), fill=value)
            continue
        points = np.asarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise ValueError(f"polygon {index} has shape {list(points.shape)}; it must be [3 or more, 2]")
        if not (np.abs(points) <= _FARTHEST).all():  # also refuses NaN
            raise ValueError(f"polygon {index} has a corner that is not finite or farther than {_FARTHEST} pixels away")
        # PIL truncates toward zero, which is the wrong pixel for negative coordinates.
        canvas.polygon(np.floor(points).ravel().tolist(), fill=value)
    return np.array(mask)
