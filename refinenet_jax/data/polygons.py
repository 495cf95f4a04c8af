"""Polygons and bitmaps -> masks."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageDraw

# PIL computes with 32-bit integers; no picture reaches this far.
_FARTHEST = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class Bitmap:
    """A region given pixel by pixel: column and row of its upper left pixel, and bool [h, w]."""

    left: int
    top: int
    inside: np.ndarray


def draw(height: int, width: int, shapes: Iterable[tuple[np.ndarray | Bitmap, int]]) -> np.ndarray:
    """Paints regions in the given order, later over earlier.

    The coordinates are continuous, pixel (0, 0) covering [0,1] x [0,1], and PIL takes the pixel that each corner lies in.

    Args:
      height: of the mask in pixels.
      width: of the mask in pixels.
      shapes: for each polygon its corners, float [n, 2] of x and y in pixels, n >= 3, or a bitmap; both may reach out of the
        picture. And the value from 0 to 255 to paint it with.

    Returns:
      uint8 [height, width], 0 where no region is.

    Raises:
      ValueError: a polygon has fewer than 3 corners, or one that is not finite or beyond all pictures.
    """
    mask = Image.new("L", (width, height))
    canvas = ImageDraw.Draw(mask)
    for index, (points, value) in enumerate(shapes):
        if isinstance(points, Bitmap):
            canvas.bitmap((points.left, points.top), Image.fromarray(points.inside), fill=value)
            continue
        points = np.asarray(points, np.float64)
        if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
            raise ValueError(f"polygon {index} has shape {list(points.shape)}; it must be [3 or more, 2]")
        if not (np.abs(points) <= _FARTHEST).all():  # so written, NaN fails too
            raise ValueError(f"polygon {index} has a corner that is not finite or farther than {_FARTHEST} pixels away")
        # PIL cuts the decimals off, which left and above of the picture is the wrong pixel.
        canvas.polygon(np.floor(points).ravel().tolist(), fill=value)
    return np.array(mask)
