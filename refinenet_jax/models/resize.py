"""Resizing of [b, h, w, c] as in PyTorch, MATLAB and JAX."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from refinenet_jax.models import cpu


def align_corners(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes [b, h, w, c] bilinearly to `size` (h, w), with the centers of the corner pixels aligned.

    Equals `torch.nn.functional.interpolate(..., align_corners=True)`.
    """
    sizes = list(zip(x.shape[1:3], size, strict=True))
    matrices = [_align_corners_matrix(n, m) for n, m in sizes]
    fast = cpu.interpolate([_align_corners_taps(n, m) for n, m in sizes], matrices)
    return jax.lax.platform_dependent(x, cpu=fast, default=partial(_resize, matrices=matrices))


def _resize(x: jax.Array, matrices: Sequence[np.ndarray]) -> jax.Array:
    """Resizes [b, h, w, c] to [b, H, W, c] with a matrix for the rows [H, h] and one for the columns [W, w], columns first."""
    for axis, matrix in ((2, matrices[1]), (1, matrices[0])):
        x = jnp.moveaxis(jnp.tensordot(x, jnp.asarray(matrix, x.dtype), (axis, 1)), -1, axis)
    return x


def _align_corners_taps(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns, for each of m outputs, the two inputs (of n) around it and the weight of the upper one."""
    position = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0.0)
    low = np.minimum(position.astype(int), n - 1)
    return low, np.minimum(low + 1, n - 1), (position - low).astype(np.float32)


def _align_corners_matrix(n: int, m: int) -> np.ndarray:
    """Returns the same weights as a matrix [m, n]."""
    low, high, weight = _align_corners_taps(n, m)
    matrix = np.zeros((m, n), np.float32)
    np.add.at(matrix, (np.arange(m), low), 1 - weight)
    np.add.at(matrix, (np.arange(m), high), weight)
    return matrix


def bicubic(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes [b, h, w, c] bicubically to `size` (h, w) as MATLAB's `imresize`, with two small matrix products.

    Keys' kernel with a = -1/2, half-pixel centers, mirrored borders. Shrinking is anti-aliased, as in MATLAB.
    """
    return _resize(x, [_bicubic_matrix(n, m) for n, m in zip(x.shape[1:3], size, strict=True)])


def _bicubic_matrix(n: int, m: int) -> np.ndarray:
    """Returns the weights of n inputs for each of m outputs, float32 [m, n]."""
    scale = m / n
    stretch = max(1 / scale, 1.0)  # widens the kernel when shrinking
    center = (np.arange(m) + 0.5) / scale - 0.5
    taps = np.floor(center - 2 * stretch)[:, None] + np.arange(int(np.ceil(4 * stretch)) + 2)
    distance = np.abs(center[:, None] - taps) / stretch
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
    """Resizes [b, h, w, c] bilinearly to `size` (h, w) with half-pixel centers; anti-aliased when shrinking."""
    return jax.image.resize(x, (x.shape[0], *size, x.shape[-1]), "bilinear")


def nearest_labels(mask: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Resizes class ids [b, h, w] to `size` (h, w), taking the id at each new pixel's center; ids are never mixed."""
    rows, columns = (
        np.floor((np.arange(m) + 0.5) * n / m).astype(int) for n, m in zip(mask.shape[1:], size, strict=True)
    )
    return mask[:, rows[:, None], columns]
