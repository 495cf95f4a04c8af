"""Convolutions in their fastest exact forms.

What was measured and why these forms are chosen stands in the README ("Speed"). Every function here is held to the
plain form of the same operation, gradients included, by `tests/models/`. All arrays are [b, h, w, c].
"""

from functools import partial

import jax
import jax.numpy as jnp

from refinenet_jax.models import winograd
from refinenet_jax.models.primitives import matmul, pad


def conv3x3(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """3x3 convolution, padding 1: on a CPU by minimal filtering where that is faster (1.4 times, with gradients 2 to 3).

    To a few channels, as the classifier's, it is one product to those of all nine places, which are then shifted and added.
    """
    if jax.default_backend() == "cpu":
        if winograd.pays(x, kernel, stride):
            return winograd.conv3x3(x, kernel)
        if stride == 1 and 9 * kernel.shape[3] <= kernel.shape[2]:
            return conv3x3_to_few(x, kernel)
    return conv(x, kernel, stride)


@jax.custom_vjp
def conv3x3_to_few(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """3x3 convolution, padding 1, of [b, h, w, i] to few channels; has a rule of its own so that exports know it by name."""
    return _sum_of_shifted(x, kernel)


def _sum_of_shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
    height, width = x.shape[1:3]
    inputs, outputs = kernel.shape[2:]
    places = conv1x1(x, kernel.transpose(2, 0, 1, 3).reshape(1, 1, inputs, 9 * outputs))
    places = pad(places.reshape(*x.shape[:3], 3, 3, outputs), 1, 1, 0, axes=(1, 2))
    return sum(places[:, i : i + height, j : j + width, i, j] for i, j in _TAPS)


conv3x3_to_few.defvjp(
    lambda x, kernel: (conv3x3_to_few(x, kernel), (x, kernel)),
    lambda residuals, gradient: jax.vjp(_sum_of_shifted, *residuals)[1](gradient),
)


def conv(x: jax.Array, kernel: jax.Array, stride: int = 1, groups: int = 1) -> jax.Array:
    """Convolution of [b, h, w, i] with an odd square HWIO kernel, zero-padded by half its size."""
    edge = (kernel.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((edge, edge), (edge, edge)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def conv1x1(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """1x1 convolution as a matrix product; kernel [1, 1, i, o]."""
    if stride > 1:
        x = x[:, ::stride, ::stride]
    return matmul(x, kernel[0, 0])


def depthwise_conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Depthwise 3x3 convolution, padding 1; kernel [3, 3, 1, c].

    XLA's grouped convolution is 20 to 200 times slower than nine shifted products on a CPU, and the better one elsewhere.
    """
    if jax.default_backend() == "cpu":
        return _shifted_products(x, kernel, stride)
    return conv(x, kernel, stride, groups=x.shape[-1])


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _shifted_products(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    padded = pad(x, 1, 1, 0, axes=(1, 2))
    rows, columns = (-(-n // stride) for n in x.shape[1:3])
    shifted = (
        padded[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
        * kernel[i, j, 0]
        for i, j in _TAPS
    )
    return sum(shifted, start=jnp.zeros((), x.dtype))


def _shifted_products_forward(x: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, tuple]:
    return _shifted_products(x, kernel, stride), (x, kernel)


def _shifted_products_backward(stride: int, residuals: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The kernel's gradient row by row, which keeps its nine sums in the cache.

    The input's at stride 1 is a convolution with the turned kernel: XLA would pad nine arrays for the transpose.
    """
    x, kernel = residuals
    if stride == 1:
        of_x = _shifted_products(gradient, kernel[::-1, ::-1], 1)
    else:
        (of_x,) = jax.linear_transpose(lambda x: _shifted_products.fun(x, kernel, stride), x)(gradient)
    padded, (b, rows, columns, c) = pad(x, 1, 1, 0, axes=(1, 2)), gradient.shape
    take_row = partial(jax.lax.dynamic_index_in_dim, axis=1, keepdims=False)

    def add_row(sums: tuple, row: jax.Array) -> tuple[tuple, None]:
        g = take_row(gradient, row)
        x_rows = [take_row(padded, row * stride + i) for i in range(3)]
        taps = (x_rows[i][:, j : j + (columns - 1) * stride + 1 : stride] * g for i, j in _TAPS)
        return tuple(s + t for s, t in zip(sums, taps, strict=True)), None

    sums, _ = jax.lax.scan(add_row, (jnp.zeros((b, columns, c), x.dtype),) * len(_TAPS), jnp.arange(rows))
    return of_x, jnp.stack([s.sum((0, 1)) for s in sums]).reshape(kernel.shape)


_shifted_products.defvjp(_shifted_products_forward, _shifted_products_backward)
_TAPS = tuple((i, j) for i in range(3) for j in range(3))
