"""SavedModel: the network for TensorFlow and TensorFlow Serving, a folder with one signature, `serving_default`.

It holds what JAX gave XLA, so that TensorFlow computes the same; `model.json` lies among its extra assets.
"""

import json
import os
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


def write(
    path: str | os.PathLike, network: Network, about: Mapping[str, Any], calibration: Sequence[np.ndarray]
) -> None:
    """Writes the folder.

    Args:
      path: new folder.
      network: of fewer than 2 GB.
      about: JSON, for `assets.extra/model.json`.
      calibration: not used; there is no int8 here.
    """
    del calibration
    module = tf.Module()
    module.classify = function(network.classify, network, None, PLATFORMS)
    tf.saved_model.save(module, str(path), signatures=module.classify)
    place = Path(path) / _ABOUT
    place.parent.mkdir()
    place.write_text(json.dumps(about, indent=2) + "\n")


def load(path: str | os.PathLike) -> tuple[dict, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """What the folder says of itself, and its signature on the CPU: uint8 [b, h, w, 3] -> mask, scores."""
    hide_gpus()
    loaded = tf.saved_model.load(str(path))
    signature = loaded.signatures["serving_default"]

    def run(image: np.ndarray, loaded: Any = loaded) -> tuple[np.ndarray, np.ndarray]:  # it dies with what it came from
        results = signature(**{INPUT: tf.constant(image)})
        return tuple(results[name].numpy() for name in OUTPUTS)

    return json.loads((Path(path) / _ABOUT).read_text()), run


def function(
    classify: Callable[[jax.Array], Sequence[jax.Array]], network: Network, batch: int | None, platforms: Sequence[str]
) -> tf.types.experimental.PolymorphicFunction:
    """A function of JAX as one of TensorFlow with named input and outputs.

    Args:
      classify: uint8 [b, h, w, 3] -> mask, scores.
      network: for its size.
      batch: size of the batch; None: any.
      platforms: on which it is to run.
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
    """Keeps TensorFlow off the GPUs, of which JAX needs all memory."""
    tf.config.set_visible_devices([], "GPU")
