"""Decodes image files: detects the format by content, limits the size, and refuses incomplete pictures."""

import io
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.reading import read_bytes
from refinenet_jax.progress import say_once

# The size at which PIL warns of decompression bombs, about 9,400 x 9,400 pixels.
MAX_PIXELS = 89_478_485
_MAX_BYTES = 1 << 30

# File name suffixes of pictures, in lower case.
ENDINGS = frozenset({".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff"})

# Lossy formats change values, so they cannot store class ids.
LOSSY = ("JPEG", "WEBP")

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
# Divisors of the size that JPEG's own decoding has -> flags of OpenCV, without the one for blue first.
_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2 & ~cv2.IMREAD_COLOR,
    4: cv2.IMREAD_REDUCED_COLOR_4 & ~cv2.IMREAD_COLOR,
    8: cv2.IMREAD_REDUCED_COLOR_8 & ~cv2.IMREAD_COLOR,
}
_JPEG_PIXELS, _JPEG_END = b"\xda", b"\xff\xd9"
_GRAY_8 = b"\x08\x00"  # bit depth and color type in a PNG header
_PALETTE = 3

_REPLACE = "It is damaged or of another format: replace or convert it."


def sniff(encoded: bytes) -> str | None:
    """Returns the format by content: PNG, JPEG, GIF, BMP, WEBP or TIFF; None for anything else."""
    if encoded[:4] == b"RIFF" and encoded[8:12] == b"WEBP":
        return "WEBP"
    return next((name for signature, name in _SIGNATURES.items() if encoded.startswith(signature)), None)


def read(path: Path) -> bytes:
    """Returns the bytes of an image file.

    Raises:
      DataError: the file cannot be read ("missing"), or is larger than any image ("undecodable").
    """
    return read_bytes(path, _MAX_BYTES, "undecodable")


class Picture:
    """A picture file, decoded once it is known at what size it is needed.

    Attributes:
      size: height and width in pixels, as `decode` returns them.
      reductions: what `decode` can divide the size by, ascending: 1, and of a JPEG more.
    """

    def __init__(self, encoded: bytes, what: str, fix: str = _REPLACE, orientation: int = 1):
        """Reads the header.

        Args:
          encoded: the file, see `decode_rgb`.
          what: names the picture in messages.
          fix: ends the message about a picture that cannot be decoded.
          orientation: EXIF orientation from which `decode` turns the picture upright, 1 to 8.

        Raises:
          DataError: "undecodable", see `decode_rgb`.
        """
        image = _open(encoded, what, fix)
        if image.mode in ("F", "I") and image.format == "TIFF":
            message = f"{what} has numbers of 32 bits, whose range is unknown. Convert it to 8-bit PNG."
            raise DataError(message, "undecodable")
        self._file, self._orientation, self._format = (encoded, what, fix), orientation, image.format
        self.size = (image.width, image.height) if orientation > 4 else (image.height, image.width)
        # A remainder at the end becomes an extra pixel, which a rotated picture would have at its start.
        divisors = _REDUCED if image.format == "JPEG" else ()
        self.reductions = (1, *(by for by in divisors if orientation == 1 or not any(np.mod(self.size, by))))

    def decode(self, reduction: int = 1) -> np.ndarray:
        """Returns the pixels, uint8 [ceil(height / reduction), ceil(width / reduction), 3] RGB.

        Raises:
          DataError: "undecodable", see `decode_rgb`.
        """
        return turn_upright(self._decode(reduction), self._orientation)

    def _decode(self, reduction: int) -> np.ndarray:
        # cv2 releases the GIL and is twice as fast; PIL reads what cv2 cannot.
        if self._format != "GIF":
            flags = _REDUCED.get(reduction, 0) | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH
            pixels = _decode_by_opencv(self._file[0], flags)
            if pixels is not None and pixels.dtype == np.uint16:
                depth = next(bits for bits in (8, 10, 12, 14, 16) if pixels.max() < 1 << bits)
                pixels = (pixels >> (depth - 8)).astype(np.uint8)
            if pixels is not None and pixels.dtype == np.uint8:
                return pixels
        return np.array(_load(*self._file).convert("RGB").reduce(reduction))


def decode_rgb(encoded: bytes, what: str, fix: str = _REPLACE) -> np.ndarray:
    """Decodes a picture as it is stored, without applying its EXIF orientation.

    Args:
      encoded: content of a PNG, JPEG, GIF (first frame), BMP, WebP or TIFF file.
      what: name of the picture in messages.
      fix: advice at the end of the message if the picture cannot be decoded.

    Returns:
      uint8 [h, w, 3] RGB, converted from gray, CMYK and 16-bit pictures; alpha is dropped. If the largest value shows that
      only 10, 12 or 14 of 16 bits are used, the highest 8 of those are returned.

    Raises:
      DataError: "undecodable": the format is not supported, or the file is too large, damaged, cut short, or has
        numbers of 32 bits.
    """
    return Picture(encoded, what, fix).decode()


def decode_mask(encoded: bytes, what: str, fix: str = _REPLACE) -> np.ndarray:
    """Decodes a mask without changing its values.

    Returns:
      uint8 [h, w]: palette indices, 0 and 1 for a 1-bit file, or gray values (also of an RGB file with three equal channels);
      or uint8 [h, w, 3] RGB for a file in colors. Alpha is dropped.

    Raises:
      DataError: as in decode_rgb; or "mask format" for 16 bits or more, and for colors that are not RGB.
    """
    if sniff(encoded) == "PNG" and encoded[24:26] == _GRAY_8:  # a third faster than PIL
        _open(encoded, what, fix)
        pixels = _decode_by_opencv(encoded, cv2.IMREAD_GRAYSCALE)
        if pixels is not None:
            return pixels
    image = _load(encoded, what, fix)
    depth = encoded[24] if sniff(encoded) == "PNG" else 8
    if depth == 16 or image.mode.startswith(("I", "F")):
        raise DataError(f"{what} has 16 bits or more per value; save it as an 8-bit PNG of class ids.", "mask format")
    pixels = np.array(image)
    if image.mode in ("1", "P"):
        return pixels.astype(np.uint8)
    if image.mode in ("L", "LA", "PA"):
        gray = pixels.reshape(*pixels.shape[:2], -1)[..., 0]
        # PIL stretches 2 and 4 bits to 0..255.
        return np.ascontiguousarray(gray // (255 // (2**depth - 1)))
    if image.mode not in ("RGB", "RGBA", "RGBX"):
        raise DataError(
            f"{what} is an image of mode {image.mode}; save it as an 8-bit PNG of class ids.", "mask format"
        )
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    gray = (red == green).all() and (red == blue).all()
    return np.ascontiguousarray(red if gray else pixels[..., :3])


def palette(encoded: bytes) -> np.ndarray | None:
    """Returns the palette of a decodable image, uint8 [256, 3] RGB; None if it has none."""
    if sniff(encoded) == "PNG" and encoded[25] != _PALETTE:
        return None
    with Image.open(io.BytesIO(encoded)) as image:
        if image.mode not in ("P", "PA"):
            return None
        colors = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return np.concatenate([colors, np.zeros((256 - len(colors), 3), np.uint8)])


def has_palette(encoded: bytes) -> bool:
    """Returns whether the values of a decodable image are palette indices."""
    return palette(encoded) is not None


def orientation(encoded: bytes) -> int:
    """Returns the EXIF orientation of a picture, 1 to 8; 1 if it has none or it cannot be read."""
    try:
        with Image.open(io.BytesIO(encoded), formats=[sniff(encoded) or ""]) as image:
            exif = Image.Exif()
            exif.load(image.info.get("exif"))  # getexif() would decode the whole of a PNG
            value = exif.get(0x0112, 1)
    except Exception:  # PIL raises many kinds of errors on damaged EXIF data, which does not affect the pixels
        return 1
    return value if value in range(1, 9) else 1


def turn_upright(image: np.ndarray, exif_orientation: int) -> np.ndarray:
    """Rotates and mirrors an array [h, w, ...] with the given EXIF orientation to the way viewers show it."""
    if exif_orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if exif_orientation in (3, 4, 7, 8):
        image = image[::-1]
    if exif_orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _decode_by_opencv(encoded: bytes, flags: int) -> np.ndarray | None:
    """Returns the pixels as they are stored; None if OpenCV cannot decode them."""
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)


def _open(encoded: bytes, what: str, fix: str) -> Image.Image:
    """Opens the image, reading only its header."""
    start = f"{what} cannot be decoded ({len(encoded)} bytes, starting {encoded[:8]!r}"
    found = sniff(encoded)
    if found is None:
        raise DataError(f"{start}: not a PNG, JPEG, GIF, BMP, WebP or TIFF file). {fix}", "undecodable")
    try:
        image = Image.open(io.BytesIO(encoded), formats=[found])
    except Image.DecompressionBombError as error:
        raise _too_large(what, str(error)) from error
    except Exception as error:  # the type depends on where the file is damaged
        raise DataError(f"{start}: {error}). {fix}", "undecodable") from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(what, f"{image.width} x {image.height}")
    if found == "JPEG" and not _jpeg_is_whole(encoded):
        # Decoders fill the missing part of a JPEG with gray, some without an error.
        if not _only_end_is_missing(encoded):
            raise DataError(f"{start}: it is cut short). {fix}", "undecodable")
        say_once(f"{what} lacks the end marker of a JPEG. All of its pixels are present and were read.")
        image = Image.open(io.BytesIO(encoded + _JPEG_END), formats=[found])
    # PIL decodes a damaged PNG to wrong pixels without an error.
    if found == "PNG" and not _png_is_sound(encoded):
        raise DataError(f"{start}: a checksum in it is wrong). {fix}", "undecodable")
    return image


def _load(encoded: bytes, what: str, fix: str) -> Image.Image:
    image = _open(encoded, what, fix)
    try:
        image.load()
    except Exception as error:
        message = f"{what} cannot be decoded ({len(encoded)} bytes, starting {encoded[:8]!r}: {error}). {fix}"
        raise DataError(message, "undecodable") from error
    return image


def _too_large(what: str, size: str) -> DataError:
    return DataError(f"{what} has too many pixels ({size}; at most {MAX_PIXELS:,}). Make it smaller.", "undecodable")


def _jpeg_is_whole(encoded: bytes) -> bool:
    """Returns whether an end marker follows the pixels; a thumbnail in the header has its own."""
    position = 2
    while encoded[position : position + 1] == b"\xff":  # a segment: marker, length, content
        marker = encoded[position + 1 : position + 2]
        if marker == _JPEG_PIXELS:
            break
        # Any number of 0xff bytes may precede a marker.
        position += 1 if marker == b"\xff" else 2 + int.from_bytes(encoded[position + 2 : position + 4])
    return encoded.rfind(_JPEG_END, position) >= 0  # from the end, where it is


def _only_end_is_missing(encoded: bytes) -> bool:
    """Returns whether the pixels of a JPEG without an end marker do not depend on the bytes that would follow."""
    body = encoded.removesuffix(b"\xff")
    if body.endswith(bytes(3)):  # zeros left by interrupted downloads
        body = body.rstrip(b"\0")
    try:
        zeros, ones = (
            np.array(Image.open(io.BytesIO(body + filler + _JPEG_END), formats=["JPEG"]))
            for filler in (b"\0" * 64, b"\xff\0" * 64)
        )
    except Exception:  # the type depends on where the file ends
        return False
    return np.array_equal(zeros, ones)


def _png_is_sound(encoded: bytes) -> bool:
    """Returns whether the checksums of all critical chunks are correct. Decoders report missing chunks themselves."""
    position, view = 8, memoryview(encoded)
    while position + 8 < len(encoded):  # a chunk: length, kind, content, checksum of kind and content
        end = position + 8 + int.from_bytes(view[position : position + 4])
        is_critical = view[position + 4] & 0x20 == 0
        if is_critical and zlib.crc32(view[position + 4 : end]).to_bytes(4) != view[end : end + 4]:
            return False
        position = end + 4
    return True
