"""Hand segmentation with RefineNet in JAX and Flax.

model, variables = refinenet_jax.load("refinenet_res101_egohands.mat")
segmenter = refinenet_jax.Segmenter.from_checkpoint("runs/demo")
mask = segmenter(image).mask
"""

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmenter import Segmentation, Segmenter
from refinenet_jax.models import VARIANTS, create_model
from refinenet_jax.weights import load, load_weights, save_weights

__all__ = [
    "VARIANTS",
    "Segmentation",
    "Segmenter",
    "UsageError",
    "create_model",
    "load",
    "load_weights",
    "save_weights",
]
