"""Initial weights of a run: random, from another run, or from published weights."""

import os
from typing import Any

import jax
import jax.numpy as jnp

from refinenet_jax import checkpoint, models, weights
from refinenet_jax.errors import UsageError
from refinenet_jax.progress import say
from refinenet_jax.weights.recognize import Network


def read_file(workdir: str | os.PathLike, init_from: str | os.PathLike) -> Network | None:
    """Returns the network in the weights file that a new run starts from; None if it starts otherwise, or is resumed.

    Raises:
      UsageError: the file is damaged, or not one of a known network.
    """
    is_file = os.path.isfile(init_from) and checkpoint.latest_step(workdir) is None
    return weights.network_in(init_from) if is_file else None


def options(
    workdir: str | os.PathLike, init_from: str | os.PathLike = "", network: Network | None = None
) -> dict[str, Any]:
    """Returns the options of `create_model` for a run, except input_scale and precision, which the config sets.

    They are taken from the run in `workdir`, or else from the weights it starts from, because published networks differ.
    `network` is the result of `read_file`.

    Raises:
      UsageError: `init_from` has no weights.
    """
    # A folder without a checkpoint starts from scratch.
    description = checkpoint.read_description(workdir) if checkpoint.latest_step(workdir) is not None else None
    if description is None and init_from:
        description = network.options if network else checkpoint.require_description(init_from)
    stored = models.options_of(description or {})
    return {name: value for name, value in stored.items() if name not in ("input_scale", "precision")}


def check_batch_norm(
    batch_norm: str, workdir: str | os.PathLike, init_from: str | os.PathLike = "", network: Network | None = None
) -> None:
    """Raises UsageError if the initial weights have no batch-norm moments that fit `config.model.batch_norm`."""
    if checkpoint.latest_step(workdir) is not None:
        return
    if batch_norm == "frozen" and not init_from:
        raise UsageError(
            "config.model.batch_norm is frozen, but the trunk starts from random weights, which have no moments to freeze. "
            "Start from trained weights, --config.init_from=FILE_OR_RUN, or train the moments, "
            "--config.model.batch_norm=local"
        )
    if batch_norm != "frozen" and network and network.file and network.file.format == "TFLite":
        raise UsageError(
            f"config.model.batch_norm is {batch_norm}, but batch norm is folded into the kernels of {init_from} (TFLite), so "
            "its moments do not describe the features. Set --config.model.batch_norm=frozen, or start from another file."
        )


def initial_variables(
    model: models.RefineNet, seed: int, init_from: str | os.PathLike = "", network: Network | None = None
) -> dict:
    """Returns the initial variables of a new run.

    Args:
      model: the network.
      seed: seed of the random weights.
      init_from: folder of a training run, whose best checkpoint is used, or a file of published weights of the whole network
        or its trunk; empty for random weights. Modules that are missing there, and a classifier for other classes, start from
        random weights. The loaded modules are printed.
      network: result of `read_file`.

    Raises:
      UsageError: there are no weights, or they belong to another network.
    """
    key, image = jax.random.key(seed), jnp.zeros((1, 64, 64, 3))
    if not init_from:
        return jax.jit(model.init)(key, image)
    if network:
        new = {"cascade", "classifier"} if network.variant is None else set()
        if network.num_classes != model.num_classes:
            new.add("classifier")
        trained = weights.loading.fill(model, network, init_from, tuple(new), seed)
        source = f"{init_from}, a {network.variant or network.trunk}"
        if network.unused:
            source += f" (without {', '.join(network.unused)})"
    else:
        description, trained = checkpoint.load_model(init_from)
        differing = _differing(models.variable_shapes(model), trained)
        if wrong := sorted(name for name in differing if not name.startswith("params/classifier/")):
            raise checkpoint.CheckpointError(
                f"{init_from} contains a {description['variant']}, whose weights do not fit: {', '.join(wrong[:3])}"
                f"{f' and {len(wrong) - 3} more' if len(wrong) > 3 else ''} differ. Choose that variant, or another folder."
            )
        # Converted networks may have a channel for void after their classes, which is not a class.
        new = {"classifier"} if differing or len(description["class_names"]) != model.num_classes else set()
        if new:
            trained["params"]["classifier"] = jax.jit(lambda: model.init(key, image)["params"]["classifier"])()
        names = ", ".join(description["class_names"])
        source = f"{init_from}, step {description['step']}, a {description['variant']} for {names}"
    taken = ", ".join(f"{name} ({_count(trained, name):,} numbers)" for name in sorted(trained["params"].keys() - new))
    say(f"Starting from {source}. Loaded: {taken}. New: {', '.join(sorted(new)) or 'nothing'}.")
    return trained


def _count(variables: dict, name: str) -> int:
    """Returns the number of parameters and moments of a module."""
    return sum(x.size for collection in variables.values() for x in jax.tree.leaves(collection.get(name, {})))


def _differing(ours: dict, theirs: dict) -> set[str]:
    """Returns the names of the variables that are missing in one tree or differ in shape."""

    def shapes(tree: dict) -> set[tuple[str, tuple]]:
        leaves = jax.tree_util.tree_leaves_with_path(tree)
        return {("/".join(key.key for key in path), leaf.shape) for path, leaf in leaves}

    return {name for name, _ in shapes(ours) ^ shapes(theirs)}
