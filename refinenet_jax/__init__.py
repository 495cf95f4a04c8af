"""Hand segmentation with RefineNet in JAX and Flax.

model = refinenet_jax.create_model("rf101", num_classes=2)
variables = refinenet_jax.load_weights("weights.npz", model)
segmenter = refinenet_jax.Segmenter.from_checkpoint("runs/demo")
mask = segmenter(image).mask
"""

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmenter import Segmentation, Segmenter
from refinenet_jax.models import VARIANTS, create_model
from refinenet_jax.weights import load_weights

__all__ = ["VARIANTS", "Segmentation", "Segmenter", "UsageError", "create_model", "load_weights"]
