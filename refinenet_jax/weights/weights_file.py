"""What every reader of weights returns and raises."""

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from refinenet_jax.errors import UsageError


class WeightsError(UsageError):
    """A file of weights that cannot be used; the message names the file, the reason and the fix."""


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """What a file of weights holds.

    Attributes:
      format: 'PyTorch (zip)', 'PyTorch (legacy)', 'safetensors', 'npz', 'TFLite', 'MatConvNet (v7.3)' or 'MatConvNet (v7)'.
      arrays: name -> array, as stored (PyTorch's convolutions OIHW, MATLAB's HWIO), except that bfloat16 comes as float32.
      facts: what else the file says in plain text and numbers: epoch, arch, licence, net_input_img_scales, layers.
    """

    format: str
    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


class LazyArrays(Mapping):
    """Arrays by name, each read from the file when it is taken, and again each time.

    What is taken belongs to the taker: it may be changed, and does not depend on the file any more. Taking one array after
    the other needs the memory of one. The file must stay as it is as long as arrays are taken.
    """

    def __init__(self, readers: Mapping[str, Callable[[], np.ndarray]]):
        """Takes a function for every name that reads its array."""
        self._readers = dict(readers)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._readers[name]()

    def __contains__(self, name: object) -> bool:  # the inherited one would read the array
        return name in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)


def stored_array(
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
