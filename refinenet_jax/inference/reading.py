"""Whatever holds a picture -> pixels: files of all formats, addresses, PIL images and arrays."""

import io
import os
import time
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image, ImageOps, features

from refinenet_jax.data import images
from refinenet_jax.data.examples import DataError
from refinenet_jax.errors import UsageError

Picture = np.ndarray | Image.Image | str | os.PathLike  # what `to_rgb` takes

DOWNLOAD_BYTES = 1 << 26  # of one picture
DOWNLOAD_SECONDS = 60

_WAIT_SECONDS = 15  # for an answer of the server
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # brands: ISO 23008-12
_AVIF = {b"avif", b"avis"}
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")  # PIL's modes


def to_rgb(image: Picture) -> np.ndarray:
    """Pixels of a picture, upright.

    Args:
      image: uint8 [h, w, 3] RGB, which is returned as it is; a PIL image; the path of a file, or its http(s) address.

    Returns:
      uint8 [h, w, 3] RGB.

    Raises:
      UsageError: it is something else, or cannot be read.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
            raise UsageError(f"An image must be uint8 [h, w, 3] RGB; this one is {image.dtype} {list(image.shape)}.")
        return image
    if isinstance(image, (str, os.PathLike)):
        return read(image)
    if isinstance(image, Image.Image):
        if image.mode not in _EIGHT_BITS:
            raise UsageError(f"A PIL image must have 8 bits per value; this one has the mode {image.mode}.")
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    raise UsageError(
        f"An image must be a NumPy array uint8 [h, w, 3] RGB, a PIL image or a path; this one is {type(image).__name__}. "
        "Convert it with np.asarray(image, np.uint8)."
    )


def read(path: str | os.PathLike) -> np.ndarray:
    """Reads a picture, uint8 [h, w, 3] RGB, turned as its EXIF data says. Its content decides about the format, not its name.

    Args:
      path: of a file, or an address that begins with http:// or https://; at most DOWNLOAD_BYTES and DOWNLOAD_SECONDS.

    Raises:
      DataError: it is missing, damaged, too large, of an unknown format, or of one whose package is not installed.
    """
    name = os.fspath(path)
    encoded = _download(name) if is_address(name) else images.read(Path(name).expanduser())
    if kind := _heif_kind(encoded):
        return _decode_heif(encoded, name, kind)
    image = images.decode_rgb(encoded, name)
    return images.turn_upright(image, images.orientation(encoded))


def is_address(name: str) -> bool:
    """Whether a picture is to be downloaded."""
    return name.startswith(("http://", "https://"))


def is_picture(path: Path) -> bool:
    """Whether a file begins as a picture does, in any format that `read` knows.

    Raises:
      OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(64)
    return bool(_heif_kind(head) or images.sniff(head))


def _heif_kind(encoded: bytes) -> str | None:
    """HEIC, AVIF, or None for anything else."""
    if encoded[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(encoded[:4]), 64)
    brands = {encoded[8:12], *(encoded[place : place + 4] for place in range(16, end, 4))}
    return "AVIF" if brands & _AVIF else "HEIC" if brands & _HEIC else None


def _decode_heif(encoded: bytes, what: str, kind: str) -> np.ndarray:
    try:
        if kind == "HEIC":
            from pillow_heif import register_heif_opener

            register_heif_opener()
        elif not features.check("avif"):
            raise ImportError("Pillow before 11.3")
    except ImportError as error:
        raise DataError(
            f"{what} is a {kind} picture; pip install 'refinenet-jax[heif]' to read it.", "undecodable"
        ) from error
    try:
        with Image.open(io.BytesIO(encoded), formats=["HEIF" if kind == "HEIC" else kind]) as image:
            if image.width * image.height > images.MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, at most {images.MAX_PIXELS:,}")
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception as error:  # which one depends on where the file is damaged
        raise DataError(
            f"{what} is a {kind} picture that cannot be decoded ({error}). Replace it.", "undecodable"
        ) from error


def _download(address: str) -> bytes:
    end = time.monotonic() + DOWNLOAD_SECONDS
    content = bytearray()
    try:
        with urlopen(Request(address, headers={"User-Agent": "refinenet-jax"}), timeout=_WAIT_SECONDS) as response:
            while part := response.read1(1 << 16):
                content += part
                if len(content) > DOWNLOAD_BYTES:
                    raise OSError(f"it has more than {DOWNLOAD_BYTES >> 20} MiB")
                if time.monotonic() > end:
                    raise OSError(f"it takes more than {DOWNLOAD_SECONDS} s")
    except (OSError, ValueError, HTTPException) as error:
        raise DataError(
            f"{address} cannot be downloaded ({error}). Download it by other means and give the file.", "missing"
        ) from error
    return bytes(content)
