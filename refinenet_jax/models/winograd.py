"""3x3 convolution by minimal filtering, F(2x2, 3x3) of Lavin and Gray (CVPR 2016, section 4.1).

Each tile of 2x2 outputs is computed from a tile of 4x4 inputs with 16 products per pair of channels instead of 36. Kernel and
input are transformed so that the convolution becomes 16 matrix products; the gradients have the same form. The transforms only
add and halve, so the rounding error is that of sums in another order (`tests/models/winograd_test.py`).
"""

from functools import partial

import jax
import jax.numpy as jnp

Grid = list[list[jax.Array]]  # 4x4 positions of the transformed domain, each [rows, columns, c] or [i, o]

_LEAST_CHANNELS = 32  # with fewer, the transforms cost more than the products save
_LEAST_TILES = 128  # per example; with fewer, the products are too small to run at full speed


def pays(x: jax.Array, kernel: jax.Array) -> bool:
    """Returns whether `conv3x3` is faster than the plain convolution."""
    height, width = x.shape[1:3]
    tiles = -(-height // 2) * -(-width // 2)
    return x.dtype == jnp.float32 and min(kernel.shape[2:]) >= _LEAST_CHANNELS and tiles >= _LEAST_TILES


@jax.custom_vjp
def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes a 3x3 convolution with stride 1 and padding 1.

    Args:
      x: float32 [b, h, w, i].
      kernel: float32 [3, 3, i, o].

    Returns:
      float32 [b, h, w, o].
    """
    transformed = _transform_kernel(kernel)
    return jax.lax.map(lambda x: _conv(x, transformed), x)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return conv3x3(x, kernel), (x, kernel)


def _backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes the input's gradient as a convolution with the flipped kernel, and the kernel's as a sum over examples."""
    x, kernel = residuals
    transformed = _transform_kernel(kernel)
    order = (3, 1, 2, 0)  # flipping the kernel exchanges the first and the last position
    turned = [[transformed[i][j].T for j in order] for i in order]
    of_x = jax.lax.map(lambda g: _conv(g, turned), gradient)

    def add(sums: Grid, pair: tuple[jax.Array, jax.Array]) -> tuple[Grid, None]:
        x, g = pair
        tiles = _transform_input(x)
        products = jax.eval_shape(partial(jax.tree.map, jnp.matmul), tiles, transformed)
        (of_products,) = jax.linear_transpose(partial(_assemble, size=g.shape[:2]), products)(g)
        return jax.tree.map(lambda s, t, p: s + _sum_of_products(t, p), sums, tiles, of_products), None

    sums, _ = jax.lax.scan(add, jax.tree.map(jnp.zeros_like, transformed), (x, gradient))
    (of_kernel,) = jax.linear_transpose(_transform_kernel, kernel)(sums)
    return of_x, of_kernel


conv3x3.defvjp(_forward, _backward)


def _conv(x: jax.Array, kernel: Grid) -> jax.Array:
    """Convolves [h, w, i] with a transformed kernel."""
    return _assemble(jax.tree.map(jnp.matmul, _transform_input(x), kernel), x.shape[:2])


def _sum_of_products(a: jax.Array, b: jax.Array) -> jax.Array:
    """Returns [i, o] from [h, w, i] and [h, w, o]: sums over the first dimension of two matrices, so that XLA transposes
    neither."""
    a, b = (array.reshape(-1, array.shape[-1]) for array in (a, b))
    return jax.lax.dot_general(a, b, (((0,), (0,)), ((), ())))


def _transform_input(x: jax.Array) -> Grid:
    """Transforms [h, w, i] into 4x4 positions of [ceil(h/2), ceil(w/2), i] each."""
    height, width = x.shape[:2]
    rows, columns = -(-height // 2), -(-width // 2)
    x = jnp.pad(x, ((1, 2 * rows - height + 1), (1, 2 * columns - width + 1), (0, 0)))
    lines = _mix_input(*(x[i : i + 2 * rows - 1 : 2] for i in range(4)))
    return [list(_mix_input(*(line[:, j : j + 2 * columns - 1 : 2] for j in range(4)))) for line in lines]


def _assemble(products: Grid, size: tuple[int, int]) -> jax.Array:
    """Joins products to tiles of 2x2 outputs, cropped to `size`: [h, w, c]."""
    lines = [_mix_output(*line) for line in products]
    left, right = (_mix_output(*(line[j] for line in lines)) for j in range(2))
    pairs = [jnp.stack([left[i], right[i]], 2) for i in range(2)]
    rows, columns, _, c = pairs[0].shape
    return jnp.stack(pairs, 1).reshape(2 * rows, 2 * columns, c)[: size[0], : size[1]]


def _transform_kernel(kernel: jax.Array) -> Grid:
    return [list(_mix_kernel(*line)) for line in _mix_kernel(*kernel)]


# One dimension of the three transforms: B^T, A^T and G of the paper.
def _mix_input(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> tuple[jax.Array, ...]:
    return a - c, b + c, c - b, b - d


def _mix_output(a: jax.Array, b: jax.Array, c: jax.Array, d: jax.Array) -> tuple[jax.Array, ...]:
    return a + b + c, b - c - d


def _mix_kernel(a: jax.Array, b: jax.Array, c: jax.Array) -> tuple[jax.Array, ...]:
    half = (a + c) / 2
    return a, half + b / 2, half - b / 2, c
