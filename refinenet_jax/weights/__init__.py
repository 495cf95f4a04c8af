"""Other people's checkpoints -> our variables."""

import os
from collections.abc import Mapping

import jax
import numpy as np

from refinenet_jax import models
from refinenet_jax.errors import UsageError
from refinenet_jax.weights.names import pytorch_name

# Names that carry nothing we need: the count behind PyTorch's cumulative batch-norm average.
_IGNORED = ("num_batches_tracked",)


def load_weights(source: str | os.PathLike | Mapping[str, np.ndarray], model: models.RefineNet) -> dict:
    """Fills `model` with the weights of a published PyTorch RefineNet.

    Args:
      source: state dict of NumPy arrays (convolutions OIHW), or the path of an `.npz` file holding one.
      model: the network to fill, from `create_model`.

    Returns:
      {'params': ..., 'batch_stats': ...}, float32.

    Raises:
      UsageError: something is missing, left over or of another shape; the message lists all of it.
    """
    if not isinstance(source, Mapping):
        with np.load(source, allow_pickle=False) as file:
            source = {name: file[name] for name in file.files}
    left = {name for name in source if not name.endswith(_IGNORED)}
    faults = []

    def take(path: tuple, wanted: jax.ShapeDtypeStruct) -> np.ndarray:
        keys = tuple(p.key for p in path)
        name = pytorch_name(keys[1:], model.trunk_name)
        if name not in source:
            faults.append(f"missing: {name}, for {'/'.join(keys)} {wanted.shape}")
            return np.zeros(wanted.shape, wanted.dtype)
        left.discard(name)
        array = np.asarray(source[name], np.float32)
        if array.ndim == 4:
            array = array.transpose(2, 3, 1, 0)  # OIHW -> HWIO
        if array.shape != wanted.shape:
            faults.append(f"shape: {name} is {source[name].shape}, {'/'.join(keys)} is {wanted.shape} (HWIO)")
        return array

    variables = jax.tree_util.tree_map_with_path(take, models.variable_shapes(model))
    faults += [f"left over: {name} {np.shape(source[name])}" for name in sorted(left)]
    if faults:
        raise UsageError(
            f"These weights do not fit {model.trunk_name}{' light-weight' if model.light else ''} "
            f"with {model.num_classes} classes ({len(faults)} faults):\n  " + "\n  ".join(faults)
        )
    return variables
