"""The pictures and masks of published datasets, read by their content whatever their names end in; those at fault are named."""

import io

import cv2
import numpy as np
from absl import logging
from etils import epath
from PIL import Image

from refinenet_jax.data import images

_CURE = "Unpack it again."
# JPEG and resizing leave grey along the edges, some percent of a mask; more of it, and it is another picture.
_MAX_GREY = 0.25
# JPEG may tint grey a little.
_MAX_TINT = 32


def read_image(path: epath.Path, size: tuple[int, int] | None = None) -> bytes:
    """Reads a photograph as it shall be stored.

    Args:
      path: A file of PNG, JPEG, GIF, BMP, WebP or TIFF.
      size: The height and width that it must have in pixels; None for any.

    Returns:
      The bytes of the file if it is a sound JPEG, RGB or grey; else a PNG of its pixels (the first frame) as RGB.

    Raises:
      ValueError: It cannot be decoded to its end, has another size, or more pixels than a photograph.
    """
    content = path.read_bytes()
    rgb = _check_size(path, images.decode_rgb(content, str(path), _CURE), size)
    if images.sniff(content) == "JPEG":
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if image.mode in ("RGB", "L"):
                return content
    logging.info("%s is no JPEG of colours or greys; stored as PNG.", path)
    return cv2.imencode(".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()


def read_rgb(path: epath.Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads the pixels of a photograph: uint8 [h,w,3] RGB, as it is stored, not turned by EXIF.

    Args, Raises: As for `read_image`.
    """
    return _check_size(path, images.decode_rgb(path.read_bytes(), str(path), _CURE), size)


def read_grey(path: epath.Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a mask as it was drawn: uint8 [h,w], colours as grey; of 1 bit, white is 1.

    Args, Raises: As for `read_image`; a mask of 16 bits or CMYK is refused, too.
    """
    return _to_grey(_read_drawn(path, size))


def read_binary(path: epath.Path, size: tuple[int, int] | None = None) -> tuple[np.ndarray, bool]:
    """Reads a mask of black and white, cut at 128 where JPEG or resizing left grey in between.

    A mask that holds 0 and 1 only is taken for what it is, class ids.

    Args, Raises: As for `read_grey`; a mask with colours, much grey, or grey but no white is refused, too.

    Returns:
      uint8 [h,w] of 0 and 1, and whether there was grey in between.
    """
    drawn = _read_drawn(path, size)
    if drawn.ndim == 3 and np.ptp(drawn, axis=-1).max() > _MAX_TINT:
        raise ValueError(f"{path} has coloured pixels; a mask is black and white. Get the official file.")
    grey = _to_grey(drawn)
    brightest = int(grey.max())
    if brightest <= 1:
        return grey, False
    between = ((grey > 0) & (grey < 255)).mean()
    if brightest < 128 or between > _MAX_GREY:
        raise ValueError(
            f"{path} is no mask of black and white: its brightest pixel has {brightest} of 255, and {between:.0%} are grey."
            " Get the official file."
        )
    return (grey >= 128).astype(np.uint8), bool(between)


def _read_drawn(path: epath.Path, size: tuple[int, int] | None) -> np.ndarray:
    """A mask as uint8 [h,w], or [h,w,3] if it has colours or a palette."""
    content = path.read_bytes()
    pixels = images.decode_mask(content, str(path), _CURE)
    if images.has_palette(content):  # the order of its colours says nothing of black and white
        pixels = images.decode_rgb(content, str(path), _CURE)
    return _check_size(path, pixels, size)


def _to_grey(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)


def _check_size(path: epath.Path, pixels: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    height, width = pixels.shape[:2]
    if size and (height, width) != size:
        raise ValueError(
            f"{path} has {width}x{height} pixels, not {size[1]}x{size[0]}. Take pictures and masks from the archive, unscaled."
        )
    return pixels
