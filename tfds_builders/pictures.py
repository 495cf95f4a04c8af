"""Reads photographs and masks of published datasets, with formats detected by content, whatever their file names."""

import io

import numpy as np
from absl import logging
from etils import epath
from PIL import Image

# For other formats PIL runs external programs.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")
_MAX_PIXELS = 89_478_485
# JPEG and resizing leave gray edges, a few percent of a mask; a picture with more gray is not a mask.
_MAX_GRAY = 0.25
# JPEG may tint gray a little.
_MAX_TINT = 32


def read_image(path: epath.Path, size: tuple[int, int] | None = None) -> bytes:
    """Reads a photograph as it will be stored in a dataset.

    Args:
      path: path of a PNG, JPEG, GIF, BMP, WebP or TIFF file.
      size: required height and width in pixels; None for any.

    Returns:
      The bytes of the file if it is an RGB or gray JPEG; otherwise an RGB PNG of its (first) frame.

    Raises:
      ValueError: the file cannot be decoded completely, has another size, or has too many pixels.
    """
    image, content = _open(path, size, at_full_size=False)
    if content.startswith(b"\xff\xd8") and image.mode in ("RGB", "L"):
        return content
    logging.info("%s is not an RGB or gray JPEG; stored as PNG.", path)
    png = io.BytesIO()
    _open(path)[0].convert("RGB").save(png, "PNG")
    return png.getvalue()


def read_rgb(path: epath.Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a photograph, not rotated by EXIF; uint8 [h, w, 3]. Arguments and errors are those of `read_image`."""
    return np.asarray(_open(path, size)[0].convert("RGB"))


def read_gray(path: epath.Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a mask, with colors converted to gray; uint8 [h, w]. Arguments and errors are those of `read_image`."""
    return _to_gray(_read_mask(path, size))


def read_binary(path: epath.Path, size: tuple[int, int] | None = None) -> tuple[np.ndarray, bool]:
    """Reads a black-and-white mask, thresholded at 128 if JPEG or resizing left gray. Values 0 and 1 are class ids.

    Returns:
      uint8 [h, w] of 0 and 1, and whether the mask had gray.

    Raises:
      ValueError: see `read_image`; or the mask has colors, much gray, or gray but no white.
    """
    pixels = _read_mask(path, size)
    if pixels.ndim == 3 and np.ptp(pixels, axis=-1).max() > _MAX_TINT:
        raise ValueError(f"{path} has colored pixels, but a mask is black and white. Get the official file.")
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
    """Reads a mask as uint8 [h, w] (0 and 1 for 1-bit files), or [h, w, 3] for files with colors or a palette."""
    image = _open(path, size)[0]
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise ValueError(f"{path} has the mode {image.mode}, but a mask has 8 bits per value. Get the official file.")
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    return np.asarray(image.convert("L" if image.mode in ("L", "LA") else "RGB"))


def _to_gray(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.ndim == 2 else np.asarray(Image.fromarray(pixels).convert("L"))


def _open(
    path: epath.Path, size: tuple[int, int] | None = None, at_full_size: bool = True
) -> tuple[Image.Image, bytes]:
    """Decodes a file; also returns its bytes. Without `at_full_size`, a JPEG is decoded at low resolution."""
    content = path.read_bytes()
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
        if (pixels := image.width * image.height) > _MAX_PIXELS:
            raise ValueError(f"it has {pixels:,} pixels, more than any photograph")
        width, height = image.size
        if image.format == "PNG":  # PIL may decode a damaged PNG to wrong pixels
            Image.open(io.BytesIO(content), formats=["PNG"]).verify()
        if content.startswith(b"\xff\xd8"):
            if content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda"):
                raise ValueError("it is truncated")
            if not at_full_size:
                image.draft(None, (width // 8, height // 8))
        image.load()
    except Exception as error:  # the type depends on the damage
        raise ValueError(f"{path} cannot be decoded ({len(content)} bytes: {error}). Unpack it again.") from error
    if size and (height, width) != size:
        raise ValueError(
            f"{path} has {width}x{height} pixels, not {size[1]}x{size[0]}. Use pictures and masks of the archive, not resized."
        )
    return image, content
