"""The result and the error of every reader of weights."""

import dataclasses
from collections.abc import Mapping
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
      arrays: name -> array, as stored (PyTorch's convolutions OIHW, MATLAB's HWIO). Those of PyTorch are views of the file,
        which must not change as long as they are used.
      facts: metadata of safetensors; net_input_img_scales and strides of MatConvNet.
    """

    format: str
    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]
