"""StableHLO: the network for JAX on a CPU, GPU or TPU, without this library.

The file is a zip of `model.json` and `network.bin`, which `jax.export.deserialize` reads:

    with zipfile.ZipFile("hands.zip") as file:
        network = jax.jit(jax.export.deserialize(bytearray(file.read("network.bin"))).call)
    mask, scores = network(image)

JAX guarantees to read it for six months: it is meant for serving, not for archiving.
"""

import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from refinenet_jax.inference.export.network import Network

SUFFIX = ".zip"
PRECISION = None  # the network's own
BATCH = "free"
PLATFORMS = ("cpu", "cuda", "tpu")


def write(path: Path, network: Network, about: Mapping[str, Any], calibration: Sequence[np.ndarray]) -> None:
    """Writes the file, which contains the operations in the forms for all platforms."""
    del calibration
    (batch,) = jax.export.symbolic_shape("batch")
    exported = jax.export.export(jax.jit(network.classify), platforms=PLATFORMS)(network.input(batch))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model.json", json.dumps(about, indent=2))
        file.writestr("network.bin", exported.serialize())


def load(path: Path) -> tuple[dict, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """Returns the metadata and the network."""
    with zipfile.ZipFile(path) as file:
        about = json.loads(file.read("model.json"))
        call = jax.jit(jax.export.deserialize(bytearray(file.read("network.bin"))).call)

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return jax.device_get(call(image))

    return about, run
