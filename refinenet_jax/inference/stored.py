"""A trained network where it is stored: the folder of a run, or a file of weights, ours or foreign."""

from collections.abc import Mapping
from pathlib import Path

from refinenet_jax import weights
from refinenet_jax.errors import UsageError
from refinenet_jax.weights.convert import describe
from refinenet_jax.weights.flat import description_of
from refinenet_jax.weights.loading import build


def open_network(path: Path, step: int | None = None) -> tuple[Mapping, dict]:
    """What model.json says, or would, and the variables.

    Args:
      path: folder of a run, whose best checkpoint is taken unless `step` says another, or a file of weights.
      step: of the checkpoint.

    Raises:
      CheckpointError: nothing there.
      UsageError: a file that is damaged, unsafe or of no whole network known; a step of a file.
    """
    path = path.expanduser()
    if not path.is_file():
        from refinenet_jax import checkpoint  # loads Orbax, which a file of weights does not need

        if path.is_dir():
            return checkpoint.load_model(path, step)
        raise checkpoint.CheckpointError(
            f"{path} does not exist. Give the --workdir of a training run, what `refinenet-jax convert` made, or a file of "
            "weights."
        )
    if step is not None:
        raise UsageError(
            f"{path} is one file of weights, without steps; leave step {step} out, or give a run's folder."
        )
    network = weights.network_in(path)
    if network.variant is None:
        raise UsageError(
            f"{path} holds a {network.trunk} alone, which finds nothing yet: train from it with --config.init_from, and give "
            "the folder of that run."
        )
    model, variables = build(network, path)
    described = description_of(network.file) or describe(network.variant, model, network, network.file.facts)
    return described, variables
