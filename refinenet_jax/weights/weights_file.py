"""What every reader of weights returns and raises."""

import dataclasses
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
      facts: what else the file says in plain text and numbers: epoch, arch, license, net_input_img_scales, layers.
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
