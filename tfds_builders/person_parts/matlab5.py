"""Reads a variable from a MATLAB 5 file that somebody else made.

`scipy.io.loadmat` believes what a file claims: 240 bytes can make it take 12 GB and a minute and a half, and deeply nested
cells crash the process. This reads only what annotations need (structs, text and dense real numbers, little-endian), in
memory bounded by what is really there. Format: MathWorks, "MAT-File Level 5 File Format", R2018a.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

# Some times the most that an annotated photograph holds: a mask of 0.2 MB for each of the parts of each object.
_MAX_BYTES = 256 << 20
_MAX_ARRAYS = 100_000
_LONGEST = 4096  # bytes of a name, a text or a shape

# Types of data elements.
_UINT16, _MATRIX, _COMPRESSED, _UTF16 = 4, 14, 15, 17
_NUMBERS = {1: "<i1", 2: "<u1", 3: "<i2", 4: "<u2", 5: "<i4", 6: "<u4", 7: "<f4", 9: "<f8", 12: "<i8", 13: "<u8"}
# Classes of arrays; 6 to 15 are numbers of all widths.
_STRUCT, _CHAR = 2, 4
_COMPLEX_FLAG = 0x0800


def read_variable(content: bytes, name: str) -> Any:
    """Reads one variable.

    Args:
      content: The file.
      name: Of the variable.

    Returns:
      Of numbers an array, as wide as they are stored and two-dimensional or more; of text a str; of a struct array a list
      of dicts from field to value, column by column.

    Raises:
      Exception: Of any kind, if the file is no MATLAB 5 file, damaged, has no such variable, or holds something else.
    """
    if content[124:128] != b"\x00\x01IM":
        raise ValueError("it is no MATLAB 5 file")
    for kind, data in _elements(memoryview(content)[128:]):
        if kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            plain = inflater.decompress(data, _MAX_BYTES)
            if not inflater.eof:
                raise ValueError(f"it is cut short or holds more than {_MAX_BYTES} bytes")
            ((kind, data),) = _elements(memoryview(plain))
        if kind != _MATRIX:
            raise ValueError(f"it holds an element of type {kind}, not an array")
        found, value = _ArrayReader().read(data)
        if found == name:
            return value
    raise ValueError(f"it has no variable {name!r}")


def _elements(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Splits data into its elements: type and content of each."""
    while data:
        kind, size = struct.unpack_from("<II", data)
        start, end = 8, 8 + size
        if kind >> 16:  # up to four bytes are kept in the tag
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = 4, 4 + size
        if end > len(data):
            raise ValueError(f"an element of {size} bytes is cut short")
        yield kind, data[start:end]
        data = data[end if kind == _COMPRESSED else -(-end // 8) * 8 :]


class _ArrayReader:
    """Counts the arrays of a variable, for the smallest take eight bytes in the file and hundreds in memory."""

    def __init__(self):
        self._left = _MAX_ARRAYS

    def read(self, data: memoryview) -> tuple[str, Any]:
        """Name and value of an array."""
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"it holds more than {_MAX_ARRAYS} arrays")
        if not data:
            return "", np.empty((0, 0))
        elements = _elements(data)
        flags, *_ = np.frombuffer(_short(elements)[1], "<u4").tolist()
        shape = tuple(np.frombuffer(_short(elements)[1], "<i4").tolist())
        name = _short(elements)[1].decode()
        if min(shape) < 0:
            raise ValueError(f"array {name!r} has the shape {shape}")
        if flags & 0xFF == _STRUCT:
            value = self._struct(elements, shape)
        elif flags & 0xFF == _CHAR:
            kind, text = _short(elements)
            value = text.decode("utf-16-le" if kind in (_UINT16, _UTF16) else "utf-8")
        elif 6 <= flags & 0xFF <= 15 and not flags & _COMPLEX_FLAG:
            kind, numbers = _next(elements)
            value = np.frombuffer(numbers, _NUMBERS[kind]).reshape(shape, order="F")
        else:
            raise ValueError(f"array {name!r} is neither struct, text nor real numbers (class {flags & 0xFF})")
        if next(elements, None):
            raise ValueError(f"array {name!r} is followed by more than belongs to it")
        return name, value

    def _struct(self, elements: Iterator[tuple[int, memoryview]], shape: tuple[int, ...]) -> list[dict[str, Any]]:
        (width,) = np.frombuffer(_short(elements)[1], "<i4").tolist()
        names = _short(elements)[1]
        fields = [names[i : i + width].split(b"\0")[0].decode() for i in range(0, len(names), width)]
        if not fields:
            raise ValueError("it has a struct without fields")
        count = int(np.prod(shape, dtype=object))
        return [{field: self._field(*_next(elements)) for field in fields} for _ in range(count)]

    def _field(self, kind: int, data: memoryview) -> Any:
        if kind != _MATRIX:
            raise ValueError(f"a field of a struct is of type {kind}, not an array")
        return self.read(data)[1]


def _next(elements: Iterator[tuple[int, memoryview]]) -> tuple[int, memoryview]:
    element = next(elements, None)
    if element is None:
        raise ValueError("an array ends before all that it should hold")
    return element


def _short(elements: Iterator[tuple[int, memoryview]]) -> tuple[int, bytes]:
    """The next element, if it is one that is never long."""
    kind, data = _next(elements)
    if len(data) > _LONGEST:
        raise ValueError(f"a name, text or shape has {len(data)} bytes")
    return kind, bytes(data)
