"""MATLAB v7.3 files, which are HDF5, as a tree of values.

The HDF5 library is left with the metadata. Links and references are resolved here, and compressed data is inflated here, since
the library would follow links into other files, and inflate without a limit.
"""

import math
import os
import zlib
from functools import partial
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5s, h5t, h5z

from refinenet_jax.matlab.values import (
    EMPTY,
    MAX_ALL_TEXT,
    MAX_DEPTH,
    MAX_NAME,
    MAX_TEXT,
    MAX_VALUES,
    SAVE_AGAIN,
    Numbers,
    Refused,
    limit_of_bytes,
)

_MAX_CHUNKS = 100_000  # of one array; MATLAB's hold 100 kB or so
_NUMERIC = {None, "double", "single", "logical", *(f"{sign}int{n}" for sign in ("", "u") for n in (8, 16, 32, 64))}
# Of what classes h5py's errors on malformed files are.
_MALFORMED = (OSError, RuntimeError, ValueError, TypeError, LookupError, OverflowError, MemoryError, zlib.error)


def read_variables(path: str | os.PathLike) -> dict[str, Any]:
    """All values of the file by their name in its root; MATLAB's hidden '#refs#' and '#subsystem#' are among them.

    The file stays open as long as one of its `Numbers` is alive.

    Raises:
      Refused: it is damaged, or holds what MATLAB does not write: links to other places or files, data kept elsewhere,
        other filters than deflate and shuffle, references to nowhere, values inside themselves; or too many of them.
    """
    try:
        return _Tree(h5py.File(path, "r").id, os.path.getsize(path)).root
    except _MALFORMED as error:
        raise _damaged(error) from error


def _damaged(error: Exception) -> Refused:
    return Refused(f"its HDF5 structure is damaged or truncated ({error})")


class _Tree:
    """The objects of a file by their address, each turned into a value once."""

    def __init__(self, file: h5py.h5f.FileID, file_size: int):
        self._file = file
        self._limit = limit_of_bytes(file_size)
        self._paths: dict[int, str] = {}
        self._members: dict[int | None, dict[str, int]] = {}  # of groups; None is the root
        self._columns: set[int] = set()  # fields of an array of structs, if all of a struct's are
        self._values: dict[int, Any] = {}
        self._under_way: set[int] = set()
        self._references = self._text = 0
        self._index()
        self.root = {name: self._value(address, f"/{name}", 0) for name, address in self._members[None].items()}

    def _index(self) -> None:
        """Finds every object that names lead to.

        References are looked up among these, so that the library never takes any bytes of the file for an object.
        """
        groups: list[tuple[int | None, str]] = [(None, "")]
        while groups:
            address, path = groups.pop()
            if path.count("/") > MAX_DEPTH:
                raise Refused(f"its groups are nested more than {MAX_DEPTH} deep", SAVE_AGAIN)
            group = h5g.open(self._file, path.encode() or b"/")
            members = self._members[address] = {}
            for name, kind, child in self._links(group, path):
                if not name.isascii() or b"/" in name or len(name) > MAX_NAME:
                    raise Refused(
                        f"{path or '/'} has a member named {name[:MAX_NAME]!r}, as MATLAB names none", SAVE_AGAIN
                    )
                where = f"{path}/{name.decode()}"
                if kind != h5l.TYPE_HARD:
                    raise Refused(
                        f"{where} is a link to another place or file, which MATLAB does not write", SAVE_AGAIN
                    )
                members[name.decode()] = child
                if child not in self._paths:
                    self._paths[child] = where
                    if isinstance(h5o.open(group, name), h5g.GroupID):
                        groups.append((child, where))

    def _links(self, group: h5g.GroupID, path: str) -> list[tuple[bytes, int, int]]:
        """Name, kind of link, and address of all members. (For more than that, the library would walk their trees.)"""
        links = []

        def take(name: bytes, about: h5l.LinkInfo) -> bool:
            links.append((name, about.type, about.u))
            return len(links) + len(self._paths) > MAX_VALUES  # True ends it

        if group.links.iterate(take, info=True)[0]:
            raise Refused(f"it has more than {MAX_VALUES:,} objects ({path or '/'} and before)", SAVE_AGAIN)
        return links

    def _value(self, address: int, where: str, depth: int) -> Any:
        if address in self._under_way:
            raise Refused(f"{where} contains itself", SAVE_AGAIN)
        if depth > MAX_DEPTH:
            raise Refused(f"{where} is nested more than {MAX_DEPTH} deep", SAVE_AGAIN)
        if address not in self._values:
            self._under_way.add(address)
            thing = h5o.open(self._file, self._paths[address].encode())
            if isinstance(thing, h5g.GroupID):
                self._values[address] = self._group(thing, address, depth)
            elif isinstance(thing, h5d.DatasetID):
                self._values[address] = self._dataset(thing, address, depth)
            else:  # a named data type
                self._values[address] = None
            self._under_way.discard(address)
        return self._values[address]

    def _group(self, group: h5g.GroupID, address: int, depth: int) -> Any:
        kind = _attribute(group, b"MATLAB_class")
        if kind not in (None, "struct"):  # function handles, sparse arrays
            return None
        path, members = self._paths[address], self._members[address]
        fields = {name: self._value(child, f"{path}/{name}", depth + 1) for name, child in members.items()}
        if kind is None or not fields or not self._columns.issuperset(members.values()):
            return fields
        if len({len(column) for column in fields.values()}) > 1:
            raise Refused(f"the fields of {path} have different numbers of values")
        return [dict(zip(fields, row, strict=True)) for row in zip(*fields.values(), strict=True)]

    def _dataset(self, dataset: h5d.DatasetID, address: int, depth: int) -> Any:
        kind, path, stored = _attribute(dataset, b"MATLAB_class"), self._paths[address], dataset.get_type()
        if stored.get_class() == h5t.REFERENCE:
            if not stored.equal(h5t.STD_REF_OBJ):
                raise Refused(f"{path} holds references to regions, which MATLAB does not write", SAVE_AGAIN)
            if kind is None:
                self._columns.add(address)
            return self._list(self._numbers(dataset, np.dtype("<u8"), path), path, depth)
        if h5a.exists(dataset, b"MATLAB_empty"):  # its numbers are the size of what is empty
            return {"char": "", "cell": [], "struct": []}.get(kind, EMPTY)
        if stored.get_class() not in (h5t.INTEGER, h5t.FLOAT) or kind not in {*_NUMERIC, "char"}:
            return None
        dtype = stored.dtype
        if not h5t.py_create(dtype).equal(stored):  # fewer bits than bytes, and the like
            return None
        numbers = self._numbers(dataset, dtype, path)
        if kind != "char":
            return numbers
        size = math.prod(numbers.shape) * dtype.itemsize
        if size > MAX_TEXT:
            return None
        self._text += size
        if self._text > MAX_ALL_TEXT:
            raise Refused(f"it has more than {MAX_ALL_TEXT:,} bytes of text ({path} and before)", SAVE_AGAIN)
        return numbers.read().ravel(order="F").astype("<u2").tobytes().decode("utf-16-le", "replace")

    def _list(self, references: Numbers, path: str, depth: int) -> list:
        self._references += math.prod(references.shape)
        if self._references > MAX_VALUES:
            raise Refused(f"it has more than {MAX_VALUES:,} references ({path} and before)", SAVE_AGAIN)
        addresses = references.read().ravel(order="F").tolist()
        for i, address in enumerate(addresses):
            if address not in self._paths:
                raise Refused(f"{path}[{i}] refers to an object that is not in the file")
        return [self._value(address, f"{path}[{i}]", depth + 1) for i, address in enumerate(addresses)]

    def _numbers(self, dataset: h5d.DatasetID, dtype: np.dtype, path: str) -> Numbers:
        """The array at `path`, which is of `dtype` on disk."""
        shape = dataset.shape
        if not shape or 0 in shape:
            return EMPTY
        size, filters = math.prod(shape) * dtype.itemsize, _filters(dataset, path)
        if size > self._limit or (filters is None and dataset.get_storage_size() != size):
            raise Refused(f"{path} says that it has the shape {shape[::-1]}, but so much cannot be in the file")
        # Opened again when it is read: thousands of open datasets take 100 MB.
        return Numbers(shape[::-1], dtype.newbyteorder("="), partial(_read, self._file, path, dtype, self._limit))


def _attribute(thing: h5g.GroupID | h5d.DatasetID, name: bytes) -> str | None:
    """A text of fixed length, as MATLAB writes its own; None if there is none."""
    if not h5a.exists(thing, name):
        return None
    attribute = h5a.open(thing, name)
    stored = attribute.get_type()
    if stored.get_class() != h5t.STRING or stored.is_variable_str() or attribute.get_storage_size() > 256:
        return "?"
    text = np.zeros(attribute.shape, f"S{stored.get_size()}")
    attribute.read(text)
    return text.tobytes().rstrip(b"\0").decode("ascii", "replace")


def _filters(dataset: h5d.DatasetID, path: str) -> list[int] | None:
    """The filters that the chunks of an array went through; None if it is not in chunks."""
    stored = dataset.get_create_plist()
    if stored.get_layout() not in (h5d.COMPACT, h5d.CONTIGUOUS, h5d.CHUNKED) or stored.get_external_count():
        raise Refused(f"the data of {path} is kept in another place or file, which MATLAB does not write", SAVE_AGAIN)
    filters = [stored.get_filter(i)[0] for i in range(stored.get_nfilters())]
    if not set(filters) <= {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE}:
        raise Refused(
            f"{path} went through the HDF5 filters {filters}; read are deflate (1) and shuffle (2)", SAVE_AGAIN
        )
    return filters if stored.get_layout() == h5d.CHUNKED else None


def _read(file: h5py.h5f.FileID, path: str, dtype: np.dtype, limit: int) -> np.ndarray:
    """An array in MATLAB's order of axes, in native byte order."""
    try:
        dataset = h5o.open(file, path.encode())
        filters = _filters(dataset, path)
        if filters is None:
            array = np.empty(dataset.shape, dtype)
            dataset.read(h5s.ALL, h5s.ALL, array, dataset.get_type())  # as it is; references are no objects then
        else:
            array = _read_chunks(dataset, dtype, filters, path, limit)
        return array.astype(dtype.newbyteorder("="), copy=False).T
    except _MALFORMED as error:
        raise _damaged(error) from error


def _read_chunks(dataset: h5d.DatasetID, dtype: np.dtype, filters: list[int], path: str, limit: int) -> np.ndarray:
    shape, chunk = dataset.shape, dataset.get_create_plist().get_chunk()
    count = math.prod(-(-side // step) for side, step in zip(shape, chunk, strict=True))
    size = math.prod(chunk) * dtype.itemsize
    if count > _MAX_CHUNKS or count * size > 16 * math.prod(shape) * dtype.itemsize + 4096:
        raise Refused(f"{path} of the shape {shape[::-1]} is stored in {count:,} chunks of {size:,} bytes", SAVE_AGAIN)
    stored = []

    def take(about: h5d.StoreInfo) -> bool | None:
        stored.append((about.chunk_offset, about.size))
        return True if len(stored) > count else None  # True ends it

    dataset.chunk_iter(take)
    sizes = dict(stored)
    array = np.empty(shape, dtype)
    for place in np.ndindex(*(-(-side // step) for side, step in zip(shape, chunk, strict=True))):
        corner = tuple(i * step for i, step in zip(place, chunk, strict=True))
        if not 0 < sizes.get(corner, 0) <= limit:  # a chunk that was never written would read as zeros
            raise Refused(f"{path} has no chunk at {corner}, or one larger than the file")
        mask, data = dataset.read_direct_chunk(corner)
        values = np.frombuffer(_unpack(data, mask, filters, dtype.itemsize, size, path), dtype).reshape(chunk)
        target = array[tuple(slice(c, c + step) for c, step in zip(corner, chunk, strict=True))]
        target[...] = values[tuple(slice(side) for side in target.shape)]
    return array


def _unpack(data: bytes, mask: int, filters: list[int], itemsize: int, size: int, path: str) -> bytes:
    """Undoes the filters of a chunk; those whose bit is set in `mask` were not applied to it."""
    for i in reversed(range(len(filters))):
        if mask >> i & 1:
            continue
        if filters[i] == h5z.FILTER_DEFLATE:
            inflater = zlib.decompressobj()
            data = inflater.decompress(data, size + 1)
            if not inflater.eof:  # which comes after the checksum
                raise Refused(f"{path} has a chunk that inflates to more than {size:,} bytes, or is truncated")
        else:
            data = np.frombuffer(data, np.uint8).reshape(itemsize, -1).T.tobytes()
    if len(data) != size:
        raise Refused(f"{path} has a chunk of {len(data):,} bytes instead of {size:,}")
    return data
