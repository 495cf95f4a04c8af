"""Reads the two formats that are a flat list of named arrays, safetensors and NumPy's npz, and writes the former.

Files that this library writes also contain a description like model.json.
"""

import json
import os
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import jax
import ml_dtypes
import numpy as np
import safetensors.numpy

from refinenet_jax import models
from refinenet_jax.errors import UsageError
from refinenet_jax.weights.weights_file import WeightsError, WeightsFile

DESCRIPTION = "model.json"  # the entry of the file that holds it
ENDING = ".safetensors"

# A thousand arrays take 100 KB. The format itself allows 100 MB, from which a reader makes gigabytes.
_MAX_HEADER_BYTES = 4 << 20
_MAX_NPY_HEADER_BYTES = 1 << 12
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
        # The package checks names, sizes and that the arrays cover the file without gap or overlap.
        with safetensors.safe_open(path, "numpy") as file:
            facts = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.offset_keys()}
    except (safetensors.SafetensorError, AttributeError, OSError, ValueError, OverflowError) as error:
        raise WeightsError(f"{path} is damaged ({error!s:.200}). {_AGAIN}, or save it as float32.") from error
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub" and array.dtype != ml_dtypes.bfloat16:
            raise _not_numbers(path, name, array.dtype)
    return WeightsFile("safetensors", arrays, facts)


def read_npz(path: str | os.PathLike, archive: zipfile.ZipFile) -> WeightsFile:
    """Reads arrays saved by numpy.savez or savez_compressed.

    Args:
      path: the file, for messages.
      archive: the file, open; all its members together are not much larger than it.

    Raises:
      WeightsError: it is damaged, or holds Python objects, structures or other things that are no numbers.
    """
    arrays = {}
    for member_name in archive.namelist():
        name = member_name.removesuffix(".npy")
        with archive.open(member_name) as member:
            array = _npy_array(member, path, name)
        if array.dtype.kind not in "fiub":
            raise _not_numbers(path, name, array.dtype)
        arrays[name] = array
    return WeightsFile("npz", arrays, {})


def _npy_array(member: IO[bytes], path: str | os.PathLike, name: str) -> np.ndarray:
    try:
        # Memory is taken for what the header claims, but not touched before as much has been read.
        array = np.lib.format.read_array(member, allow_pickle=False, max_header_size=_MAX_NPY_HEADER_BYTES)
        if member.read(1):
            raise ValueError(f"more bytes than {array.dtype!s:.50} {list(array.shape[:8])} takes")
    except Exception as error:  # NumPy reads the header as a Python literal, which fails in many ways
        raise WeightsError(
            f"{path}: {name!r:.100} is no array of numbers ({error!s:.200}); objects are never loaded."
        ) from error
    return array


def _not_numbers(path: str | os.PathLike, name: str, dtype: np.dtype) -> WeightsError:
    return WeightsError(f"{path}: {name!r:.100} holds {dtype!s:.50}, not real numbers. Save those alone, as float32.")


def save_weights(path: str | os.PathLike, variables: Mapping[str, Any], description: Mapping[str, Any]) -> None:
    """Writes variables to a new file; `load` gives them back, bit for bit.

    Args:
      path: ends in .safetensors. Arrays are named by their place, as in 'params/trunk/conv1/kernel'.
      variables: {'params': ..., 'batch_stats': ...}.
      description: as in model.json: variant, class_names, options, license, ...

    Raises:
      UsageError: another ending, or the file exists.
    """
    path = Path(path)
    if path.suffix != ENDING:
        raise UsageError(f"{path} must end in {ENDING}.")
    if path.exists():
        raise UsageError(f"{path} exists; move it, or write to another file.")
    arrays = {
        "/".join(key.key for key in place): np.ascontiguousarray(leaf)
        for place, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    safetensors.numpy.save_file(arrays, partial, {DESCRIPTION: json.dumps(description)})
    partial.replace(path)  # whole or not at all


def description_of(file: WeightsFile) -> dict[str, Any] | None:
    """Returns the description in a file that `save_weights` wrote, None for any other.

    Raises:
      WeightsError: there is one, but it cannot be read.
    """
    text = file.facts.get(DESCRIPTION)
    if text is None and DESCRIPTION in file.arrays:  # npz files of earlier versions
        text = file.arrays[DESCRIPTION].tobytes()
    if text is None:
        return None
    try:
        description = models.with_current_names(json.loads(text))
        missing = {"variant", "class_names", "dtype"} - description.keys()
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"Its {DESCRIPTION} cannot be read ({error}).") from error
    if missing:
        raise WeightsError(f"Its {DESCRIPTION} lacks {', '.join(sorted(missing))}.")
    return description
