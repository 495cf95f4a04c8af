"""Writes PyTorch's files byte by byte, without PyTorch: honest ones, and ones that PyTorch would never write."""

import pickle
import struct
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refinenet_jax.weights import files

MAGIC = 0x1950A86A20F9469CFC6C
_KINDS = {"f4": "FloatStorage", "f8": "DoubleStorage", "f2": "HalfStorage", "i8": "LongStorage", "u1": "ByteStorage"}


class Raw(bytes):
    """Instructions of a pickle that put a value on the stack."""


def named(dotted: str) -> Raw:
    """A name, such as 'torch.FloatStorage'."""
    return Raw("c{}\n{}\n".format(*dotted.rsplit(".", 1)).encode())


def call(dotted: str, *arguments: Any) -> Raw:
    """A call of a name."""
    return Raw(named(dotted) + code(arguments) + b"R")


def build(record: Any, state: Any) -> Raw:
    """A record, given a state."""
    return Raw(code(record) + code(state) + b"b")


def persistent(identifier: Any) -> Raw:
    """An object outside the pickle."""
    return Raw(code(identifier) + b"Q")


def code(value: Any) -> bytes:
    """Instructions that put a value on the stack."""
    match value:
        case Raw():
            return value
        case tuple():
            return b"(" + b"".join(map(code, value)) + b"t"
        case list():
            return b"](" + b"".join(map(code, value)) + b"e"
        case dict():
            return b"}(" + b"".join(code(part) for item in value.items() for part in item) + b"u"
    return pickle.dumps(value, 2)[2:-1]


def pickled(value: Any) -> bytes:
    """A whole pickle."""
    return b"\x80\x02" + code(value) + b"."


def storage(key: str, count: Any, kind: str = "FloatStorage", view: tuple = ()) -> Raw:
    """A storage; legacy files also have the place of a view in another storage, which is always `view=(None,)`."""
    return persistent(("storage", named(f"torch.{kind}"), key, "cpu", count, *view))


def tensor(stored: Any, shape: tuple, strides: tuple, offset: Any = 0) -> Raw:
    """A tensor in a storage."""
    hooks = call("collections.OrderedDict")
    return call("torch._utils._rebuild_tensor_v2", stored, offset, shape, strides, False, hooks)


def tensors(arrays: Mapping[str, np.ndarray], legacy: bool = False) -> dict[str, Raw]:
    """Every array as a tensor in a storage of its own; their keys are '0', '1', ..."""
    return {
        key: tensor(
            storage(str(i), array.size, _KINDS[array.dtype.str[1:]], (None,) * legacy),
            array.shape,
            tuple(step // array.itemsize for step in array.strides),
        )
        for i, (key, array) in enumerate(arrays.items())
    }


def write_zip(
    path: Path, content: Any, storages: Mapping[str, bytes], top: str = "archive", packing: int = zipfile.ZIP_STORED
) -> Path:
    """A file as since PyTorch 1.6. `content` is what to pickle, or the pickle itself."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr(f"{top}/data.pkl", content if isinstance(content, bytes) else pickled(content))
        archive.writestr(f"{top}/byteorder", "little")
        for key, data in storages.items():
            archive.writestr(f"{top}/data/{key}", data)
        archive.writestr(f"{top}/version", "3\n")
    return path


def write_legacy(path: Path, content: Any, storages: Mapping[str, tuple[int, bytes]]) -> Path:
    """A file as before PyTorch 1.6; the storages with the counts they claim."""
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickled(MAGIC), pickled(1001), pickled(machine)]
    parts += [content if isinstance(content, bytes) else pickled(content), pickled(list(storages))]
    parts += [struct.pack("<q", count) + data for count, data in storages.values()]
    path.write_bytes(b"".join(parts))
    return path


def write(path: Path, arrays: Mapping[str, np.ndarray], legacy: bool, others: Mapping[str, Any] | None = None) -> Path:
    """A file of either kind: a bare state dict, or one under 'state_dict' with other values next to it."""
    content: dict[str, Any] = tensors(arrays, legacy)
    content = {"state_dict": content, **others} if others is not None else content
    # In memory as the strides say: a transposed array is stored as it lies.
    stored = [(array.size, array.tobytes("A")) for array in arrays.values()]
    if legacy:
        return write_legacy(path, content, {str(i): item for i, item in enumerate(stored)})
    return write_zip(path, content, {str(i): data for i, (_, data) in enumerate(stored)})


def assert_refused(folder: Path, content: Any, match: str, storages: Mapping[str, bytes] | None = None) -> None:
    """Both kinds of file with this content are refused, soon and in a few lines.

    Args:
      folder: to write to.
      content: what to pickle, or the pickle itself.
      match: pattern of the reason.
      storages: by default one, '0', of six float32.
    """
    storages = {"0": np.arange(6, dtype=np.float32).tobytes()} if storages is None else storages
    counts = {key: (len(data) // 4, data) for key, data in storages.items()}
    for path in (
        write_zip(folder / "zip.pth", content, storages),
        write_legacy(folder / "legacy.pth", content, counts),
    ):
        start = time.process_time()
        with pytest.raises(files.WeightsError, match=match) as error:
            files.read(path)
        assert str(path) in str(error.value)
        assert len(str(error.value)) < 1000
        assert time.process_time() - start < 20
