"""What a run starts from: nothing, published weights, or another run."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp

from refinenet_jax import checkpoint, models, weights
from refinenet_jax.progress import say


def initial_variables(model: models.RefineNet, seed: int, init_from: str | os.PathLike = "") -> dict:
    """Variables of a new run.

    Args:
      model: the network.
      seed: of the random weights.
      init_from: folder of a training run (its best checkpoint is taken), or an `.npz` file of PyTorch names; empty for
        random weights. A classifier for other classes is left out and starts anew; what was taken is printed.

    Raises:
      CheckpointError, ValueError: nothing to take there, or weights of another network.
    """
    if init_from and Path(init_from).is_file():
        return weights.load_weights(init_from, model)
    size = (1, 64, 64, 3)
    fresh = jax.jit(model.init)(jax.random.key(seed), jnp.zeros(size))
    if not init_from:
        return fresh
    description, trained = checkpoint.load_model(init_from)
    differing = _differing(fresh, trained)
    if wrong := sorted(name for name in differing if not name.startswith("params/classifier/")):
        raise checkpoint.CheckpointError(
            f"{init_from} holds a {description['variant']}, whose weights do not fit: {', '.join(wrong[:3])}"
            f"{f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''} differ. Choose that variant, or another folder."
        )
    if differing:
        trained["params"]["classifier"] = fresh["params"]["classifier"]
    new = {"classifier"} if differing else set()
    taken = ", ".join(f"{name} ({_count(trained, name):,} numbers)" for name in sorted(trained["params"].keys() - new))
    say(
        f"Starting from {init_from}, step {description['step']}, a {description['variant']} for "
        f"{', '.join(description['class_names'])}. Taken: {taken}. New: {', '.join(new) or 'nothing'}."
    )
    return trained


def _count(variables: dict, name: str) -> int:
    """How many parameters and moments a part of the network has."""
    return sum(x.size for collection in variables.values() for x in jax.tree.leaves(collection.get(name, {})))


def _differing(ours: dict, theirs: dict) -> set[str]:
    """Names of the variables that are not in both with one shape."""

    def shapes(tree: dict) -> set[tuple[str, tuple]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {("/".join(key.key for key in path), leaf.shape) for path, leaf in leaves}

    return {name for name, _ in shapes(ours) ^ shapes(theirs)}
