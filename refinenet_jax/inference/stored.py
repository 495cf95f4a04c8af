"""Opens a stored network: the folder of a run, or a weight file, our own or foreign."""

from collections.abc import Mapping
from pathlib import Path

from refinenet_jax import weights
from refinenet_jax.errors import UsageError
from refinenet_jax.weights.convert import describe
from refinenet_jax.weights.flat import description_of
from refinenet_jax.weights.loading import build


def open_network(path: Path, step: int | None = None) -> tuple[Mapping, dict]:
    """Returns the description of a network, as in model.json, and its variables.

    Args:
      path: folder of a run, or a weight file.
      step: step of the run's checkpoint; None for the best one.

    Raises:
      CheckpointError: there is no checkpoint.
      UsageError: the file is damaged, unsafe or not a known complete network, or a step was given for a file.
    """
    path = path.expanduser()
    if not path.is_file():
        from refinenet_jax import checkpoint  # imports Orbax, which a weight file does not need

        if path.is_dir():
            return checkpoint.load_model(path, step)
        raise checkpoint.CheckpointError(
            f"{path} does not exist. Give the --workdir of a training run, the output of `refinenet-jax convert`, or a weight "
            "file."
        )
    if step is not None:
        raise UsageError(
            f"{path} is a weight file, which has no step {step}. Omit the step, or give the folder of a run."
        )
    network = weights.network_in(path)
    if network.variant is None:
        raise UsageError(
            f"{path} contains only a trunk ({network.trunk}). Train from it with --config.init_from, and give the folder of "
            "that run."
        )
    model, variables = build(network, path)
    described = description_of(network.file) or describe(network.variant, model, network, network.file.facts)
    return described, variables
