"""Readers of the two formats that are a flat list of named arrays: safetensors and NumPy's npz."""

import functools
import io
import math
import os
import struct
import tokenize

import ml_dtypes
import numpy as np
import safetensors

from refinenet_jax.weights import zips
from refinenet_jax.weights.weights_file import LazyArrays, WeightsError, WeightsFile, stored_array

# A thousand arrays take 100 KB. The format itself allows 100 MB, from which a reader makes gigabytes.
_MAX_HEADER_BYTES = 4 << 20
_MAX_NOTE_BYTES = 1 << 16  # of text within an npz file
_MAX_NPY_HEADER_BYTES = 1 << 12

_SAFETENSORS_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}
# NumPy reads the header as a Python literal. Deeply nested ones exhaust the parser: within the limit above, harmlessly.
_HEADER_FAULTS = (
    LookupError,
    MemoryError,
    OverflowError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
)
_AGAIN = "Download or copy it again"


def read_safetensors(path: str | os.PathLike) -> WeightsFile:
    """Reads a safetensors file (https://huggingface.co/docs/safetensors); its metadata become facts.

    Raises:
      WeightsError: it is damaged, or its numbers are of a kind that NumPy lacks.
    """
    with open(path, "rb") as file:
        start = file.read(8)
    header_size = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if header_size > _MAX_HEADER_BYTES:
        raise WeightsError(f"{path} claims a list of arrays of {header_size:,} bytes; no network needs that. {_AGAIN}.")
    try:
        # The package checks names, sizes and that the arrays cover the file without gap or overlap. It is not left to read
        # them, for it keeps the whole file mapped: every array taken would be in memory twice.
        with safetensors.safe_open(path, "numpy") as file:
            facts = file.metadata() or {}
            entries = [(name, file.get_slice(name)) for name in file.offset_keys()]
            entries = [(name, entry.get_dtype(), tuple(entry.get_shape())) for name, entry in entries]
    except (safetensors.SafetensorError, OSError, ValueError, OverflowError) as error:
        raise WeightsError(
            f"{path} is a safetensors file that is cut short or damaged ({error!s:.200}). {_AGAIN}."
        ) from error
    readers, offset = {}, 8 + header_size
    for name, kind, shape in entries:
        if kind not in _SAFETENSORS_DTYPES:
            raise WeightsError(f"{path}: {name!r:.100} holds {kind:.20}, which NumPy lacks. Save it as float32.")
        dtype = _SAFETENSORS_DTYPES[kind]
        readers[name] = functools.partial(stored_array, path, offset, dtype, _possible(path, name, shape))
        offset += math.prod(shape) * dtype.itemsize
    if offset != os.path.getsize(path):
        raise WeightsError(f"{path} does not end where its last array does. {_AGAIN}.")
    return WeightsFile("safetensors", LazyArrays(readers), facts)


def read_npz(path: str | os.PathLike) -> WeightsFile:
    """Reads arrays saved by numpy.savez or savez_compressed; single texts among them become facts.

    Raises:
      WeightsError: it is damaged, or holds Python objects, structures or other things that are no numbers.
    """
    readers, facts = {}, {}
    for member_name, member in zips.read_members(path).items():
        name = member_name.removesuffix(".npy")
        header = io.BytesIO(zips.read_member(path, member, _MAX_NPY_HEADER_BYTES))
        dtype, shape, fortran = _npy_header(header, path, name)
        offset = header.tell()
        if dtype.kind not in "fiubU":
            raise _not_numbers(path, name, dtype)
        if math.prod(shape) * dtype.itemsize != member.size - offset:
            raise WeightsError(
                f"{path}: {name!r:.100} claims {dtype!s:.50} {list(shape)}, but {member.size - offset:,} bytes are"
                f" there. {_AGAIN}."
            )
        if dtype.kind != "U":
            readers[name] = functools.partial(_npy_array, path, member, offset, dtype, shape, fortran)
        elif shape == () and member.size <= _MAX_NOTE_BYTES:
            facts[name] = str(_npy_array(path, member, offset, dtype, shape, fortran))
        else:
            raise _not_numbers(path, name, dtype)
    return WeightsFile("npz", LazyArrays(readers), facts)


def _npy_header(file: io.BytesIO, path: str | os.PathLike, name: str) -> tuple[np.dtype, tuple[int, ...], bool]:
    """Reads up to the first element: dtype, shape, and whether the first axis is the dense one."""
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = read[version](file, max_header_size=_MAX_NPY_HEADER_BYTES)
    except _HEADER_FAULTS as error:
        raise WeightsError(f"{path}: {name!r:.100} is no whole array of NumPy ({error!s:.200}). {_AGAIN}.") from error
    return dtype, _possible(path, name, shape), fortran


def _npy_array(
    path: str | os.PathLike, member: zips.Member, offset: int, dtype: np.dtype, shape: tuple[int, ...], fortran: bool
) -> np.ndarray:
    order = shape[::-1] if fortran else shape
    if member.is_packed:
        data = zips.read_member(path, member)
        if len(data) != member.size:
            raise WeightsError(f"{path} has changed since it was opened. Read it again.")
        array = np.frombuffer(data, dtype, offset=offset).reshape(order).astype(dtype.newbyteorder("="), copy=False)
    else:
        array = stored_array(path, member.offset + offset, dtype, order)
    return array.T if fortran else array


def _possible(path: str | os.PathLike, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape itself, if NumPy can make an array of it; empty arrays may claim any size along their other axes."""
    if len(shape) > 32 or any(size < 0 for size in shape) or math.prod(max(size, 1) for size in shape) >= 1 << 56:
        raise WeightsError(f"{path}: {name!r:.100} claims {len(shape)} axes of {list(shape[:8])}. {_AGAIN}.")
    return shape


def _not_numbers(path: str | os.PathLike, name: str, dtype: np.dtype) -> WeightsError:
    return WeightsError(
        f"{path}: {name!r:.100} holds {dtype!s:.50}, not numbers. Python objects are never loaded, for they may run"
        " anything; save numbers alone, bfloat16 as float32: numpy.savez('weights.npz', **arrays)."
    )
