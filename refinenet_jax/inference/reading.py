"""Reads pictures from files of all formats, web addresses, PIL images and arrays."""

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

Picture = np.ndarray | Image.Image | str | os.PathLike  # argument of `to_rgb`

DOWNLOAD_BYTES = 1 << 26  # per picture
DOWNLOAD_SECONDS = 60

_WAIT_SECONDS = 15  # for a response of the server
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}  # brands: ISO 23008-12
_AVIF = {b"avif", b"avis"}
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV")  # PIL's modes


def to_rgb(image: Picture) -> np.ndarray:
    """Returns the pixels of a picture, upright.

    Args:
      image: uint8 [h, w, 3] RGB, which is returned unchanged; a PIL image; or the path or http(s) address of a picture.

    Returns:
      uint8 [h, w, 3] RGB.

    Raises:
      UsageError: the argument is something else, or cannot be read.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3 or 0 in image.shape:
            raise UsageError(f"The image is {image.dtype} {list(image.shape)}. Give uint8 [h, w, 3] RGB.")
        return image
    if isinstance(image, (str, os.PathLike)):
        return read(image)
    if isinstance(image, Image.Image):
        if image.mode not in _EIGHT_BITS:
            raise UsageError(f"The PIL image has the mode {image.mode}. Convert it to 8 bits per value.")
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    raise UsageError(
        f"The image is of type {type(image).__name__}. Give a NumPy array uint8 [h, w, 3] RGB, a PIL image or a path."
    )


def read(path: str | os.PathLike) -> np.ndarray:
    """Reads a picture, uint8 [h, w, 3] RGB, upright according to its EXIF data. The format is detected from the content.

    Args:
      path: path of a file, or an address starting with http:// or https://; limited to DOWNLOAD_BYTES and DOWNLOAD_SECONDS.

    Raises:
      DataError: the picture is missing, damaged, too large, or of a format that is unknown or needs a missing package.
    """
    name = os.fspath(path)
    encoded = _download(name) if is_address(name) else images.read(Path(name).expanduser())
    if kind := _heif_kind(encoded):
        return _decode_heif(encoded, name, kind)
    return images.Picture(encoded, name, orientation=images.orientation(encoded)).decode()


def is_address(name: str) -> bool:
    """Returns whether a name is a web address to be downloaded."""
    return name.startswith(("http://", "https://"))


def is_picture(path: Path) -> bool:
    """Returns whether a file starts like a picture of any format that `read` supports.

    Raises:
      OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(64)
    return bool(_heif_kind(head) or images.sniff(head))


def _heif_kind(encoded: bytes) -> str | None:
    """Returns HEIC, AVIF, or None for anything else."""
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
            f"{what} is a {kind} picture. Run pip install 'refinenet-jax[heif]' to read it.", "undecodable"
        ) from error
    try:
        with Image.open(io.BytesIO(encoded), formats=["HEIF" if kind == "HEIC" else kind]) as image:
            if image.width * image.height > images.MAX_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, at most {images.MAX_PIXELS:,}")
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except Exception as error:  # the type depends on the damage
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
                    raise OSError(f"more than {DOWNLOAD_BYTES >> 20} MiB")
                if time.monotonic() > end:
                    raise OSError(f"more than {DOWNLOAD_SECONDS} s")
    except (OSError, ValueError, HTTPException) as error:
        raise DataError(
            f"{address} cannot be downloaded ({error}). Download it another way and give the file.", "missing"
        ) from error
    return bytes(content)
