"""Hand segmentation with RefineNet in JAX and Flax.

model, variables = refinenet_jax.load("refinenet_res101_egohands.mat")
segmenter = refinenet_jax.Segmenter.from_checkpoint("runs/demo")
mask = segmenter("photo.jpg").mask
for result in refinenet_jax.predict("photos/"):
    print(result.source, result.regions())
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refinenet_jax.data.sources import open_source as open_dataset
    from refinenet_jax.errors import UsageError
    from refinenet_jax.evaluation.evaluate import evaluate_checkpoint as evaluate  # noqa: F401
    from refinenet_jax.inference.predict.api import predict
    from refinenet_jax.inference.segmentation import Segmentation
    from refinenet_jax.inference.segmenter import Segmenter
    from refinenet_jax.models import VARIANTS, create_model
    from refinenet_jax.models import normalize as normalize
    from refinenet_jax.training.loop import train  # noqa: F401
    from refinenet_jax.weights import load, load_weights, save_weights

# All but train and evaluate, which would make a star import slow and dependent on the extra [train].
__all__ = [
    "VARIANTS",
    "Segmentation",
    "Segmenter",
    "UsageError",
    "create_model",
    "load",
    "load_weights",
    "normalize",
    "open_dataset",
    "predict",
    "save_weights",
]

# Name -> module, and the name there if it is another.
_HOMES = {
    "VARIANTS": "models",
    "Segmentation": "inference.segmentation",
    "Segmenter": "inference.segmenter",
    "UsageError": "errors",
    "create_model": "models",
    "evaluate": "evaluation.evaluate:evaluate_checkpoint",
    "load": "weights",
    "load_weights": "weights",
    "normalize": "models:normalize",
    "open_dataset": "data.sources:open_source",
    "predict": "inference.predict.api",
    "save_weights": "weights",
    "train": "training.loop",
}


def __getattr__(name: str) -> Any:
    """Imports a public name on first access, so that `import refinenet_jax` alone is fast."""
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'refinenet_jax' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    return getattr(importlib.import_module(f"refinenet_jax.{module}"), attribute or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})


def _version() -> str:
    """The version of the installed package."""
    from importlib import metadata

    try:
        return metadata.version("refinenet-jax")
    except metadata.PackageNotFoundError:  # a source checkout that is not installed
        return "0+unknown"
