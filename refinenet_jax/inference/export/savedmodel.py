"""SavedModel: the network for TensorFlow and TensorFlow Serving, a folder with one signature, `serving_default`.

It contains the program that JAX compiles with XLA, so that TensorFlow computes the same; `model.json` is among its extra
assets.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorflow as tf
from jax.experimental import jax2tf

from refinenet_jax.inference.export.network import INPUT, OUTPUTS, Network

SUFFIX = ""
PRECISION = None  # the network's own
BATCH = "free"
PLATFORMS = ("cpu", "cuda")
_ABOUT = Path("assets.extra", "model.json")


def write(path: Path, network: Network, about: Mapping[str, Any], calibration: Sequence[np.ndarray]) -> None:
    """Writes the folder."""
    del calibration
    module = tf.Module()
    module.classify = function(network.classify, network, None, PLATFORMS)
    tf.saved_model.save(module, str(path), signatures=module.classify)
    place = path / _ABOUT
    place.parent.mkdir()
    place.write_text(json.dumps(about, indent=2) + "\n")


def load(path: Path) -> tuple[dict, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """Returns the metadata and the signature."""
    hide_gpus()
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]

    def run(image: np.ndarray, loaded: Any = loaded) -> tuple[np.ndarray, np.ndarray]:  # `signature` needs `loaded`
        results = signature(**{INPUT: tf.constant(image)})
        return tuple(results[name].numpy() for name in OUTPUTS)

    return json.loads((path / _ABOUT).read_text()), run


def function(
    classify: Callable[[jax.Array], Sequence[jax.Array]], network: Network, batch: int | None, platforms: Sequence[str]
) -> tf.types.experimental.PolymorphicFunction:
    """Converts a JAX function to a TensorFlow function with named input and outputs.

    Args:
      classify: function uint8 [b, h, w, 3] -> mask, scores.
      network: network whose size is used.
      batch: batch size; None for any.
      platforms: platforms on which the function can run.
    """
    hide_gpus()

    def named(image: jax.Array) -> dict[str, jax.Array]:
        return dict(zip(OUTPUTS, classify(image), strict=True))

    converted = jax2tf.convert(
        named,
        polymorphic_shapes=["batch, _, _, _"] if batch is None else None,
        with_gradient=False,
        native_serialization_platforms=platforms,
    )
    spec = tf.TensorSpec((batch, *network.size, 3), tf.uint8, name=INPUT)
    return tf.function(converted, input_signature=[spec], autograph=False, jit_compile=True)


def hide_gpus() -> None:
    """Keeps TensorFlow off the GPUs, whose memory JAX needs."""
    tf.config.set_visible_devices([], "GPU")
