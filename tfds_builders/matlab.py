"""Reads MATLAB files (v5 to v7) with SciPy, after a check of their structure.

SciPy trusts the sizes in a file, so that 240 bytes can allocate 12 GB; it descends into nested arrays without a limit; and for
an element of an unexpected type it reads beyond its tables, which can crash the process.
"""

import io
import math
import struct
import zlib
from typing import BinaryIO

import numpy as np
import scipy.io
from etils import epath

MAX_VALUES = 100_000  # arrays, cells and fields; a RefineNet-152 has some 20,000
MAX_DEPTH = 64
ORDERS = {
    b"\x00\x01IM": "<",
    b"\x01\x00MI": ">",
}  # version and byte order, the last four of the 128 bytes of the header
_MAX_NAMES = 1 << 16  # bytes of all field names of a struct

# Types of elements and classes of arrays ("MAT-File Format", The MathWorks, chapter 1).
_MATRIX, _COMPRESSED = 14, 15
_FLAGS, _INTEGERS, _NAMES = {6}, {5, 6}, {1, 16}
_NUMBERS, _TEXT = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}, {1, 2, 4, 16, 17, 18}
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_CLASSES, _COMPLEX, _MAX_AXES = range(1, 18), 1 << 11, 32


def load(path: epath.Path, name: str, *, max_bytes: int, max_unpacked: int) -> np.ndarray:
    """Reads a variable of a MATLAB file.

    Args:
      path: path of the file.
      name: name of the variable.
      max_bytes: maximum size of the file.
      max_unpacked: maximum size of its contents after decompression.

    Returns:
      The array as returned by `scipy.io.loadmat`.

    Raises:
      ValueError: the file is damaged, of another version, or exceeds a limit.
    """
    try:
        if (size := path.stat().length) > max_bytes:
            raise ValueError(f"it has {size:,} bytes, more than {max_bytes:,}")
        with path.open("rb") as file:
            content = checked(file, Limits(8 * max_unpacked), max_unpacked)
        return scipy.io.loadmat(content, variable_names=[name])[name]
    except Exception as error:  # which one depends on where the file is damaged
        what = f"{path} cannot be read as a MATLAB file with {name!r} ({type(error).__name__}: {error})"
        raise ValueError(f"{what}. Unpack it again.") from error


class Limits:
    """How many values, and how many bytes of numbers (8 for each), a file may still declare."""

    def __init__(self, size: int):
        self.values, self.bytes = MAX_VALUES, size

    def spend(self, values: int, size: int = 0) -> None:
        self.values -= values
        self.bytes -= size
        if self.values < 0 or self.bytes < 0:
            raise ValueError(f"it declares more than {MAX_VALUES:,} values, or far more numbers than fit its size")


def checked(file: BinaryIO, limits: Limits, max_unpacked: int) -> io.BytesIO:
    """Returns a MATLAB file of v5 to v7 with its variables decompressed, for `scipy.io.loadmat`.

    Raises:
      ValueError, struct.error, zlib.error: SciPy could not read it safely.
    """
    file.seek(124)
    if (version := file.read(4)) not in ORDERS:
        raise ValueError("its header is not that of MATLAB v5 to v7")
    order, content = ORDERS[version], io.BytesIO()
    # SciPy decides by the first bytes of the header whether a file is of v4.
    content.write(b"MATLAB 5.0 MAT-file".ljust(124) + version)
    while tag := file.read(8):
        kind, left = struct.unpack(f"{order}II", tag)
        inflater = zlib.decompressobj() if kind == _COMPRESSED else None
        if inflater is None:
            content.write(tag)
        while left:
            piece = file.read(min(left, 1 << 16))
            if not piece:
                raise ValueError(f"it is truncated: {left:,} bytes are missing")
            left -= len(piece)
            content.write(inflater.decompress(piece) if inflater else piece)
            if content.tell() > max_unpacked:
                raise ValueError("it inflates to far more than its size")
        if inflater and not inflater.eof:
            raise ValueError("a compressed variable is truncated")
    with content.getbuffer() as buffer:
        _Elements(buffer, order, limits).check()
    return content


class _Elements:
    """The elements of a v5 file, walked in the order and by the rules by which SciPy reads them."""

    def __init__(self, content: memoryview, order: str, limits: Limits):
        self._content, self._order, self._limits, self._at = content, order, limits, 128

    def check(self) -> None:
        """Raises ValueError or struct.error unless SciPy can read the file safely."""
        while self._at < len(self._content):
            self._array(0)

    def _array(self, depth: int) -> None:
        kind, length = struct.unpack_from(f"{self._order}II", self._content, self._at)
        self._at += 8
        end = self._at + length
        if kind != _MATRIX or depth > MAX_DEPTH:
            raise ValueError(f"type {kind}, nested {depth} deep, at byte {self._at:,}")
        self._limits.spend(1)
        for _ in range(self._head() if length else 0):
            self._array(depth + 1)
        if self._at != end:
            raise ValueError(f"an array is longer or shorter than it declares at byte {self._at:,}")

    def _head(self) -> int:
        """Walks an array up to the arrays in it, if any, and returns their number."""
        flags, _ = struct.unpack(f"{self._order}II", self._element(_FLAGS))
        kind = flags & 0xFF
        shape = () if kind == _OPAQUE else self._integers()
        if kind not in _CLASSES or flags & _COMPLEX or len(shape) > _MAX_AXES or min(shape, default=0) < 0:
            raise ValueError(f"an array is complex, of class {kind}, or of the shape {shape[:_MAX_AXES]}")
        count = math.prod(shape)
        for _ in range({_OBJECT: 2, _OPAQUE: 3}.get(kind, 1)):  # the array's name, and the names of types and classes
            self._element(_NAMES)
        if kind == _CELL:
            arrays = count
        elif kind in (_STRUCT, _OBJECT):
            (width,) = self._integers()
            size = len(self._element(_NAMES))
            if width < 1 or size > _MAX_NAMES:
                raise ValueError(f"the names of its fields have {width:,} of {size:,} bytes")
            arrays = count * (size // width)
            self._limits.spend(count)
        elif kind in (_FUNCTION, _OPAQUE):
            arrays = 1
        else:
            data = self._element(_TEXT if kind == _CHAR else _NUMBERS)
            if kind == _SPARSE:
                self._element(_NUMBERS), self._element(_NUMBERS)
            elif count > len(data):
                raise ValueError(f"an array of {len(data):,} bytes claims the shape {shape}")
            arrays = 0
        self._limits.spend(arrays, 8 * count)
        return arrays

    def _element(self, kinds: set[int]) -> memoryview:
        """Returns the data of the next element, which must be of one of these types."""
        kind, length = struct.unpack_from(f"{self._order}II", self._content, self._at)
        start = self._at + 8
        if kind >> 16:  # up to four bytes of data within the tag
            kind, length, start = kind & 0xFFFF, kind >> 16, start - 4
        self._at = start + (4 if start < self._at + 8 else length + -length % 8)
        if kind not in kinds or start + length > self._at or self._at > len(self._content):
            raise ValueError(f"{length:,} bytes of type {kind} at byte {start:,}")
        return self._content[start : start + length]

    def _integers(self) -> tuple[int, ...]:
        data = self._element(_INTEGERS)
        return struct.unpack(f"{self._order}{len(data) // 4}i", data)
