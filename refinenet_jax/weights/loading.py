"""Loads files of weights into networks."""

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from refinenet_jax import models
from refinenet_jax.errors import UsageError
from refinenet_jax.weights.files import read
from refinenet_jax.weights.names import pytorch_name
from refinenet_jax.weights.recognize import Network, recognize
from refinenet_jax.weights.weights_file import WeightsError

# Not needed: the counter of PyTorch's cumulative batch-norm average.
_IGNORED = "num_batches_tracked"
_NEW_ON_A_TRUNK = ("cascade", "classifier")


def load(
    path: str | os.PathLike, *, variant: str | None = None, num_classes: int | None = None
) -> tuple[models.RefineNet, dict]:
    """Loads the network that a file holds.

    Args:
      path: PyTorch's .pth, .safetensors, .npz, TFLite's .tflite or MatConvNet's .mat; what is in it decides, not its name.
      variant: for a file with a trunk alone: the network to put on it, with new weights.
      num_classes: the same.

    Returns:
      The network as the file's own library computes it, and its variables, float32.

    Raises:
      UsageError: the file is damaged, unsafe or of no network known; or something in it is missing, left over or of
        another shape: all of it is listed.
    """
    return build(network_in(path), path, variant=variant, num_classes=num_classes)


def build(
    network: Network, path: str | os.PathLike, *, variant: str | None = None, num_classes: int | None = None
) -> tuple[models.RefineNet, dict]:
    """Like `load`, for a file that was read already; `path` is for messages."""
    if network.variant is None:
        if variant is None or num_classes is None:
            fitting = [name for name, (trunk, _) in models.VARIANTS.items() if trunk == network.trunk]
            fix = f"load(path, variant={' or '.join(map(repr, fitting))}, num_classes=...)"
            raise UsageError(f"{path} holds a {network.trunk} without a cascade. Say what to build on it: {fix}.")
        model = models.create_model(variant, num_classes, **network.options)
        return model, fill(model, network, path)
    if variant not in (None, network.variant) or num_classes not in (None, network.num_classes):
        raise UsageError(
            f"{path} holds a {network.variant} with {network.num_classes} channels. Ask for these, or nothing."
        )
    model = models.create_model(network.variant, network.num_classes, **network.options)
    return model, fill(model, network, path)


def load_weights(
    source: str | os.PathLike | Mapping[str, np.ndarray], model: models.RefineNet, skip: Iterable[str] = ()
) -> dict:
    """Fills a given model.

    Args:
      source: a file, as `load` takes it, or a PyTorch state dict of NumPy arrays (convolutions OIHW).
      model: the network to fill, from `create_model`. How it computes (its options) is not compared.
      skip: what need not fit: names of arrays in the file, or places in our tree such as 'classifier' or
        'cascade/refine1', with all below. Our variables among them, if the file has none that fit, start at random.

    Returns:
      {'params': ..., 'batch_stats': ...}, float32.

    Raises:
      UsageError: as `load`; what is named in `skip` is no fault.
    """
    if isinstance(source, Mapping):
        network = Network(None, model.trunk_name, None, (), {}, source)
        return _filled(model, network, "These arrays", tuple(skip))
    return fill(model, network_in(source), source, tuple(skip))


def network_in(path: str | os.PathLike) -> Network:
    """Reads a file of weights and returns which network it is of.

    Raises:
      UsageError: the file is damaged, unsafe or of no network known.
    """
    try:
        file = read(path)
        return dataclasses.replace(recognize(file), file=file)
    except WeightsError as error:
        raise error if str(path) in str(error) else WeightsError(f"{path} cannot be used. {error}") from error


def fill(model: models.RefineNet, network: Network, where: Any, skip: tuple[str, ...] = (), seed: int = 0) -> dict:
    """Like `load_weights`, for a file that was read already; `where` is for messages, `seed` for random variables."""
    if network.variant is None:
        skip = (*skip, *_NEW_ON_A_TRUNK, *network.unused)
    return _filled(model, network, where, skip, seed)


def _filled(model: models.RefineNet, network: Network, where: Any, skip: tuple[str, ...], seed: int = 0) -> dict:
    """Returns the variables of `model` from arrays of PyTorch's names and layout, or of ours."""
    arrays, ours = network.arrays, network.ours
    left = {name for name in arrays if not name.endswith(_IGNORED)}
    faults: list[str] = []
    new: set[tuple] = set()  # paths of variables that are initialized

    def take(path: tuple, wanted: jax.ShapeDtypeStruct) -> np.ndarray | None:
        keys = tuple(p.key for p in path)
        place = "/".join(keys)
        name = place if ours else pytorch_name(keys[1:], model.trunk_name)
        skipped = _covers(skip, name) or _covers(skip, "/".join(keys[1:]))
        left.discard(name)
        if name not in arrays:
            if not skipped:
                faults.append(f"missing: {name}, for {place} {wanted.shape}")
        else:
            array = arrays[name]
            if array.ndim == 4 and not ours:
                array = array.transpose(2, 3, 1, 0)  # OIHW -> HWIO
            if array.shape == wanted.shape:
                return np.array(array, np.float32, order="C")
            if not skipped:
                faults.append(f"shape: {name} is {arrays[name].shape}, {place} is {wanted.shape} (HWIO)")
        new.add(path)
        return None

    variables = jax.tree_util.tree_map_with_path(take, models.variable_shapes(model))
    faults += [f"left over: {name} {arrays[name].shape}" for name in sorted(left) if not _covers(skip, name)]
    if faults:
        raise UsageError(
            f"{where}: the weights do not fit {model.trunk_name}{' light-weight' if model.light else ''} "
            f"with {model.num_classes} classes ({len(faults)} faults):\n  " + "\n  ".join(faults)
        )
    if new:

        @jax.jit
        def initialize() -> list[jax.Array]:
            leaves = jax.tree_util.tree_leaves_with_path(model.init(jax.random.key(seed), jnp.zeros((1, 64, 64, 3))))
            return [leaf for path, leaf in leaves if path in new]

        initial = iter(initialize())
        variables = jax.tree.map(
            lambda leaf: np.asarray(next(initial)) if leaf is None else leaf,
            variables,
            is_leaf=lambda leaf: leaf is None,
        )
    return variables


def _covers(skip: tuple[str, ...], name: str) -> bool:
    """Returns whether an entry of `skip` is this name or a module that contains it."""
    return any(name == entry or name.startswith((f"{entry}.", f"{entry}/")) for entry in skip)
