"""Reader of what torch.save writes, both its zip files and those from before PyTorch 1.6; PyTorch itself is not needed."""

import functools
import io
import math
import mmap
import os
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from refinenet_jax.weights import pickles, zips
from refinenet_jax.weights.torch_records import NumpyArray, Storage, Tensor
from refinenet_jax.weights.weights_file import LazyArrays, WeightsError, WeightsFile

# Where training scripts put the network's state dict beside other things; the first one that holds tensors counts.
_WRAPPERS = ("state_dict", "model", "segmenter", "net", "module")
_PREFIX = "module."  # of torch.nn.DataParallel

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001

# Tensors may share a storage, and some do (tied weights), but all together they are about as large as the file.
_MAX_SHARING, _FREE_BYTES = 4, 1 << 20
# Limits of what is told as facts.
_MAX_FACTS, _MAX_DEPTH, _MAX_TEXT, _MAX_NAMES = 10_000, 8, 10_000, 100

_AGAIN = "Download or copy it again"


def read_pytorch(path: str | os.PathLike) -> WeightsFile:
    """Reads a .pth file: a state dict, bare or under one of the usual keys, with or without DataParallel's `module.`.

    Plain values beside the weights become facts. So do, under names of our own, what was chosen ('wrapped in'), what else would
    have done ('also holds'), and what was neither tensor nor plain ('left out').

    Raises:
      WeightsError: it is damaged, holds no tensors, or asks for anything but tensors and plain containers.
    """
    path = os.fspath(path)
    with open(path, "rb") as file:
        head = file.read(262)
    if head[257:262] == b"ustar":
        raise WeightsError(
            f"{path} is a tar archive. If it is of PyTorch 0.1, open it there and save it again; if it was packed with tar,"
            " unpack it and give the file inside."
        )
    is_zip = head.startswith(b"PK")
    content, storages, places = _read_zip(path) if is_zip else _read_legacy(path)
    for key, storage in storages.items():
        if key not in places or places[key][1] != storage.count * storage.dtype.itemsize:
            there = f"{places[key][1]:,} bytes" if key in places else "nothing"
            raise WeightsError(
                f"{path} claims {storage.count:,} {storage.dtype} for storage {key!r:.50}; {there} there. {_AGAIN}."
            )
    tensors, facts = _state_dict(path, content)
    _check_sizes(path, tensors)
    readers = {
        name: functools.partial(_read_tensor, path, places[tensor.storage.key][0], tensor)
        if isinstance(tensor, Tensor)
        else functools.partial(_copy, tensor.array)
        for name, tensor in tensors.items()
    }
    return WeightsFile("PyTorch (zip)" if is_zip else "PyTorch (legacy)", LazyArrays(readers), facts)


# What a layout gives: the pickled object, its storages by key, and offset and size in bytes of every storage in the file.
_Layout = tuple[Any, dict[str, Storage], dict[str, tuple[int, int]]]


def _read_zip(path: str) -> _Layout:
    members = zips.read_members(path)
    tops = [name.removesuffix("/data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(tops) != 1:
        raise WeightsError(f"{path} holds {len(tops)} files data.pkl, so it is not clear which is meant. {_AGAIN}.")
    (top,) = tops
    if f"{top}/constants.pkl" in members:
        raise WeightsError(f"{path} is a program of TorchScript, which is not run. {pickles.CURE}.")
    packed = next((name for name, member in members.items() if member.is_packed), None)
    if packed is not None:
        raise WeightsError(
            f"{path} was packed again: {packed!r:.100} is deflated. Save it anew with torch.save, or zip it with -0."
        )
    pickled = members[f"{top}/data.pkl"]
    if pickled.size > pickles.MAX_BYTES:
        raise WeightsError(f"{path} holds far more than weights: {pickled.size:,} bytes of pickle. {pickles.CURE}.")
    order = members.get(f"{top}/byteorder")
    if order is not None and zips.read_member(path, order, 16) != b"little":
        raise WeightsError(f"{path} was saved on a big-endian machine. Load and save it again on an ordinary one.")
    content, storages = pickles.load(io.BytesIO(zips.read_member(path, pickled)), path)
    folder = f"{top}/data/"
    places = {
        name.removeprefix(folder): (member.offset, member.size)
        for name, member in members.items()
        if name.startswith(folder)
    }
    return content, storages, places


def _read_legacy(path: str) -> _Layout:
    """Five pickles (magic number, protocol, machine, object, keys of the storages), then count and numbers of each storage."""
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
            count = file.read(8)
            if len(count) < 8 or struct.unpack("<q", count)[0] != storages[key].count:
                raise WeightsError(f"{path} is cut short or damaged before storage {key!r:.50}. {_AGAIN}.")
            size = storages[key].count * storages[key].dtype.itemsize
            places[key] = (offset + 8, size)
            offset += 8 + size
            if offset > file_size:
                raise WeightsError(
                    f"{path} is cut short: storage {key!r:.50} ends {offset - file_size:,} bytes behind it. {_AGAIN}."
                )
    return content, storages, places


def _state_dict(path: str, content: Any) -> tuple[dict[str, Tensor | NumpyArray], dict[str, Any]]:
    """The tensors by name, and the facts."""
    if type(content) is not dict:
        raise WeightsError(f"{path} holds a {type(content).__name__} instead of tensors by name. {pickles.CURE}.")
    found = [key for key in _WRAPPERS if _tensors_in(content.get(key))]
    weights = content[found[0]] if found else content
    tensors = _tensors_in(weights)
    if not tensors:
        holders = [key for key, value in content.items() if _tensors_in(value)]
        cure = (
            f"Give one of {holders[:20]!r:.500}: torch.save(torch.load(...)[key], 'weights.pth')"
            if holders
            else pickles.CURE
        )
        raise WeightsError(
            f"{path} holds no tensors by name, neither at its top nor under {', '.join(_WRAPPERS)}. {cure}."
        )
    beside = {key: value for key, value in weights.items() if key not in tensors}
    if found:
        beside = {key: value for key, value in content.items() if key not in found} | beside
    facts, left_out = _plain_values(beside)
    facts |= {"wrapped in": found[0]} if found else {}
    facts |= {"also holds": found[1:]} if found[1:] else {}
    facts |= {"left out": left_out} if left_out else {}
    if all(name.startswith(_PREFIX) for name in tensors):
        tensors = {name.removeprefix(_PREFIX): tensor for name, tensor in tensors.items()}
    return tensors, facts


def _tensors_in(value: Any) -> dict[str, Tensor | NumpyArray]:
    """The items of a dict that are tensors; if there is none, those that are NumPy arrays."""
    named = {key: item for key, item in value.items() if type(key) is str} if type(value) is dict else {}
    tensors = {key: item for key, item in named.items() if isinstance(item, Tensor)}
    return tensors or {
        key: item for key, item in named.items() if isinstance(item, NumpyArray) and item.array is not None
    }


def _plain_values(holder: dict) -> tuple[dict[str, Any], list[str]]:
    """Those items of a dict that are texts, numbers and small containers of them, and the keys of the others."""
    left = _MAX_FACTS

    def plain(value: Any, depth: int = 0) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or depth > _MAX_DEPTH:  # containers may hold each other, and themselves
            raise ValueError
        match value:
            case None | bool() | float():
                return value
            case int() if abs(value) < 1 << 63:
                return value
            case str() if len(value) <= _MAX_TEXT:
                return value
            case list() | tuple():
                return [plain(item, depth + 1) for item in value]
            case dict():
                return {str(plain(key)): plain(item, depth + 1) for key, item in value.items()}
            case NumpyArray() if value.array is not None and value.array.size <= left:
                left -= value.array.size
                return value.array.tolist()
        raise ValueError

    facts, left_out = {}, []
    for key, value in holder.items():
        try:
            facts[str(key)[:_MAX_NAMES]] = plain(value)
        except ValueError:
            if len(left_out) < _MAX_NAMES:
                left_out.append(str(key)[:_MAX_NAMES])
    return facts, left_out


def _check_sizes(path: str, tensors: Mapping[str, Tensor | NumpyArray]) -> None:
    """Holds every tensor against its storage, and all together against the file."""
    total = 0
    for name, tensor in tensors.items():
        if isinstance(tensor, NumpyArray):
            total += tensor.array.nbytes
            continue
        storage = tensor.storage
        if len(tensor.shape) != len(tensor.strides):
            raise WeightsError(
                f"{path}: {name!r:.100} has {len(tensor.shape)} axes, but strides for {len(tensor.strides)}. {_AGAIN}."
            )
        count = math.prod(
            max(size, 1) for size in tensor.shape
        )  # an empty tensor may claim any size along its other axes
        steps = zip(tensor.shape, tensor.strides, strict=True)
        end = tensor.offset + (0 if 0 in tensor.shape else 1 + sum((size - 1) * step for size, step in steps))
        # A tensor that repeats its elements (stride 0) is larger than its storage: small ones may be.
        if end > storage.count or count * storage.dtype.itemsize > max(
            storage.count * storage.dtype.itemsize, _FREE_BYTES
        ):
            raise WeightsError(
                f"{path}: {name!r:.100} claims {list(tensor.shape)}, up to element {end:,} of a storage of"
                f" {storage.count:,}. {_AGAIN}."
            )
        total += count * storage.dtype.itemsize
    if total > _FREE_BYTES + _MAX_SHARING * os.path.getsize(path):
        raise WeightsError(
            f"{path} claims {total:,} bytes of tensors, which is far more than the file. If they share so much, save copies:"
            " torch.save({name: tensor.clone() for name, tensor in model.state_dict().items()}, 'weights.pth')."
        )


def _read_tensor(path: str, begin: int, tensor: Tensor) -> np.ndarray:
    """Reads a tensor whose storage starts `begin` bytes into the file."""
    dtype = tensor.storage.dtype
    offset = begin + (tensor.storage.begin + tensor.offset) * dtype.itemsize
    return _stored_array(path, offset, dtype, tensor.shape, tensor.strides)


def _stored_array(
    path: str | os.PathLike,
    offset: int,
    dtype: np.dtype,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Reads one array that lies unpacked in a file.

    Args:
      path: the file.
      offset: bytes before the first element.
      dtype: what the file holds, byte order included.
      shape: any; that it fits the file has been checked.
      strides: elements from one to the next along every axis, none of them negative; by default the last axis is dense.

    Returns:
      A new array [*shape], in C order and native byte order; bfloat16 as float32.

    Raises:
      WeightsError: the file cannot be read any more.
    """
    native = np.dtype(np.float32) if dtype.name == "bfloat16" else dtype.newbyteorder("=")
    if 0 in shape:
        return np.zeros(shape, native)
    if strides is None:
        strides = np.cumprod((1, *shape[:0:-1]), dtype=np.int64)[::-1].tolist() if shape else ()
    extent = 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    try:
        # A map, not a read: a view of a few elements far apart costs their pages only.
        flat = np.memmap(path, dtype, "r", offset, (extent,))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} has changed since it was opened ({error}). Read it again.") from error
    view = np.lib.stride_tricks.as_strided(flat, shape, [step * dtype.itemsize for step in strides])
    return np.array(view, native, order="C", subok=False)


def _copy(array: np.ndarray) -> np.ndarray:
    return array.astype(array.dtype.newbyteorder("="), order="C")
