"""Reads MATLAB files of v5 to v7 with SciPy and of v7.3 with h5py, both into the same tree of plain values.

A file may come from anywhere. Both libraries allocate what a file declares, and SciPy also recurses and indexes by what it
declares (240 bytes can take 12 GB, or crash the interpreter), so `_Elements` and `_Tree` check a file before they do.
"""

import io
import math
import os
import struct
import zlib
from typing import Any, BinaryIO

import h5py
import numpy as np
import scipy.io
from h5py import h5l, h5s, h5z

from refinenet_jax.weights.weights_file import WeightsError

MAX_VALUES = 100_000  # arrays, cells and fields; a RefineNet-152 has some 20,000
_MAX_DEPTH = 64
_ROOT = -1  # in place of its address
_FILTERS = ([], [h5z.FILTER_DEFLATE], [h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE])  # of HDF5
_MAX_NAMES = 1 << 16  # bytes of all field names of a struct
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}  # version and byte order of v5 to v7

# Types of elements and classes of arrays ("MAT-File Format", The MathWorks, chapter 1).
_MATRIX, _COMPRESSED = 14, 15
_FLAGS, _INTEGERS, _NAMES = {6}, {5, 6}, {1, 16}
_NUMBERS, _TEXT = {1, 2, 3, 4, 5, 6, 7, 9, 12, 13}, {1, 2, 4, 16, 17, 18}
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17
_CLASSES, _COMPLEX, _MAX_AXES = range(1, 18), 1 << 11, 32


def read_variables(path: str | os.PathLike) -> tuple[str, dict[str, Any]]:
    """Returns 'v7.3' or 'v7', by content, and all variables of a MATLAB file by name.

    A struct is a dict; a cell array, or a struct array of any length but 1, is a list, column by column; text is a str; an
    array of single or double is a NumPy array; anything else (integers, truth values, objects, function handles) is None.
    v7.3's hidden variables '#refs#' and '#subsystem#', which hold the contents of objects, are included.

    Raises:
      WeightsError: the file cannot be read, is damaged, or holds what MATLAB does not write or far more than any network.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(520)
            limits = _Limits(os.path.getsize(path))
            if _HDF5_MAGIC in (head[:8], head[512:520]):
                with h5py.File(path, "r") as tree:
                    return "v7.3", _Tree(tree, limits).variables()
            if head[124:128] not in _ORDERS:
                raise ValueError("its header is not that of MATLAB v5 to v7.3")
            content = _unpacked(file, limits)
        with content.getbuffer() as buffer:
            _Elements(buffer, _ORDERS[head[124:128]], limits).check()
        variables = scipy.io.loadmat(content, mat_dtype=True)
        return "v7", {name: _plain(value) for name, value in variables.items() if not name.startswith("__")}
    except Exception as error:  # a damaged file fails in any of many ways
        raise WeightsError(
            f"{path} cannot be read as a MATLAB file ({error}). Copy or download it again, or save it again in MATLAB "
            "with '-v7.3'."
        ) from error


class _Limits:
    """How many values, and how many bytes of numbers, a file may still unpack to; networks shrink by a tenth."""

    def __init__(self, file_size: int):
        self.values, self.bytes = MAX_VALUES, 8 * file_size + (64 << 20)

    def spend(self, values: int, size: int = 0) -> None:
        self.values -= values
        self.bytes -= size
        if self.values < 0 or self.bytes < 0:
            raise ValueError(f"it declares more than {MAX_VALUES:,} values, or far more numbers than fit its size")


def _unpacked(file: BinaryIO, limits: _Limits) -> io.BytesIO:
    """Returns a v5 to v7 file with its compressed variables inflated."""
    file.seek(124)
    content = io.BytesIO()
    # SciPy decides by the first bytes of the header whether a file is of v4.
    content.write(b"MATLAB 5.0 MAT-file".ljust(124) + (order := file.read(4)))
    while tag := file.read(8):
        kind, left = struct.unpack(f"{_ORDERS[order]}II", tag)
        inflater = zlib.decompressobj() if kind == _COMPRESSED else None
        if inflater is None:
            content.write(tag)
        while left:
            piece = file.read(min(left, 1 << 16))
            if not piece:
                raise ValueError(f"it is truncated: {left:,} bytes are missing")
            left -= len(piece)
            content.write(inflater.decompress(piece) if inflater else piece)
            if content.tell() > limits.bytes:
                raise ValueError("it inflates to far more than its size")
        if inflater and not inflater.eof:
            raise ValueError("a compressed variable is truncated")
    return content


class _Elements:
    """The elements of a v5 file, walked in the order and by the rules by which SciPy reads them."""

    def __init__(self, content: memoryview, order: str, limits: _Limits):
        self._content, self._order, self._limits, self._at = content, order, limits, 128

    def check(self) -> None:
        """Raises ValueError or struct.error unless SciPy can read the file safely."""
        while self._at < len(self._content):
            self._array(0)

    def _array(self, depth: int) -> None:
        kind, length = struct.unpack_from(f"{self._order}II", self._content, self._at)
        self._at += 8
        end = self._at + length
        if kind != _MATRIX or depth > _MAX_DEPTH:
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
            for _ in range(3 if kind == _SPARSE else 1):
                self._element(_TEXT if kind == _CHAR else _NUMBERS)
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


def _plain(value: Any) -> Any:
    """Returns a value of SciPy as a plain one."""
    if type(value) is not np.ndarray:  # a subclass is an object or a function
        return None
    if value.dtype.names:
        rows = [{name: _plain(row[name]) for name in value.dtype.names} for row in value.ravel(order="F")]
        return rows[0] if len(rows) == 1 else rows
    if value.dtype == object:
        return [_plain(one) for one in value.ravel(order="F")]
    if value.dtype.kind == "U":
        return str(value[0]) if value.size else ""
    return value.astype(value.dtype.newbyteorder("="), copy=False) if value.dtype.kind == "f" else None


class _Column(list):
    """The values of one field of an array of structs."""


class _Tree:
    """The objects of a v7.3 file, each turned into a value once.

    Only objects that hard links lead to are opened: no other files, and no bytes that a reference declares to be an object.
    """

    def __init__(self, file: h5py.File, limits: _Limits):
        self._file, self._limits = file, limits
        self._paths = {_ROOT: "/"}
        self._members: dict[int, dict[str, int]] = {}
        self._values: dict[int, Any] = {}
        groups = [_ROOT]
        for group in groups:
            thing, members = file[self._paths[group]], self._members.setdefault(group, {})
            for name in thing:
                link, path = thing.id.links.get_info(name.encode()), f"{thing.name.rstrip('/')}/{name}"
                limits.spend(1)
                if link.type != h5l.TYPE_HARD or path.count("/") > _MAX_DEPTH:
                    raise ValueError(f"{path} is a link to another place or file, or nested too deeply")
                members[name] = link.u
                if link.u not in self._paths:
                    self._paths[link.u] = path
                    if isinstance(file[path], h5py.Group):
                        groups.append(link.u)

    def variables(self) -> dict[str, Any]:
        return {name: self._value(address) for name, address in self._members[_ROOT].items()}

    def _value(self, address: int) -> Any:
        if address not in self._values:
            self._values[address] = None  # for what contains itself
            thing = self._file[self._paths[address]]
            kind = thing.attrs.get("MATLAB_class")
            if address in self._members:
                self._values[address] = self._struct(self._members[address]) if kind in (None, b"struct") else None
            else:
                self._values[address] = self._dataset(thing, kind)
        value = self._values[address]
        if isinstance(value, np.ndarray):
            self._limits.spend(0, value.nbytes)  # each time, for users of many references to one array may copy it
        return value

    def _struct(self, members: dict[str, int]) -> dict | list[dict]:
        fields = {name: self._value(address) for name, address in members.items()}
        if fields and all(isinstance(field, _Column) for field in fields.values()):
            self._limits.spend(sum(map(len, fields.values())))
            return [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]
        return fields

    def _dataset(self, dataset: h5py.Dataset, kind: bytes | None) -> Any:
        if "MATLAB_empty" in dataset.attrs:  # what is stored is the shape
            return {b"char": "", b"cell": [], b"struct": []}.get(kind, np.zeros((0, 0)))
        if h5py.check_ref_dtype(dataset.dtype) is h5py.Reference:
            addresses = np.empty(dataset.shape, "u8")
            self._check(dataset)
            self._limits.spend(addresses.size)
            dataset.id.read(h5s.ALL, h5s.ALL, addresses, dataset.id.get_type())
            values = []
            for address in addresses.ravel().tolist():
                if address not in self._paths:
                    raise ValueError(f"{dataset.name} refers to an object that is not in the file")
                values.append(self._value(address))
            return values if kind else _Column(values)
        if kind == b"char" and dataset.dtype.kind == "u":
            self._check(dataset)
            return dataset[()].astype("<u2").tobytes().decode("utf-16-le", "replace")
        if kind in (b"single", b"double") and dataset.dtype.kind == "f":
            self._check(dataset)
            return dataset[()].T.astype(dataset.dtype.newbyteorder("="), copy=False)
        return None

    def _check(self, dataset: h5py.Dataset) -> None:
        """Raises ValueError unless all that a dataset declares is in the file, and inflates to no more than that."""
        name, stored, itemsize = dataset.name, dataset.id.get_create_plist(), dataset.dtype.itemsize
        size = math.prod(dataset.shape) * itemsize
        self._limits.spend(0, size)
        filters = [stored.get_filter(i)[0] for i in range(stored.get_nfilters())]
        if dataset.is_virtual or dataset.external or filters not in _FILTERS:
            raise ValueError(f"{name} is kept in another file, or went through the HDF5 filters {filters}")
        if dataset.chunks is None:
            if size != dataset.id.get_storage_size():
                raise ValueError(f"{name} has the shape {dataset.shape}, which is not stored")
            return
        size, chunks = math.prod(dataset.chunks) * itemsize, []
        self._limits.spend(0, size)
        dataset.id.chunk_iter(lambda chunk: chunks.append((chunk.chunk_offset, chunk.size)))
        if len(chunks) != math.prod(-(-side // step) for side, step in zip(dataset.shape, dataset.chunks, strict=True)):
            raise ValueError(f"{name} has the shape {dataset.shape}, of which only {len(chunks):,} chunks are stored")
        for offset, stored_size in chunks:
            if stored_size > 2 * size + 64:
                raise ValueError(f"{name} has a chunk of {stored_size:,} bytes for {size:,}")
            mask, data = dataset.id.read_direct_chunk(offset)
            if h5z.FILTER_DEFLATE in filters and not mask >> filters.index(h5z.FILTER_DEFLATE) & 1:
                data = zlib.decompressobj().decompress(data, size + 1)
            if len(data) != size:
                raise ValueError(f"{name} has a chunk that is truncated or inflates to more than {size:,} bytes")
