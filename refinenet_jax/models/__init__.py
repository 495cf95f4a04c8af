"""Creates the networks by variant, prepares their input and counts their operations."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from refinenet_jax.errors import UsageError, require
from refinenet_jax.models.layers import Conv, DepthwiseConv
from refinenet_jax.models.refinenet import RefineNet

# variant -> (trunk, whether the cascade is light-weight)
VARIANTS = {
    "rf50": ("resnet50", False),
    "rf101": ("resnet101", False),
    "rf152": ("resnet152", False),
    "rf_lw50": ("resnet50", True),
    "rf_lw101": ("resnet101", True),
    "rf_lw152": ("resnet152", True),
    "rf_lw_mbv2": ("mobilenet_v2", True),
}
# Options in which published networks of one variant differ, with their possible values.
OPTIONS = {
    "pool_order": ("pool_conv", "conv_pool"),
    "pool_stages": (4, 2),
    "stride_on": ("3x3", "1x1"),
    "resize": ("bilinear", "bicubic"),
    "normalization": ("imagenet", "minus_128"),
}
_RENAMED = {"normalisation": "normalization", "licence": "license"}  # entries of model.json in earlier versions
BATCH_NORM = ("frozen", "local", "synchronized")
DTYPES = ("float32", "bfloat16")
PRECISIONS = ("default", "high", "highest")

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def create_model(
    name: str,
    num_classes: int,
    *,
    batch_norm: str = "frozen",
    dropout: float = 0.5,
    dtype: str = "float32",
    remat: bool = False,
    input_scale: float = 1.0,
    precision: str = "default",
    **options: str | int,
) -> RefineNet:
    """Creates the network of a variant; see `RefineNet` for details of the arguments.

    Args:
      name: variant, one of VARIANTS.
      num_classes: number of output channels, background included.
      batch_norm: source of the batch norm statistics in training, one of BATCH_NORM.
      dropout: dropout rate in [0, 1).
      dtype: dtype of the computation, one of DTYPES.
      remat: whether to recompute blocks in the backward pass, which saves memory in training.
      input_scale: factor by which images are enlarged before the network.
      precision: precision of float32 products on a GPU or TPU, one of PRECISIONS.
      **options: values for OPTIONS; the defaults are those of the published PyTorch networks.

    Raises:
      UsageError: a name or option is unknown (the message gives the nearest valid one), or a number is out of range.
    """
    require(name, VARIANTS, "variant")
    require(batch_norm, BATCH_NORM, "batch_norm")
    require(dtype, DTYPES, "dtype")
    require(precision, PRECISIONS, "precision")
    for option, value in options.items():
        require(option, OPTIONS, "option")
        if value not in OPTIONS[option]:
            raise UsageError(f"{option} is {value!r}. Choose {' or '.join(map(repr, OPTIONS[option]))}.")
    if num_classes < 2:
        raise UsageError(f"num_classes is {num_classes}. Give 2 or more: background and at least one class.")
    if not input_scale > 0:
        raise UsageError(f"input_scale is {input_scale}. Give a number above 0.")
    trunk, light = VARIANTS[name]
    return RefineNet(
        trunk,
        num_classes,
        light,
        batch_norm,
        dropout,
        jnp.dtype(dtype),
        remat=remat,
        input_scale=input_scale,
        precision=precision,
        **options,
    )


def with_current_names(description: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of a model.json with the entries of earlier versions renamed."""
    return {_RENAMED.get(name, name): value for name, value in description.items()}


def options_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of `create_model` in a model.json; older files lack some."""
    return {name: description[name] for name in (*OPTIONS, "input_scale", "precision") if name in description}


def normalize(image: jax.Array, how: str = "imagenet") -> jax.Array:
    """Normalizes RGB images [..., 3] with values in [0, 255] to the network's float32 input.

    'imagenet' scales values to [0, 1], subtracts ImageNet's mean and divides by its standard deviation; 'minus_128' subtracts
    128 (the authors' MATLAB code).
    """
    image = image.astype(jnp.float32)
    if how == "minus_128":
        return image - 128
    return (image / 255 - jnp.array(IMAGENET_MEAN)) / jnp.array(IMAGENET_STD)


def prepare(model: RefineNet, image: jax.Array, scale: float = 1.0) -> jax.Array:
    """Resizes images by `scale` times the model's input scale (bicubic, anti-aliased) and normalizes them.

    Args:
      model: network; its `input_scale` and `normalization` are used.
      image: uint8 RGB [b, h, w, 3].
      scale: test scale, multiplied by the model's input scale.

    Returns:
      float32 [b, round(h * scale), round(w * scale), 3].
    """
    size = prepared_size(model, image.shape[1:3], scale)
    if size != image.shape[1:3]:
        image = jax.image.resize(image.astype(jnp.float32), (image.shape[0], *size, 3), "cubic")
        image = jnp.clip(image, 0, 255)
    return normalize(image, model.normalization)


def prepared_size(model: RefineNet, size: tuple[int, int], scale: float = 1.0) -> tuple[int, int]:
    """Returns the height and width that `prepare` gives to images of `size`."""
    return tuple(max(round(n * scale * model.input_scale), 1) for n in size)


def variable_shapes(model: RefineNet) -> dict:
    """Returns the tree of the model's variables as shapes and dtypes, without allocating arrays."""
    return jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))


def forward_flops(model: nn.Module, size: tuple[int, int]) -> int:
    """Counts the floating-point operations of all convolutions for one image of `size` (h, w) at the network's input.

    Each weight counts as two operations (multiplication and addition) per output, whatever the algorithm. A training step
    needs three times as many.
    """
    total = 0

    def count(method: Any, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
        nonlocal total
        y, module = method(*args, **kwargs), context.module
        if context.method_name == "__call__" and isinstance(module, Conv | DepthwiseConv):
            places, inputs = (module.size**2, args[0].shape[-1]) if isinstance(module, Conv) else (9, 1)
            total += 2 * int(np.prod(y.shape)) * places * inputs
        return y

    with nn.intercept_methods(count):
        jax.eval_shape(model.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *size, 3), jnp.float32))
    return total
