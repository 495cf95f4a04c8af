"""Resizes of [b, h, w, c] in the conventions of PyTorch, MATLAB and JAX."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from refinenet_jax.models.primitives import each_example


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def align_corners(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear resize of [b, h, w, c] to `size` (h, w) in which the corner pixels' centres coincide.

    Equals `torch.nn.functional.interpolate(..., align_corners=True)`. Forward as gathers and a weighted sum, backward as
    two small matrix products: each the faster of the two forms in its direction.
    """
    for axis, n in zip((1, 2), size, strict=True):
        low, high, weight = _align_corners_taps(x.shape[axis], n)
        weight = jnp.asarray(weight, x.dtype).reshape([-1 if a == axis else 1 for a in range(4)])
        x = jnp.take(x, low, axis) * (1 - weight) + jnp.take(x, high, axis) * weight
    return x


def _align_corners_forward(x: jax.Array, size: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    return align_corners(x, size), x[:0]  # for its shape alone


def _align_corners_backward(size: tuple[int, int], source: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    rows, columns = (
        jnp.asarray(_align_corners_matrix(n, m), gradient.dtype) for n, m in zip(source.shape[1:3], size, strict=True)
    )

    def of_source(gradient: jax.Array) -> jax.Array:
        """Rows first: theirs is a product of matrices as they lie, which leaves less to turn around for the columns."""
        of_rows = (rows.T @ gradient.reshape(len(gradient), -1)).reshape(-1, *gradient.shape[1:])
        return jnp.einsum("hWc,Ww->hwc", of_rows, columns)

    return (each_example(of_source, gradient),)


align_corners.defvjp(_align_corners_forward, _align_corners_backward)


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


def bicubic(x: jax.Array, size: tuple[int, int]) -> jax.Array:
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


def half_pixel(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Bilinear resize of [b, h, w, c] to `size` (h, w) with half-pixel centres; anti-aliased where it shrinks."""
    return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "bilinear")


def nearest_labels(mask: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Class ids [b, h, w] at `size` (h, w): those at the new pixels' centres. Ids are never mixed."""
    rows, columns = (
        np.floor((np.arange(m) + 0.5) * n / m).astype(int) for n, m in zip(mask.shape[1:], size, strict=True)
    )
    return mask[:, rows[:, None], columns]
