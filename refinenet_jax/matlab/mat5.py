"""MATLAB v5 to v7 files as a tree of values.

Format: "MAT-File Format", The MathWorks (R2023a), chapter 1. SciPy's reader is not used: it descends without a limit, believes
every size it is told (240 bytes can make it take 12 GB), and holds the whole content in memory, where here large arrays are
found again when they are read.
"""

import io
import math
import os
import struct
from functools import partial
from typing import Any

import numpy as np

from refinenet_jax.matlab.streams import Inflated, Plain
from refinenet_jax.matlab.values import (
    EMPTY,
    MAX_DEPTH,
    MAX_NAME,
    MAX_TEXT,
    MAX_VALUES,
    SAVE_AGAIN,
    Numbers,
    Refused,
    limit_of_bytes,
)

_HEADER = 128  # bytes, the last four of them the version and the byte order
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_MATRIX, _COMPRESSED = 14, 15
_STORED_AS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_CELL, _STRUCT, _CHAR, _OPAQUE = 1, 2, 4, 17
_CLASSES = dict(enumerate(map(np.dtype, ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")), 6))
_COMPLEX = 0x0800
_MAX_AXES = 32
_MAX_NUMBERS = (1 << 48) - 1  # of one array, MATLAB's own limit; NumPy cannot take more, even if another axis is 0


def read_variables(source: str | os.PathLike | bytes) -> dict[str, Any]:
    """All variables of a file by their name.

    Args:
      source: Its path, or what is in it. A path is opened anew whenever one of the `Numbers` is read, and the file must not
        change meanwhile.

    Raises:
      Refused: it is of another format, damaged or truncated, or there is more in it than in any network or annotation: by
        nesting, by the number of values, or by what its compressed parts inflate to.
      OSError: it cannot be opened.
    """
    variables: dict[str, Any] = {}
    again = partial(io.BytesIO, source) if isinstance(source, bytes) else partial(open, source, "rb")
    with again() as file:
        reader = _Reader(_order(file.read(_HEADER)))
        size = file.seek(0, os.SEEK_END)
        room = limit_of_bytes(size)
        start = _HEADER
        while start < size:
            plain = Plain(again, file, start, size)
            kind, length, _ = reader.tag(plain)
            start = plain.position + length
            if start > size:
                raise Refused(f"it is truncated: {start - size:,} bytes and more are missing at its end")
            if kind == _COMPRESSED:
                inflated = Inflated(again, file, plain.position, start, room)
                name, value = reader.matrix(inflated, 0, "")
                inflated.close()
                room -= inflated.position
            else:
                name, value = reader.matrix(Plain(again, file, plain.position - 8, start), 0, "")
            if name:  # what has none is MATLAB's own
                variables[name] = value
    return variables


def _order(header: bytes) -> str:
    """The byte order as `struct` writes it."""
    version = header[124:]
    if version in _ORDERS:
        return _ORDERS[version]
    if version in (b"\x00\x02IM", b"\x02\x00MI"):
        raise Refused("it calls itself a MATLAB v7.3 file, not one of v5 to v7")
    if header[:2] in (b"\x00\x00", b"\x0a\x00") and len(header) > 20:  # the type, in the first of five integers
        raise Refused("it looks like a MATLAB v4 file, not one of v5 to v7", SAVE_AGAIN)
    raise Refused("it is no MATLAB file, or is truncated")


class _Reader:
    """The elements of a file in one byte order; counts the values."""

    def __init__(self, order: str):
        self._order = order
        self._tag = struct.Struct(f"{order}II").unpack
        self._stored_as = {kind: np.dtype(order + code) for kind, code in _STORED_AS.items()}
        self._values = 0

    def tag(self, stream: Plain | Inflated) -> tuple[int, int, bytes | None]:
        """Type, length in bytes, and the data itself if it stands within the tag."""
        data = stream.read(8)
        kind, length = self._tag(data)
        if kind >> 16:
            kind, length = kind & 0xFFFF, kind >> 16
            if length > 4:
                raise Refused(f"it is damaged: {length} bytes in an element of four, at byte {stream.position - 8:,}")
            return kind, length, bytes(data[4 : 4 + length])
        return kind, length, None

    def matrix(self, stream: Plain | Inflated, depth: int, path: str) -> tuple[str, Any]:
        """The name and the value of any array of MATLAB, cells and structs included; path: where, for messages."""
        kind, length, _ = self.tag(stream)
        if kind != _MATRIX:
            raise Refused(f"it is damaged: {path or 'a variable'} has the type {kind}, not that of an array")
        if depth > MAX_DEPTH:
            raise Refused(f"{path} is nested more than {MAX_DEPTH} deep", SAVE_AGAIN)
        self._spend(1, path)
        if not length:
            return "", EMPTY
        end = stream.position + length
        flags = self._integers(stream, 2)
        kind = flags[0] & 0xFF
        shape = () if kind == _OPAQUE else self._integers(stream)
        name = self._small(stream, MAX_NAME)[1].decode("latin-1")
        path = f"{path}{name}"
        if kind != _OPAQUE and (len(shape) < 2 or min(shape) < 0 or math.prod(n or 1 for n in shape) > _MAX_NUMBERS):
            raise Refused(f"{path} has the shape {shape}")
        if kind == _CELL:
            self._spend(math.prod(shape), path)
            value = [self.matrix(stream, depth + 1, f"{path}[{i}]")[1] for i in range(math.prod(shape))]
        elif kind == _STRUCT:
            value = self._struct(stream, math.prod(shape), depth, path)
        elif kind == _CHAR:
            value = self._characters(stream)
        elif kind in _CLASSES and not flags[0] & _COMPLEX:
            value = self._numbers(stream, shape, _CLASSES[kind], path)
        else:  # objects, function handles, sparse and complex arrays
            value = None
        if stream.position > end:
            raise Refused(f"it is damaged: {path} is longer than it says")
        stream.skip(end - stream.position)
        return name, value

    def _spend(self, count: int, path: str) -> None:
        self._values += count
        if self._values > MAX_VALUES:
            raise Refused(f"it has more than {MAX_VALUES:,} values ({path} and before)", SAVE_AGAIN)

    def _struct(self, stream: Plain | Inflated, count: int, depth: int, path: str) -> dict | list[dict]:
        width = self._integers(stream, 1)[0]
        names = self._small(stream, MAX_TEXT)[1]
        if not 1 <= width <= MAX_NAME or len(names) % width:
            raise Refused(f"it is damaged: the names of the fields of {path} have {width} bytes")
        fields = [names[i : i + width].split(b"\0")[0].decode("latin-1") for i in range(0, len(names), width)]
        self._spend(count, path)
        rows = [
            {field: self.matrix(stream, depth + 1, f"{path}[{i}].{field}")[1] for field in fields} for i in range(count)
        ]
        return rows[0] if count == 1 else rows

    def _numbers(self, stream: Plain | Inflated, shape: tuple[int, ...], dtype: np.dtype, path: str) -> Numbers:
        kind, length, data = self.tag(stream)
        # MATLAB stores numbers in the smallest type that holds them all.
        stored = self._stored_as.get(kind)
        if stored is None or math.prod(shape) * stored.itemsize != length:
            raise Refused(f"it is damaged: {path} has the shape {shape}, but {length:,} bytes of type {kind}")
        kept = stream.keep(length) if data is None else data
        return Numbers(shape, dtype, partial(_array, kept, stored, shape, dtype))

    def _characters(self, stream: Plain | Inflated) -> str | None:
        kind, length, data = self.tag(stream)
        if length > MAX_TEXT:
            return None
        coding = _TEXT.get(kind, "latin-1")
        order = "" if coding in ("latin-1", "utf-8") else "-le" if self._order == "<" else "-be"
        return bytes(stream.read(length) if data is None else data).decode(f"{coding}{order}", "replace")

    def _integers(self, stream: Plain | Inflated, count: int | None = None) -> tuple[int, ...]:
        kind, data = self._small(stream, 4 * _MAX_AXES)
        if kind not in (5, 6) or len(data) % 4 or count not in (None, len(data) // 4):
            raise Refused(f"it is damaged: {len(data)} bytes of type {kind} where integers should be")
        return struct.unpack(f"{self._order}{len(data) // 4}i", data)

    def _small(self, stream: Plain | Inflated, most: int) -> tuple[int, bytes]:
        """Type and data of an element of at most so many bytes, taken with the bytes that fill it up to a multiple of eight."""
        kind, length, data = self.tag(stream)
        if data is not None:
            return kind, data
        if length > most:
            raise Refused(f"it is damaged: {length:,} bytes at byte {stream.position:,}, where {most} would be many")
        return kind, bytes(stream.read(length + -length % 8)[:length])


def _array(kept: Any, stored: np.dtype, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The array whose bytes are `kept`, or what that returns when it is called."""
    content = kept() if callable(kept) else kept
    return np.frombuffer(content, stored).reshape(shape, order="F").astype(dtype)
