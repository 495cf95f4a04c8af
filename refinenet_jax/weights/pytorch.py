"""Reader of what torch.save writes, both its zip files and those from before PyTorch 1.6; PyTorch itself is not needed."""

import io
import math
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from refinenet_jax.weights import pickles
from refinenet_jax.weights.pickles import Storage, Tensor
from refinenet_jax.weights.weights_file import WeightsError, WeightsFile

# Keys under which training scripts store the state dict with other things; the first one with tensors is used.
_WRAPPERS = ("state_dict", "model", "segmenter", "net", "module")
_PREFIX = "module."  # of torch.nn.DataParallel

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

# Tensors may share a storage, and some do (tied weights), but all together they are about as large as the file.
_MAX_SHARING, _FREE_BYTES = 4, 1 << 20

_AGAIN = "Download or copy it again"


def read_zip(path: str, members: Iterable[zipfile.ZipInfo]) -> WeightsFile:
    """Reads a .pth file as written since PyTorch 1.6, a zip file: a state dict, bare or under one of the usual keys.

    DataParallel's `module.` is removed from the names.

    Args:
      path: the file.
      members: what is in it; their names differ.

    Raises:
      WeightsError: it is damaged, holds no tensors, or asks for anything but tensors and plain containers.
    """
    memory = np.memmap(path, np.uint8, "r")
    places, end = {}, 0
    for member in sorted(members, key=lambda member: member.header_offset):
        name, size = member.filename, member.file_size
        if member.compress_type != zipfile.ZIP_STORED:
            raise WeightsError(f"{path}: {name!r:.100} is deflated. Save it again with torch.save, or zip it with -0.")
        # The bytes follow a header of their own, whose length the list of members does not give.
        magic, name_size, extra_size = struct.unpack_from("<4s22xHH", memory, member.header_offset)
        begin = member.header_offset + 30 + name_size + extra_size
        if magic != b"PK\x03\x04" or member.header_offset < end or begin + member.compress_size > memory.size:
            raise WeightsError(f"{path}: {name!r:.100} overlaps another member or the end of the file. {_AGAIN}.")
        end = begin + member.compress_size
        if end != begin + size or zlib.crc32(memory[begin:end]) != member.CRC:
            raise WeightsError(f"{path}: {name!r:.100} does not match its checksum; the file is damaged. {_AGAIN}.")
        places[name] = begin, size
    tops = [name.removesuffix("/data.pkl") for name in places if name.endswith("/data.pkl")]
    if len(tops) != 1:
        raise WeightsError(f"{path} holds {len(tops)} files data.pkl, so it is not clear which is meant. {_AGAIN}.")
    (top,) = tops
    if f"{top}/constants.pkl" in places:
        raise WeightsError(f"{path} is a program of TorchScript, which is not run. {pickles.SAVE_WEIGHTS}.")
    begin, size = places.get(f"{top}/byteorder", (0, 0))
    if memory[begin : begin + size][:16].tobytes() not in (b"", b"little"):
        raise WeightsError(f"{path} was saved on a big-endian machine. Load and save it again on an ordinary one.")
    begin, size = places[f"{top}/data.pkl"]
    if size > pickles.MAX_BYTES:
        raise WeightsError(f"{path} holds far more than weights: {size:,} bytes of pickle. {pickles.SAVE_WEIGHTS}.")
    content, storages = pickles.load(io.BytesIO(memory[begin : begin + size]), path)
    folder = f"{top}/data/"
    stored = {name.removeprefix(folder): place for name, place in places.items() if name.startswith(folder)}
    return _weights_file("PyTorch (zip)", path, content, storages, stored)


def read_legacy(path: str) -> WeightsFile:
    """Reads a .pth file from before PyTorch 1.6, as `read_zip`.

    It holds five pickles (magic number, protocol, machine, object, keys of the storages), then each storage: count and numbers.
    """
    file_size = os.path.getsize(path)
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), min(file_size, pickles.MAX_BYTES), access=mmap.ACCESS_READ) as head,
    ):
        magic, protocol, machine = (pickles.load(head, path)[0] for _ in range(3))
        if (magic, protocol) != (_LEGACY_MAGIC, _LEGACY_PROTOCOL):
            raise WeightsError(f"{path} does not start as PyTorch's files do. {_AGAIN}.")
        if type(machine) is not dict or machine.get("little_endian") is not True:
            raise WeightsError(f"{path} was saved on a big-endian machine. Load and save it again on an ordinary one.")
        content, storages = pickles.load(head, path)
        keys, _ = pickles.load(head, path)
        if type(keys) is not list or any(type(key) is not str or key not in storages for key in keys):
            raise WeightsError(f"{path} lists storages that no tensor uses. {_AGAIN}.")
        places, offset = {}, head.tell()
        for key in keys:
            file.seek(offset)
            count, size = file.read(8), storages[key].count * storages[key].dtype.itemsize
            if count != storages[key].count.to_bytes(8, "little") or offset + 8 + size > file_size:
                raise WeightsError(f"{path} is cut short or damaged before storage {key!r:.50}. {_AGAIN}.")
            places[key] = (offset + 8, size)
            offset += 8 + size
    return _weights_file("PyTorch (legacy)", path, content, storages, places)


def _weights_file(
    form: str, path: str, content: Any, storages: Mapping[str, Storage], places: Mapping[str, tuple[int, int]]
) -> WeightsFile:
    """Checks the content of a file against its storages, each given by its offset and size in bytes, and returns it."""
    for key, storage in storages.items():
        if key not in places or places[key][1] != storage.count * storage.dtype.itemsize:
            there = f"{places[key][1]:,} bytes" if key in places else "nothing"
            claim = f"{storage.count:,} {storage.dtype} for storage {key!r:.50}"
            raise WeightsError(f"{path} claims {claim}; {there} there. {_AGAIN}.")
    tensors = _state_dict(path, content)
    _check_sizes(path, tensors)
    # A map, not a read; copied where it is written to.
    memory = np.memmap(path, np.uint8, "c")
    views = {name: _view(memory, places[tensor.storage.key][0], tensor) for name, tensor in tensors.items()}
    return WeightsFile(form, views, {})


def _state_dict(path: str, content: Any) -> dict[str, Tensor]:
    """Returns the tensors by name."""
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no tensors by name but a {type(content).__name__}. {pickles.SAVE_WEIGHTS}.")
    wrapped = (_tensors_in(content.get(key)) for key in _WRAPPERS)
    tensors = next(filter(None, wrapped), None) or _tensors_in(content)
    if not tensors:
        raise WeightsError(
            f"{path} holds no tensors by name, nor under {', '.join(_WRAPPERS)}. {pickles.SAVE_WEIGHTS}."
        )
    if all(name.startswith(_PREFIX) for name in tensors):
        return {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    return tensors


def _tensors_in(value: Any) -> dict[str, Tensor]:
    """Returns the items of a dict that are tensors."""
    items = value.items() if isinstance(value, dict) else ()
    return {key: item for key, item in items if type(key) is str and isinstance(item, Tensor)}


def _check_sizes(path: str, tensors: Mapping[str, Tensor]) -> None:
    """Raises WeightsError if a tensor exceeds its storage, or all together far exceed the file."""
    total = 0
    for name, tensor in tensors.items():
        storage = tensor.storage
        if len(tensor.shape) != len(tensor.strides):
            axes = f"{len(tensor.shape)} axes, but strides for {len(tensor.strides)}"
            raise WeightsError(f"{path}: {name!r:.100} has {axes}. {_AGAIN}.")
        # An empty tensor may claim any size along its other axes.
        count = math.prod(max(size, 1) for size in tensor.shape)
        steps = zip(tensor.shape, tensor.strides, strict=True)
        end = tensor.offset + (0 if 0 in tensor.shape else 1 + sum((size - 1) * step for size, step in steps))
        # A tensor that repeats its elements (stride 0) is larger than its storage: small ones may be.
        if end > storage.count or count * storage.dtype.itemsize > max(
            storage.count * storage.dtype.itemsize, _FREE_BYTES
        ):
            claim = f"{list(tensor.shape)}, up to element {end:,} of a storage of {storage.count:,}"
            raise WeightsError(f"{path}: {name!r:.100} claims {claim}. {_AGAIN}.")
        total += count * storage.dtype.itemsize
    if total > _FREE_BYTES + _MAX_SHARING * os.path.getsize(path):
        raise WeightsError(
            f"{path} claims {total:,} bytes of tensors, far more than the file. Save copies: tensor.clone()."
        )


def _view(memory: np.ndarray, begin: int, tensor: Tensor) -> np.ndarray:
    """Returns a tensor that lies within its storage, `begin` bytes into the file."""
    dtype = tensor.storage.dtype
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, dtype)
    strides = [step * dtype.itemsize for step in tensor.strides]
    return np.ndarray(tensor.shape, dtype, memory, begin + tensor.offset * dtype.itemsize, strides)
