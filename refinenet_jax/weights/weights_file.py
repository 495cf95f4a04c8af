"""The result and the error of every reader of weights."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from refinenet_jax.errors import UsageError


class WeightsError(UsageError):
    """A file of weights that cannot be used; the message names the file, the reason and the fix."""


@dataclasses.dataclass(frozen=True)
class WeightsFile:
    """Content of a file of weights.

    Attributes:
      format: 'PyTorch (zip)', 'PyTorch (legacy)', 'safetensors', 'npz', 'TFLite', 'MatConvNet (v7.3)' or 'MatConvNet (v7)'.
      arrays: name -> array, as stored (PyTorch's convolutions OIHW, MATLAB's HWIO), except that bfloat16 comes as float32.
      facts: other texts and numbers in the file: epoch, arch, license, net_input_img_scales, strides.
    """

    format: str
    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


class LazyArrays(Mapping):
    """Arrays by name, each read from the file when it is taken, and again each time.

    Each access returns a new array, which may be changed. Reading one array after the other needs the memory of one. The file
    must not change as long as arrays are read.
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
