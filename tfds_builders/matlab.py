"""Reads MATLAB files (v5 to v7) with `scipy.io.loadmat`, after a check of their structure.

SciPy trusts the sizes in a file, so that 240 bytes can allocate 12 GB; it descends into nested arrays without a limit; and for
an element of an unexpected type it reads beyond its tables, which can crash the process.
"""

import io
import math
import struct
import zlib
from typing import Any

import numpy as np
import scipy.io
from etils import epath

_HEADER = 128  # bytes, of which the last four are the version and byte order
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_MATRIX, _COMPRESSED = 14, 15
_INT8, _INT32, _UINT32 = 1, 5, 6
_NUMBERS = {*range(1, 8), 9, 12, 13}
_TEXT = {1, 2, 4, 16, 17, 18}
_TYPES = _NUMBERS | _TEXT | {_MATRIX, _COMPRESSED}
_CELL, _STRUCT, _CHAR, _COMPLEX = 1, 2, 4, 0x0800
_MAX_DEPTH = 16
_MAX_ARRAYS = 50_000


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
        content = path.read_bytes()
        order = _ORDERS.get(content[_HEADER - 4 : _HEADER])
        if order is None:
            raise ValueError("it is not of MATLAB v5 to v7")
        # SciPy takes a file whose header starts with a zero byte for v4, which is not checked here.
        plain = b"MATLAB 5.0 MAT-file".ljust(_HEADER - 4) + content[_HEADER - 4 : _HEADER]
        plain += b"".join(_inflate(content[_HEADER:], order, max_unpacked))
        _check(memoryview(plain)[_HEADER:], order, 0, [_MAX_ARRAYS])
        return scipy.io.loadmat(io.BytesIO(plain), variable_names=[name])[name]
    except Exception as error:  # which one depends on where the file is damaged
        raise ValueError(
            f"{path} cannot be read as a MATLAB file with {name!r} ({type(error).__name__}: {error}). It may be cut short or"
            " of another dataset; unpack it again."
        ) from error


def _inflate(content: bytes, order: str, room: int) -> Any:
    """Yields the variables uncompressed."""
    for kind, data, whole in _elements(memoryview(content), order):
        if kind == _COMPRESSED:
            inflater = zlib.decompressobj()
            whole = inflater.decompress(data, room + 1)
            if len(whole) <= room and not inflater.eof:
                raise ValueError("a compressed variable is truncated")
        room -= len(whole)
        if room < 0:
            raise ValueError("its contents are larger than any in this dataset")
        yield whole


def _elements(content: memoryview, order: str) -> Any:
    """Yields type, data, and the whole element with tag and padding."""
    position = 0
    while position < len(content):
        kind, length = struct.unpack_from(f"{order}II", content, position)
        start, end = position + 8, position + 8 + length
        if kind >> 16:  # up to four bytes of data are in the tag
            kind, length = kind & 0xFFFF, kind >> 16
            start, end = position + 4, position + 8
            if length > 4:
                raise ValueError("an element of four bytes claims more")
        elif kind != _COMPRESSED:
            end += -length % 8
        if kind not in _TYPES:
            raise ValueError(f"an element has the unknown type {kind}")
        if start + length > len(content):
            raise ValueError("it is truncated")
        yield kind, content[start : start + length], content[position:end]
        position = end


def _check(content: memoryview, order: str, depth: int, left: list[int]) -> None:
    """Raises ValueError unless every array has the elements that its class needs, and no more values than bytes.

    Args:
      content: elements whose arrays are checked, including nested ones.
      order: byte order.
      depth: nesting depth of `content`.
      left: number of arrays that may follow.
    """
    for kind, data, _ in _elements(content, order):
        left[0] -= kind == _MATRIX
        if depth > _MAX_DEPTH or left[0] < 0:
            raise ValueError(f"arrays are nested more than {_MAX_DEPTH} deep, or more than {_MAX_ARRAYS:,}")
        if kind == _MATRIX and len(data):
            _check_array(data, order)
            _check(data, order, depth + 1, left)


def _check_array(data: memoryview, order: str) -> None:
    kinds, parts = zip(*((kind, part) for kind, part, _ in _elements(data, order)), strict=True)
    if kinds[:3] != (_UINT32, _INT32, _INT8) or len(parts[0]) != 8 or len(parts[1]) % 4:
        raise ValueError(f"an array begins with elements of the types {kinds[:3]}")
    flags, shape = (
        struct.unpack_from(f"{order}I", parts[0])[0],
        struct.unpack(f"{order}{len(parts[1]) // 4}i", parts[1]),
    )
    if min(shape) < 0 or math.prod(shape) > len(data):
        raise ValueError(f"an array of {len(data):,} bytes claims the shape {shape}")
    kind, rest = flags & 0xFF, kinds[3:]
    if kind == _CELL:
        is_sound = rest == (_MATRIX,) * math.prod(shape)
    elif kind == _STRUCT:
        width = struct.unpack(f"{order}i", parts[3])[0]
        names = bytes(parts[4])
        count = len(names) // width if 0 < width <= 64 else 0
        is_sound = len(names) == count * width and all(b"\0" in names[i * width :][:width] for i in range(count))
        is_sound &= rest == (_INT32, _INT8) + (_MATRIX,) * (count * math.prod(shape))
    else:
        stored = _TEXT if kind == _CHAR else _NUMBERS
        is_sound = (kind == _CHAR or 6 <= kind <= 15) and not flags & _COMPLEX and len(rest) == 1 and rest[0] in stored
    if not is_sound:
        raise ValueError(f"an array of class {kind} and shape {shape} has elements of the types {rest[:8]}")
