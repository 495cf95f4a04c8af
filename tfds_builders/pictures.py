"""Photographs and masks of published datasets, recognized by content whatever their file names say."""

import io

import numpy as np
from absl import logging
from etils import epath
from PIL import Image

# For other formats PIL runs programs.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
_MAX_PIXELS = 89_478_485
# JPEG and resizing leave gray along the edges, a few percent of a mask; with more of it, it is not a mask.
_MAX_GRAY = 0.25
# JPEG may tint gray a little.
_MAX_TINT = 32


def read_image(path: epath.Path, size: tuple[int, int] | None = None) -> bytes:
    """Reads a photograph as it is stored in a dataset.

    Args:
      path: PNG, JPEG, GIF, BMP, WebP or TIFF.
      size: required height and width in pixels; None for any.

    Returns:
      The bytes of the file if it is an RGB or gray JPEG; otherwise a PNG of the pixels (of the first frame) in RGB.

    Raises:
      ValueError: the file cannot be decoded to its end, has another size, or has too many pixels.
    """
    image, content = _open(path, size, at_full_size=False)
    if content.startswith(b"\xff\xd8") and image.mode in ("RGB", "L"):
        return content
    logging.info("%s is not an RGB or gray JPEG; stored as PNG.", path)
    png = io.BytesIO()
    _open(path)[0].convert("RGB").save(png, "PNG")
    return png.getvalue()


def read_rgb(path: epath.Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a photograph as it is stored, not turned by EXIF; uint8 [h, w, 3]. Arguments and errors as for `read_image`."""
    return np.asarray(_open(path, size)[0].convert("RGB"))


def read_gray(path: epath.Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a mask, colors as gray; uint8 [h, w]. Arguments and errors as for `read_image`."""
    return _to_gray(_read_mask(path, size))


def read_binary(path: epath.Path, size: tuple[int, int] | None = None) -> tuple[np.ndarray, bool]:
    """Reads a black-and-white mask, cut at 128 where JPEG or resizing left gray. A mask of 0 and 1 is taken as class ids.

    Returns:
      uint8 [h, w] of 0 and 1, and whether there was gray.

    Raises:
      ValueError: as for `read_image`; or the mask has colors, much gray, or gray but no white.
    """
    pixels = _read_mask(path, size)
    if pixels.ndim == 3 and np.ptp(pixels, axis=-1).max() > _MAX_TINT:
        raise ValueError(f"{path} has colored pixels; a mask is black and white. Get the official file.")
    gray = _to_gray(pixels)
    brightest = int(gray.max())
    if brightest <= 1:
        return gray, False
    between = ((gray > 0) & (gray < 255)).mean()
    if brightest < 128 or between > _MAX_GRAY:
        raise ValueError(
            f"{path} is not a black-and-white mask: its brightest pixel is {brightest} of 255, and {between:.0%} are gray."
            " Get the official file."
        )
    return (gray >= 128).astype(np.uint8), bool(between)


def _read_mask(path: epath.Path, size: tuple[int, int] | None) -> np.ndarray:
    """uint8 [h, w], 0 and 1 of a file with 1 bit; or [h, w, 3] of one with colors or a palette."""
    image = _open(path, size)[0]
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise ValueError(f"{path} has the mode {image.mode}; a mask has 8 bits per value. Get the official file.")
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    return np.asarray(image.convert("L" if image.mode in ("L", "LA") else "RGB"))


def _to_gray(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))


def _open(
    path: epath.Path, size: tuple[int, int] | None = None, at_full_size: bool = True
) -> tuple[Image.Image, bytes]:
    """Decodes a file; also returns its bytes. Not `at_full_size`, all bytes of a JPEG are read, but few pixels computed."""
    content = path.read_bytes()
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        if (pixels := image.width * image.height) > _MAX_PIXELS:
            raise ValueError(f"it has {pixels:,} pixels, more than any photograph")
        width, height = image.size
        if image.format == "PNG":  # of a damaged PNG, PIL may return other pixels
            Image.open(io.BytesIO(content), formats=["PNG"]).verify()
        if content.startswith(b"\xff\xd8"):
            if content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
                raise ValueError("it is cut short")
            if not at_full_size:
                image.draft(None, (width // 8, height // 8))
        image.load()
    except Exception as error:  # which one depends on where the file is damaged
        raise ValueError(f"{path} cannot be decoded ({len(content)} bytes: {error}). Unpack it again.") from error
    if size and (height, width) != size:
        raise ValueError(
            f"{path} has {width}x{height} pixels, not {size[1]}x{size[0]}. Take pictures and masks from the archive, unscaled."
        )
    return image, content
