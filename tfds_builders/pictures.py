"""Reads photographs and masks of published datasets, with formats detected by content."""

import io

import numpy as np
from etils import epath
from PIL import Image

_FORMATS = ("PNG", "JPEG", "GIF")  # some files of HandOverFace named .jpg are GIFs
_MAX_PIXELS = 89_478_485
# JPEG and resizing leave gray edges, a few percent of a mask; a picture with more gray is not a mask.
_MAX_GRAY = 0.25
# JPEG may tint gray a little.
_MAX_TINT = 32


def read_image(path: epath.Path, size: tuple[int, int] | None = None) -> bytes:
    """Reads a photograph as it will be stored in a dataset.

    Args:
      path: path of a PNG, JPEG or GIF file.
      size: required height and width in pixels; None for any.

    Returns:
      The bytes of the file if it is an RGB or gray JPEG; otherwise an RGB PNG of its (first) frame.

    Raises:
      ValueError: the file cannot be decoded completely, has another size, or has too many pixels.
    """
    image, content = _open(path, size, at_full_size=False)
    if content.startswith(b"\xff\xd8") and image.mode in ("RGB", "L"):
        return content
    png = io.BytesIO()
    _open(path)[0].convert("RGB").save(png, "PNG")
    return png.getvalue()


def read_rgb(path: epath.Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a photograph, not rotated by EXIF; uint8 [h, w, 3]. Arguments and errors are those of `read_image`."""
    return np.asarray(_open(path, size)[0].convert("RGB"))


def read_gray(path: epath.Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a mask, with colors converted to gray; uint8 [h, w]. Arguments and errors are those of `read_image`."""
    return np.asarray(_read_mask(path, size).convert("L"))


def read_binary(path: epath.Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Reads a black-and-white mask, thresholded at 128 if JPEG or resizing left gray. Values 0 and 1 are class ids.

    Returns:
      uint8 [h, w] of 0 and 1.

    Raises:
      ValueError: see `read_image`; or the mask has colors, much gray, or gray but no white.
    """
    image = _read_mask(path, size)
    if image.mode == "RGB" and np.ptp(np.asarray(image), axis=-1).max() > _MAX_TINT:
        raise ValueError(f"{path} has colored pixels, but a mask is black and white. Get the official file.")
    gray = np.asarray(image.convert("L"))
    brightest, between = int(gray.max()), ((gray > 0) & (gray < 255)).mean()
    if brightest <= 1:
        return gray
    if brightest < 128 or between > _MAX_GRAY:
        what = f"its brightest pixel is {brightest} of 255, and {between:.0%} are gray"
        raise ValueError(f"{path} is not a black-and-white mask: {what}. Get the official file.")
    return (gray >= 128).astype(np.uint8)


def _read_mask(path: epath.Path, size: tuple[int, int] | None) -> Image.Image:
    """Returns a mask of the mode L or, if it has colors or a palette, RGB."""
    image = _open(path, size)[0]
    if image.mode.startswith("I"):
        raise ValueError(f"{path} has the mode {image.mode}, but a mask has 8 bits per value. Get the official file.")
    return image.convert("L" if image.mode in ("1", "L", "LA") else "RGB")


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
        raise ValueError(f"{path} has {width}x{height} pixels, not {size[1]}x{size[0]}. Get the official file.")
    return image, content
