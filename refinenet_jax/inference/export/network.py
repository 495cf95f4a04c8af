"""The exported network: pixels in, masks and scores out, at one size; and its metadata."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp

from refinenet_jax import models, visualize
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import fitting
from refinenet_jax.inference.segmenter import Segmenter

INPUT, OUTPUTS = "image", ("mask", "scores")
SMALLEST = 32  # pixels, which give one pixel in the trunk's last feature map


@dataclass(frozen=True)
class Network:
    """A segmenter for pictures of one size, in float32.

    Attributes:
      segmenter: the segmenter; its scales and flip become part of the export.
      size: (h, w) of the pictures.
    """

    segmenter: Segmenter
    size: tuple[int, int]

    @classmethod
    def of(cls, segmenter: Segmenter, size: tuple[int, int], precision: str | None = None) -> "Network":
        """Creates the float32 network of a segmenter with any dtype.

        Args:
          segmenter: the segmenter, with its scales and flip.
          size: (h, w) of the pictures.
          precision: precision of matrix products; None for the network's own.

        Raises:
          UsageError: pictures of this size are too small for the network.
        """
        if jnp.dtype(getattr(segmenter.model, "dtype", jnp.float32)) != jnp.float32:
            segmenter = replace(segmenter, model=segmenter.model.clone(dtype=jnp.float32))
        if precision is not None:
            segmenter = replace(segmenter, model=segmenter.model.clone(precision=precision))
        canvas = fitting.canvas_size(fitting.fitted_size(size, segmenter.longest_side))
        sizes = [models.prepared_size(segmenter.model, canvas, scale) for scale in segmenter.scales]
        smallest = min(min(s) for s in sizes)
        if smallest < SMALLEST:
            raise UsageError(
                f"--size={size[0]}x{size[1]} is too small: the network's input has {smallest} pixels and needs {SMALLEST}. "
                "Give a larger --size, or larger --scales."
            )
        return cls(segmenter, size)

    def classify(self, image: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Applies the steps of `Segmenter`: fits pictures, puts them on a canvas, applies the network and resizes the scores.

        Args:
          image: uint8 RGB [b, h, w, 3].

        Returns:
          Class ids, uint8 [b, h, w]; probabilities, float32 [b, h, w, c].
        """
        segmenter = self.segmenter
        height, width = fitting.fitted_size(self.size, segmenter.longest_side)
        canvas = fitting.on_canvas_in_graph(fitting.fit_in_graph(image, segmenter.longest_side))
        scores = segmenter.probabilities(segmenter.variables, canvas)[:, :height, :width]
        scores = fitting.resize_scores_in_graph(scores, self.size)
        return scores.argmax(-1).astype(jnp.uint8), scores

    def input(self, batch: Any) -> jax.ShapeDtypeStruct:
        """Returns shape and dtype of a batch of pictures."""
        return jax.ShapeDtypeStruct((batch, *self.size, 3), jnp.uint8)


def metadata(network: Network, description: Mapping[str, Any], source: str, form: str) -> dict[str, Any]:
    """Returns the metadata stored in every export, for JSON: everything that is needed to use it.

    Args:
      network: the exported network.
      description: description of the checkpoint, as in model.json.
      source: name of the checkpoint.
      form: format of the file, such as 'onnx int8'.
    """
    segmenter, (height, width) = network.segmenter, network.size
    model, names = segmenter.model, segmenter.class_names
    return {
        "format": form,
        "variant": description.get("variant") or _variant(model),
        "class_names": list(names),
        "class_colors": [f"#{bytes(color).hex()}" for color in visualize.palette()[: len(names)]],
        "input": f"{INPUT}: uint8 [batch, {height}, {width}, 3], RGB of 0 to 255, upright, the first row on top",
        "outputs": {
            "mask": f"uint8 [batch, {height}, {width}], index into class_names",
            "scores": f"float32 [batch, {height}, {width}, {len(names)}], probabilities in the order of class_names",
        },
        "inside": f"resizing, padding, normalization ({model.normalization}), softmax, resizing back",
        "longest_side": segmenter.longest_side,
        "scales": list(segmenter.scales),
        "input_scale": model.input_scale,
        "precision": model.precision,
        "flip": segmenter.flip,
        "source": source,
        "weights_sha256": segmenter.fingerprint(),
        "dataset": description.get("dataset", ""),
        "license": description.get("license", "not stated"),
        "made_by": f"refinenet-jax {version('refinenet-jax')}, jax {jax.__version__}",
    }


def _variant(model: Any) -> str:
    of_model = getattr(model, "trunk_name", None), getattr(model, "light", None)
    return next((name for name, of_variant in models.VARIANTS.items() if of_variant == of_model), "unknown")
