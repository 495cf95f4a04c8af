"""The few hot operations, each in its fastest exact form.

What was measured and why these forms are chosen stands in the README ("Speed"). Every function here is held to the
plain form of the same operation, gradients included, by `tests/models/layers_test.py`.
All arrays are [b, h, w, c].
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from refinenet_jax.models import winograd
from refinenet_jax.models.product import matmul

Dtype = jnp.dtype | type


def _conv_init(module: nn.Module, kernel_shape: Sequence[int]) -> tuple[jax.Array, jax.Array | None]:
    """Declares `kernel` (HWIO) and, where asked for, `bias`, in float32; returns both in the compute dtype."""
    kernel = module.param("kernel", module.kernel_init, tuple(kernel_shape), jnp.float32).astype(module.dtype)
    bias = None
    if module.use_bias:
        bias = module.param("bias", nn.initializers.zeros, (module.features,), jnp.float32).astype(module.dtype)
    return kernel, bias


class Conv(nn.Module):
    """Square convolution with symmetric zero padding `(size - 1) // 2`, as PyTorch and MatConvNet pad (not `SAME`).

    1x1 kernels run as one matrix product, 1.1 to 2.4 times as fast as the general convolution on a CPU.
    """

    features: int
    size: int
    stride: int = 1
    use_bias: bool = False
    dtype: Dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, bias = _conv_init(self, (self.size, self.size, x.shape[-1], self.features))
        x = x.astype(self.dtype)
        convolve = {1: conv1x1, 3: conv3x3}.get(self.size, conv)
        y = convolve(x, kernel, self.stride)
        return y if bias is None else y + bias


class DepthwiseConv(nn.Module):
    """Depthwise 3x3 convolution without bias, padding 1; kernel [3, 3, 1, c]."""

    stride: int = 1
    dtype: Dtype = jnp.float32
    kernel_init: nn.initializers.Initializer = nn.initializers.he_normal()
    use_bias = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, _ = _conv_init(self, (3, 3, 1, x.shape[-1]))
        return depthwise_conv(x.astype(self.dtype), kernel, self.stride)


def conv3x3(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """3x3 convolution, padding 1: on a CPU by minimal filtering where that is faster (1.5 to 2 times, gradients 2.5).

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
    places = _pad(places.reshape(*x.shape[:3], 3, 3, outputs), 1, 1, 0, axes=(1, 2))
    return sum(places[:, i : i + height, j : j + width, i, j] for i, j in _TAPS)


conv3x3_to_few.defvjp(
    lambda x, kernel: (conv3x3_to_few(x, kernel), (x, kernel)),
    lambda residuals, gradient: jax.vjp(_sum_of_shifted, *residuals)[1](gradient),
)


def conv(x: jax.Array, kernel: jax.Array, stride: int = 1, groups: int = 1) -> jax.Array:
    """Convolution of [b, h, w, i] with an odd square HWIO kernel, zero-padded by half its size."""
    pad = (kernel.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((pad, pad), (pad, pad)),
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
    padded = _pad(x, 1, 1, 0, axes=(1, 2))
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
    padded, (b, rows, columns, c) = _pad(x, 1, 1, 0, axes=(1, 2)), gradient.shape
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


@jax.custom_vjp
def max_pool_5x5(x: jax.Array) -> jax.Array:
    """5x5 maximum at stride 1, padding 2: the pool of chained residual pooling, as two one-dimensional running maxima.

    Windows of 2, then 4, then 5 need three maxima an axis instead of 24 in all. For the gradient, which needs no scatter,
    an int8 an axis is kept that says which of five inputs it belongs to: the first of those that tie, as in PyTorch.
    """
    return _each_example(_pool, x)


def _pool(x: jax.Array) -> jax.Array:
    return _running_max(_running_max(x, axis=1), axis=0)


def _pool_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    def pool(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        in_rows = _running_max(x, axis=1)
        return _running_max(in_rows, axis=0), (_first_maximum(x, axis=1), _first_maximum(in_rows, axis=0))

    return _each_example(pool, x)


def _pool_backward(winners: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array]:
    def of_inputs(in_rows: jax.Array, in_columns: jax.Array, gradient: jax.Array) -> jax.Array:
        return _to_winners(in_rows, _to_winners(in_columns, gradient, axis=0), axis=1)

    return (_each_example(of_inputs, *winners, gradient),)


max_pool_5x5.defvjp(_pool_forward, _pool_backward)


def _each_example(function: Callable[..., Any], *arrays: jax.Array) -> Any:
    """One example at a time on a CPU, where it stays in the cache: 4 to 5 times as fast; all at once elsewhere."""
    if jax.default_backend() == "cpu":
        return jax.lax.map(lambda example: function(*example), arrays)
    return jax.vmap(function)(*arrays)


def _running_max(x: jax.Array, axis: int) -> jax.Array:
    n = x.shape[axis]
    x = _pad(x, 2, 2, -jnp.inf, axes=(axis,))
    cut = partial(jax.lax.slice_in_dim, axis=axis)
    two = jnp.maximum(cut(x, 0, n + 3), cut(x, 1, n + 4))
    four = jnp.maximum(cut(two, 0, n + 1), cut(two, 2, n + 3))
    return jnp.maximum(cut(four, 0, n), cut(x, 4, n + 4))


def _first_maximum(x: jax.Array, axis: int) -> jax.Array:
    """int8, which of the five inputs around each place (0 to 4) is the first to equal their maximum."""
    highest, *others = _five(x, -jnp.inf, axis)
    winner = jnp.zeros(highest.shape, jnp.int8)
    for i, other in enumerate(others, 1):
        winner = jnp.where(other > highest, jnp.int8(i), winner)
        highest = jnp.maximum(highest, other)
    return jax.lax.slice_in_dim(winner, 0, x.shape[axis], axis=axis)


def _to_winners(winner: jax.Array, gradient: jax.Array, axis: int) -> jax.Array:
    """Sum, at each input, of the gradients of the outputs that it was the winner of: it is number 4 of the first of them."""
    pairs = zip(_five(winner, -1, axis), _five(gradient, 0, axis), strict=True)
    taken = sum(jnp.where(winner == 4 - i, gradient, 0) for i, (winner, gradient) in enumerate(pairs))
    return jax.lax.slice_in_dim(taken, 0, gradient.shape[axis], axis=axis)


def _five(x: jax.Array, outside: float, axis: int) -> list[jax.Array]:
    """The array moved by -2 to 2 places, each with one place more behind its end.

    Without that place XLA would see that the middle one is the array before padding, and compute that anew wherever it is used.
    """
    n = x.shape[axis]
    x = _pad(x, 2, 3, outside, axes=(axis,))
    return [jax.lax.slice_in_dim(x, i, i + n + 1, axis=axis) for i in range(5)]


def max_pool_3x3_stride_2(x: jax.Array) -> jax.Array:
    """3x3 maximum at stride 2, padding 1: the pool behind the first convolution of a ResNet."""
    for axis in (1, 2):
        n = -(-x.shape[axis] // 2)
        x = _pad(x, 1, 2 * n - x.shape[axis], -jnp.inf, axes=(axis,))
        cut = partial(jax.lax.slice_in_dim, x, stride=2, axis=axis)
        x = jnp.maximum(jnp.maximum(cut(0, 2 * n - 1), cut(1, 2 * n)), cut(2, 2 * n + 1))
    return x


def _pad(x: jax.Array, before: int, after: int, value: float, axes: tuple[int, ...]) -> jax.Array:
    widths = [(0, 0)] * x.ndim
    for axis in axes:
        widths[axis] = (before, after)
    return jnp.pad(x, widths, constant_values=value)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def resize_align_corners(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear resize of [b, h, w, c] to `size` (h, w) in which the corner pixels' centres coincide.

    Equals `torch.nn.functional.interpolate(..., align_corners=True)`. Forward as gathers and a weighted sum, backward as
    two small matrix products: each the faster of the two forms in its direction.
    """
    for axis, n in zip((1, 2), size, strict=True):
        low, high, weight = _align_corners_taps(x.shape[axis], n)
        weight = jnp.asarray(weight, x.dtype).reshape([-1 if a == axis else 1 for a in range(4)])
        x = jnp.take(x, low, axis) * (1 - weight) + jnp.take(x, high, axis) * weight
    return x


def _resize_forward(x: jax.Array, size: tuple[int, int]) -> tuple[jax.Array, tuple[int, int]]:
    return resize_align_corners(x, size), x.shape[1:3]


def _resize_backward(size: tuple[int, int], source_size: tuple[int, int], gradient: jax.Array) -> tuple[jax.Array]:
    rows, columns = (
        jnp.asarray(_align_corners_matrix(n, m), gradient.dtype) for n, m in zip(source_size, size, strict=True)
    )

    def of_source(gradient: jax.Array) -> jax.Array:
        """Rows first: theirs is a product of matrices as they lie, which leaves less to turn around for the columns."""
        of_rows = (rows.T @ gradient.reshape(len(gradient), -1)).reshape(-1, *gradient.shape[1:])
        return jnp.einsum("hWc,Ww->hwc", of_rows, columns)

    return (_each_example(of_source, gradient),)


resize_align_corners.defvjp(_resize_forward, _resize_backward)


def _align_corners_taps(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of m outputs: the two inputs (of n) it lies between, and the weight of the upper one."""
    position = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
    low = np.minimum(position.astype(int), n - 1)
    return low, np.minimum(low + 1, n - 1), (position - low).astype(np.float32)


def _align_corners_matrix(n: int, m: int) -> np.ndarray:
    """The same as a matrix [m, n]."""
    low, high, weight = _align_corners_taps(n, m)
    matrix = np.zeros((m, n), np.float32)
    np.add.at(matrix, (np.arange(m), low), 1 - weight)
    np.add.at(matrix, (np.arange(m), high), weight)
    return matrix


def resize_bicubic(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bicubic resize of [b, h, w, c] to `size` (h, w) as MATLAB's `imresize` enlarges: two small matrix products.

    Keys' kernel with a = -1/2, half-pixel centres, borders mirrored. Shrinking is anti-aliased, as it is there.
    """
    rows, columns = (jnp.asarray(_bicubic_matrix(n, m), x.dtype) for n, m in zip(x.shape[1:3], size, strict=True))
    return jnp.einsum("bhWc,Hh->bHWc", jnp.einsum("bhwc,Ww->bhWc", x, columns), rows)


def _bicubic_matrix(n: int, m: int) -> np.ndarray:
    """The weights of n inputs in each of m outputs, float32 [m, n]."""
    scale = m / n
    stretch = max(1 / scale, 1.0)  # of the kernel, where it shrinks
    centre = (np.arange(m) + 0.5) / scale - 0.5
    taps = np.floor(centre - 2 * stretch)[:, None] + np.arange(int(np.ceil(4 * stretch)) + 2)
    distance = np.abs(centre[:, None] - taps) / stretch
    weights = np.where(
        distance <= 1,
        1.5 * distance**3 - 2.5 * distance**2 + 1,
        np.where(distance <= 2, -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2, 0.0),
    )
    weights /= weights.sum(1, keepdims=True)
    mirrored = taps.astype(int) % (2 * n)
    mirrored = np.where(mirrored < n, mirrored, 2 * n - 1 - mirrored)
    matrix = np.zeros((m, n))
    np.add.at(matrix, (np.arange(m)[:, None], mirrored), weights)
    return matrix.astype(np.float32)


def resize_half_pixel(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear resize of [b, h, w, c] to `size` (h, w) with half-pixel centres; anti-aliased where it shrinks."""
    return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "bilinear")


def nearest_labels(mask: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Class ids [b, h, w] at `size` (h, w): those at the new pixels' centres. Ids are never mixed."""
    rows, columns = (
        np.floor((np.arange(m) + 0.5) * n / m).astype(int) for n, m in zip(mask.shape[1:], size, strict=True)
    )
    return mask[:, rows[:, None], columns]
