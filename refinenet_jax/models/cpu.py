"""The operations of `layers.py` and `resize.py` in the forms that are fastest on a CPU.

Measured speeds are in benchmarks/RESULTS.md; `tests/models/` compare every form, including its gradients, with the plain one.
Gradient rules support reverse mode only. All arrays are [b, h, w, c].
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from refinenet_jax.models import winograd

Conv = Callable[[jax.Array, jax.Array], jax.Array]  # x, kernel -> y
_TAPS = tuple((i, j) for i in range(3) for j in range(3))


def fast_conv(x: jax.Array, kernel: jax.Array, stride: int) -> Conv | None:
    """Returns the fastest form of a convolution for these shapes; None if the plain one is fastest."""
    if kernel.shape[0] == 1:
        return partial(conv1x1, stride=stride)
    if kernel.shape[0] == 3 and stride == 1:
        if winograd.pays(x, kernel):
            return winograd.conv3x3
        if 9 * kernel.shape[3] <= kernel.shape[2]:
            return conv3x3_to_few
    return None


def conv1x1(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Computes a 1x1 convolution as a matrix product, 1.1 to 2.4 times as fast as the plain form; kernel [1, 1, i, o]."""
    if stride > 1:
        x = x[:, ::stride, ::stride]
    return _matmul(x, kernel[0, 0])


@jax.custom_vjp
def _matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies [..., i] by [i, o].

    The gradient of the kernel is a product of two matrices summed over the first dimension of both: the only form for which
    XLA transposes neither of them.
    """
    return x @ kernel


def _matmul_backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    flat_x, flat_gradient = (array.reshape(-1, array.shape[-1]) for array in (x, gradient))
    return _matmul(gradient, kernel.T), jax.lax.dot_general(flat_x, flat_gradient, (((0,), (0,)), ((), ())))


_matmul.defvjp(lambda x, kernel: (_matmul(x, kernel), (x, kernel)), _matmul_backward)


def conv3x3_to_few(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes a 3x3 convolution with padding 1 to few channels.

    One matrix product computes all nine taps, which are then shifted and added.
    """
    height, width = x.shape[1:3]
    inputs, outputs = kernel.shape[2:]
    taps = conv1x1(x, kernel.transpose(2, 0, 1, 3).reshape(1, 1, inputs, 9 * outputs))
    taps = _pad(taps.reshape(*x.shape[:3], 3, 3, outputs), 1, 1, 0, axes=(1, 2))
    return sum(taps[:, i : i + height, j : j + width, i, j] for i, j in _TAPS)


def conv_of_sum(conv: Conv, x: jax.Array, factor: jax.Array, first: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns `conv(x + conv(factor, first), kernel)`; `first` is a 1x1 kernel [1, 1, c, c].

    If the output has few channels, as in the classifier, it is cheaper to multiply the kernels: conv(x) + conv(factor,
    product). This avoids a pass over all channels (7 % of rf_lw_mbv2's forward and backward time).
    """
    if not product_pays(x, kernel):
        return conv(x + conv1x1(factor, first), kernel)
    return conv(x, kernel) + conv(factor, jnp.einsum("im,hwmo->hwio", first[0, 0], kernel))


def product_pays(x: jax.Array, kernel: jax.Array) -> bool:
    """Returns whether multiplying the kernels costs less than it saves."""
    *places, channels = x.shape
    outputs = kernel.size // channels
    return math.prod(places) * (channels - outputs) > channels * outputs


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise_conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Applies a depthwise 3x3 convolution with padding 1; kernel [3, 3, 1, c].

    XLA's grouped convolution is 20 to 200 times slower.
    """
    return sum_of_shifted_products(x, kernel, stride)


def sum_of_shifted_products(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Computes a depthwise 3x3 convolution as nine products of shifted arrays, without a custom gradient."""
    padded = _pad(x, 1, 1, 0, axes=(1, 2))
    rows, columns = (-(-n // stride) for n in x.shape[1:3])
    shifted = (
        padded[:, i : i + (rows - 1) * stride + 1 : stride, j : j + (columns - 1) * stride + 1 : stride]
        * kernel[i, j, 0]
        for i, j in _TAPS
    )
    return sum(shifted, start=jnp.zeros((), x.dtype))


def _depthwise_conv_forward(x: jax.Array, kernel: jax.Array, stride: int) -> tuple[jax.Array, tuple]:
    return depthwise_conv(x, kernel, stride), (x, kernel)


def _depthwise_conv_backward(stride: int, residuals: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes the kernel's gradient row by row, which keeps its nine sums in the cache.

    The input's gradient at stride 1 is a convolution with the flipped kernel: for the transpose XLA would pad nine arrays.
    """
    x, kernel = residuals
    if stride == 1:
        of_x = depthwise_conv(gradient, kernel[::-1, ::-1], 1)
    else:
        (of_x,) = jax.linear_transpose(lambda x: sum_of_shifted_products(x, kernel, stride), x)(gradient)
    padded, (b, rows, columns, c) = _pad(x, 1, 1, 0, axes=(1, 2)), gradient.shape
    take_row = partial(jax.lax.dynamic_index_in_dim, axis=1, keepdims=False)

    def add_row(sums: tuple, row: jax.Array) -> tuple[tuple, None]:
        g = take_row(gradient, row)
        x_rows = [take_row(padded, row * stride + i) for i in range(3)]
        taps = (x_rows[i][:, j : j + (columns - 1) * stride + 1 : stride] * g for i, j in _TAPS)
        return tuple(s + t for s, t in zip(sums, taps, strict=True)), None

    sums, _ = jax.lax.scan(add_row, (jnp.zeros((b, columns, c), x.dtype),) * len(_TAPS), jnp.arange(rows))
    return of_x, jnp.stack([s.sum((0, 1)) for s in sums]).reshape(kernel.shape)


depthwise_conv.defvjp(_depthwise_conv_forward, _depthwise_conv_backward)


@jax.custom_vjp
def shared_relu(x: jax.Array) -> jax.Array:
    """Applies ReLU, written as a select.

    XLA considers a maximum with 0 so cheap that it recomputes it for each use. In a chain of residual blocks each block would
    then recompute the whole chain before it: a sixth of ResNet-101's time.
    """
    return jnp.where(x <= 0, 0, x)  # NaN stays NaN


def _shared_relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = shared_relu(x)
    return y, y


shared_relu.defvjp(_shared_relu_forward, lambda y, gradient: (jnp.where(y > 0, gradient, 0),))


@jax.custom_vjp
def max_pool_5x5(x: jax.Array) -> jax.Array:
    """Computes the 5x5 maximum with stride 1 and padding 2 as two one-dimensional running maxima.

    Windows of 2, then 4, then 5 need three maxima per axis instead of 24 in total. The gradient needs no scatter: for each
    axis an int8 array stores which of the five inputs is the maximum (the first one of equal inputs, as in PyTorch). Examples
    are pooled one at a time, each in the cache: 4 to 5 times as fast, with bounded memory.
    """
    return jax.lax.map(_pool, x)


def _pool(x: jax.Array) -> jax.Array:
    return _running_max(_running_max(x, axis=1), axis=0)


def _pool_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    def pool(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        in_rows = _running_max(x, axis=1)
        return _running_max(in_rows, axis=0), (_first_maximum(x, axis=1), _first_maximum(in_rows, axis=0))

    return jax.lax.map(pool, x)


def _pool_backward(winners: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array]:
    def of_inputs(arrays: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        in_rows, in_columns, gradient = arrays
        return _to_winners(in_rows, _to_winners(in_columns, gradient, axis=0), axis=1)

    return (jax.lax.map(of_inputs, (*winners, gradient)),)


max_pool_5x5.defvjp(_pool_forward, _pool_backward)


def _running_max(x: jax.Array, axis: int) -> jax.Array:
    n = x.shape[axis]
    x = _pad(x, 2, 2, -jnp.inf, axes=(axis,))
    cut = partial(jax.lax.slice_in_dim, axis=axis)
    two = jnp.maximum(cut(x, 0, n + 3), cut(x, 1, n + 4))
    four = jnp.maximum(cut(two, 0, n + 1), cut(two, 2, n + 3))
    return jnp.maximum(cut(four, 0, n), cut(x, 4, n + 4))


def _first_maximum(x: jax.Array, axis: int) -> jax.Array:
    """Returns which of the five inputs around each position (0 to 4) is the first that equals their maximum, int8."""
    highest, *others = _five(x, -jnp.inf, axis)
    winner = jnp.zeros(highest.shape, jnp.int8)
    for i, other in enumerate(others, 1):
        winner = jnp.where(other > highest, jnp.int8(i), winner)
        highest = jnp.maximum(highest, other)
    return jax.lax.slice_in_dim(winner, 0, x.shape[axis], axis=axis)


def _to_winners(winner: jax.Array, gradient: jax.Array, axis: int) -> jax.Array:
    """Sums the gradients of all outputs whose maximum an input is. The input is number 4 of the first of these outputs."""
    pairs = zip(_five(winner, -1, axis), _five(gradient, 0, axis), strict=True)
    taken = sum(jnp.where(winner == 4 - i, gradient, 0) for i, (winner, gradient) in enumerate(pairs))
    return jax.lax.slice_in_dim(taken, 0, gradient.shape[axis], axis=axis)


def _five(x: jax.Array, outside: float, axis: int) -> list[jax.Array]:
    """Returns the array shifted by -2 to 2 positions, each with one extra position at the end.

    Without the extra position XLA would recognize the middle one as the array before padding, and recompute it for each use.
    """
    n = x.shape[axis]
    x = _pad(x, 2, 3, outside, axes=(axis,))
    return [jax.lax.slice_in_dim(x, i, i + n + 1, axis=axis) for i in range(5)]


def max_pool_3x3_stride_2(x: jax.Array) -> jax.Array:
    """Computes the 3x3 maximum with stride 2 and padding 1, one axis after the other."""
    for axis in (1, 2):
        n = -(-x.shape[axis] // 2)
        x = _pad(x, 1, 2 * n - x.shape[axis], -jnp.inf, axes=(axis,))
        cut = partial(jax.lax.slice_in_dim, x, stride=2, axis=axis)
        x = jnp.maximum(jnp.maximum(cut(0, 2 * n - 1), cut(1, 2 * n)), cut(2, 2 * n + 1))
    return x


def interpolate(taps: Sequence[tuple[np.ndarray, ...]], matrices: Sequence[np.ndarray]) -> Callable:
    """Returns a linear interpolation of rows and columns: gathers and a weighted sum forward, matrix products backward.

    Args:
      taps: for rows and for columns, three arrays [m]: lower and upper input index (of n), and weight of the upper input.
      matrices: for rows and for columns, the same weights as a float32 matrix [m, n].

    Returns:
      A function [b, h, w, c] -> [b, H, W, c].
    """

    @jax.custom_vjp
    def resize(x: jax.Array) -> jax.Array:
        for axis, (low, high, weight) in enumerate(taps, 1):
            weight = jnp.asarray(weight, x.dtype).reshape([-1 if a == axis else 1 for a in range(4)])
            x = jnp.take(x, low, axis=axis) * (1 - weight) + jnp.take(x, high, axis=axis) * weight
        return x

    def backward(_: None, gradient: jax.Array) -> tuple[jax.Array]:
        rows, columns = (jnp.asarray(matrix, gradient.dtype) for matrix in matrices)

        def of_source(gradient: jax.Array) -> jax.Array:
            """Rows first: their product uses the matrices as stored, which leaves less to transpose for the columns."""
            of_rows = (rows.T @ gradient.reshape(len(gradient), -1)).reshape(-1, *gradient.shape[1:])
            return jnp.einsum("hWc,Ww->hwc", of_rows, columns)

        return (jax.lax.map(of_source, gradient),)

    resize.defvjp(lambda x: (resize(x), None), backward)
    return resize


def _pad(x: jax.Array, before: int, after: int, value: float, axes: tuple[int, ...]) -> jax.Array:
    """Pads `axes` with `value`."""
    widths = [(0, 0)] * x.ndim
    for axis in axes:
        widths[axis] = (before, after)
    return jnp.pad(x, widths, constant_values=value)
