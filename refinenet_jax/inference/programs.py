"""Runs a network on the devices of this process."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from refinenet_jax import parallel


class Programs:
    """A function of (variables, images) on this process's devices, compiled once for each shape of a batch.

    Attributes:
      shapes: shapes [b, h, w, 3] of the batches so far.
    """

    def __init__(self, function: Callable[[Any, jax.Array], jax.Array]):
        self._run = parallel.parallel_map(function)
        self.shapes: set[tuple[int, ...]] = set()

    def __call__(self, variables: Any, images: np.ndarray) -> np.ndarray:
        """Applies the function to images [b, h, w, 3] and returns [b, ...]."""
        self.shapes.add(images.shape)
        return np.asarray(self._run(variables, images))
