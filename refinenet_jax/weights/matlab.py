"""Reads MATLAB files of v5 to v7 with SciPy and of v7.3 with h5py, both into the same tree of plain values.

A file may come from anywhere. Both libraries allocate what a file declares, and SciPy also recurses and indexes by what it
declares (240 bytes can take 12 GB, or crash the interpreter), so files are checked before they do: those of v7.3 by `_Tree`,
others by the reader that the datasets' builders use, too.
"""

import math
import os
import zlib
from typing import Any

import h5py
import numpy as np
import scipy.io
from h5py import h5l, h5s, h5z

from refinenet_jax.weights.weights_file import WeightsError
from tfds_builders.matlab import MAX_DEPTH, Limits, checked

_ROOT = -1  # in place of its address
_FILTERS = ([], [h5z.FILTER_DEFLATE], [h5z.FILTER_SHUFFLE, h5z.FILTER_DEFLATE])  # of HDF5
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


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
            limits = Limits(8 * os.path.getsize(path) + (64 << 20))  # networks shrink by a tenth
            if _HDF5_MAGIC in (head[:8], head[512:520]):
                with h5py.File(path, "r") as tree:
                    return "v7.3", _Tree(tree, limits).variables()
            content = checked(file, limits, limits.bytes)
        variables = scipy.io.loadmat(content, mat_dtype=True)
        return "v7", {name: _plain(value) for name, value in variables.items() if not name.startswith("__")}
    except Exception as error:  # a damaged file fails in any of many ways
        fix = "Copy or download it again, or save it again in MATLAB with '-v7.3'"
        raise WeightsError(f"{path} cannot be read as a MATLAB file ({error}). {fix}.") from error


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

    def __init__(self, file: h5py.File, limits: Limits):
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
                if link.type != h5l.TYPE_HARD or path.count("/") > MAX_DEPTH:
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
