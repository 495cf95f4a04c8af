"""Hand segmentation with RefineNet in JAX and Flax.

model, variables = refinenet_jax.load("refinenet_res101_egohands.mat")
segmenter = refinenet_jax.Segmenter.from_checkpoint("runs/demo")
mask = segmenter("photo.jpg").mask
for result in refinenet_jax.predict("photos/"):
    print(result.source, result.regions())
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refinenet_jax.errors import UsageError
    from refinenet_jax.inference.predict.api import predict
    from refinenet_jax.inference.segmentation import Segmentation
    from refinenet_jax.inference.segmenter import Segmenter
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
    "predict",
    "save_weights",
]

_HOMES = {
    "VARIANTS": "models",
    "Segmentation": "inference.segmentation",
    "Segmenter": "inference.segmenter",
    "UsageError": "errors",
    "create_model": "models",
    "load": "weights",
    "load_weights": "weights",
    "predict": "inference.predict.api",
    "save_weights": "weights",
}


def __getattr__(name: str) -> object:
    """Imports a public name on first access, so that `import refinenet_jax` alone is fast."""
    if name not in _HOMES:
        raise AttributeError(f"module 'refinenet_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"refinenet_jax.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
