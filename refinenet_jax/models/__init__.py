"""The networks, by name."""

import jax
import jax.numpy as jnp

from refinenet_jax.errors import UsageError, require
from refinenet_jax.models.refinenet import RefineNet

# name -> trunk, light-weight cascade
VARIANTS = {
    "rf50": ("resnet50", False),
    "rf101": ("resnet101", False),
    "rf152": ("resnet152", False),
    "rf_lw50": ("resnet50", True),
    "rf_lw101": ("resnet101", True),
    "rf_lw152": ("resnet152", True),
    "rf_lw_mbv2": ("mobilenet_v2", True),
}
BATCH_NORM = ("frozen", "local", "synchronised")
DTYPES = ("float32", "bfloat16")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def create_model(
    name: str,
    num_classes: int,
    *,
    batch_norm: str = "frozen",
    dropout: float = 0.5,
    dtype: str = "float32",
) -> RefineNet:
    """The network called `name`, one of VARIANTS; see `RefineNet` for the options.

    Raises:
      UsageError: an unknown name or option; the message has the nearest valid one.
    """
    require(name, VARIANTS, "variant")
    require(batch_norm, BATCH_NORM, "batch_norm")
    require(dtype, DTYPES, "dtype")
    if num_classes < 2:
        raise UsageError(f"num_classes is {num_classes}; a segmentation needs at least background and one class.")
    trunk, light = VARIANTS[name]
    return RefineNet(trunk, num_classes, light, batch_norm, dropout, jnp.dtype(dtype))


def normalise(image: jax.Array) -> jax.Array:
    """RGB [..., 3] of 0 to 255 -> float32, ImageNet's mean and standard deviation taken out: what every variant reads."""
    return (image.astype(jnp.float32) / 255 - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_STD)


def prepare(image: jax.Array, scale: float = 1.0) -> jax.Array:
    """uint8 RGB [b, h, w, 3] -> the network's input: resized by `scale` (bicubic, anti-aliased) and normalised."""
    size = tuple(max(round(n * scale), 1) for n in image.shape[1:3])
    if size != image.shape[1:3]:
        image = jax.image.resize(image.astype(jnp.float32), (image.shape[0], *size, 3), "cubic")
        image = jnp.clip(image, 0, 255)
    return normalise(image)


def variable_shapes(model: RefineNet) -> dict:
    """The tree of `model`'s variables with shapes and dtypes, computed without making any array."""
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
