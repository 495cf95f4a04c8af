"""Sizes of an image on its way through the network: as given, fitted to a longest side, on a canvas, and back.

All sizes depend only on the image's own size and the settings, so that a mask never depends on other images.
"""

from collections.abc import Callable

import cv2
import jax
import jax.numpy as jnp
import numpy as np

Size = tuple[int, int]

_SMALLEST_STEP = 32  # pixels, the stride of the trunk
_STEPS_PER_OCTAVE = 4


def fitted_size(size: Size, longest_side: int) -> Size:
    """Returns the size (h, w) scaled to a longer side of `longest_side` pixels; the same size if that is 0."""
    return tuple(max(round(n * longest_side / max(size)), 1) for n in size) if longest_side else tuple(size)


def canvas_size(size: Size) -> Size:
    """Returns the size (h, w) of the canvas for a fitted image: each side rounded up to a grid.

    The grid has every multiple of 32 up to 256, then four sides per octave (320, 384, 448, 512, 640, ...). One compiled
    program serves every image of a canvas, and a side grows by at most a quarter beyond 128 pixels.
    """
    return tuple(_rounded_up(n) for n in size)


def _rounded_up(side: int) -> int:
    octave = 1 << max(side - 1, 1).bit_length() - 1  # side lies in (octave, 2 octave]
    step = max(octave // _STEPS_PER_OCTAVE, _SMALLEST_STEP)
    return -(-side // step) * step


def fit(image: np.ndarray, longest_side: int) -> np.ndarray:
    """Resizes uint8 [h, w, 3] to its fitted size, float32 in [0, 255]: area means to shrink, bicubic to enlarge.

    Values are not rounded: if one were rounded up here and down in an export, the scores would differ by more than an export
    may. With a longest side of 0 the image itself, uint8, is returned.
    """
    before, size = image.shape[:2], fitted_size(image.shape[:2], longest_side)
    if not longest_side:
        return image
    image = image.astype(np.float32)
    if before == size:
        return image
    how = cv2.INTER_AREA if _shrinks(before, size) else cv2.INTER_CUBIC
    return np.clip(cv2.resize(image, size[::-1], interpolation=how), 0, 255)


def on_canvas(image: np.ndarray) -> np.ndarray:
    """Puts a fitted image [h, w, 3] at the upper left of its canvas; the rest repeats its edge."""
    height, width = image.shape[:2]
    rows, columns = canvas_size((height, width))
    return np.pad(image, ((0, rows - height), (0, columns - width), (0, 0)), mode="edge")


def resize_scores(scores: np.ndarray, size: Size) -> np.ndarray:
    """Resizes float32 [h, w, c] bilinearly to `size` (h, w) with half-pixel centers; always returns a new array."""
    if scores.shape[:2] == size:
        return scores.copy()
    resized = np.empty((*size, scores.shape[-1]), np.float32)
    for i in range(scores.shape[-1]):
        resized[..., i] = cv2.resize(np.ascontiguousarray(scores[..., i]), size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized


# The same steps as JAX operations for exports, whose files include everything from the picture to its scores.


def fit_in_graph(image: jax.Array, longest_side: int) -> jax.Array:
    """Returns `fit` of uint8 [b, h, w, 3]; values differ by at most 0.002."""
    before, size = image.shape[1:3], fitted_size(image.shape[1:3], longest_side)
    if not longest_side:
        return image
    image = image.astype(jnp.float32)
    if before == size:
        return image
    taps = _area_taps if _shrinks(before, size) else _cubic_taps
    return jnp.clip(_resized(image, size, taps), 0, 255)


def on_canvas_in_graph(image: jax.Array) -> jax.Array:
    """Returns `on_canvas` of [b, h, w, 3], as gathers, which every runtime supports."""
    for axis, (length, padded) in enumerate(zip(image.shape[1:3], canvas_size(image.shape[1:3]), strict=True), 1):
        if padded > length:
            image = jnp.take(image, np.minimum(np.arange(padded), length - 1), axis=axis)
    return image


def resize_scores_in_graph(scores: jax.Array, size: Size) -> jax.Array:
    """Returns `resize_scores` of float32 [b, h, w, c]."""
    return scores if scores.shape[1:3] == size else _resized(scores, size, _linear_taps)


def _shrinks(before: Size, size: Size) -> bool:
    return size[0] * size[1] < before[0] * before[1]


def _resized(x: jax.Array, size: Size, taps: Callable[[int, int], tuple[np.ndarray, np.ndarray]]) -> jax.Array:
    """Resizes [b, h, w, c] to [b, *size, c], rows before columns, as a weighted sum of a few gathers."""
    for axis, (n, m) in enumerate(zip(x.shape[1:3], size, strict=True), 1):
        places, weights = taps(n, m)
        shape = [m if a == axis else 1 for a in range(4)]
        x = sum(
            jnp.take(x, place, axis=axis) * weight.astype(np.float32).reshape(shape)
            for place, weight in zip(places.T, weights.T, strict=True)
        )
    return x


# Indices (of n pixels) and weights of the pixels that form each of m pixels: integer and float64 [m, taps].


def _area_taps(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Taps of cv2.INTER_AREA for m <= n: the share of each pixel in each cell."""
    edges = np.arange(m + 1) * (n / m)
    places = np.floor(edges[:-1]).astype(int)[:, None] + np.arange(-(-n // m) + 1)
    overlap = np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places)
    overlap = np.where((overlap > 1e-3) & (places < n), overlap, 0)  # OpenCV ignores slivers
    return np.minimum(places, n - 1), overlap / overlap.sum(1, keepdims=True)


def _cubic_taps(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Taps of cv2.INTER_CUBIC: Keys' kernel with a = -3/4, with the edge repeated."""
    a, center = -0.75, (np.arange(m) + 0.5) * (n / m) - 0.5
    first = np.floor(center).astype(int)
    x = center - first
    weights = np.stack(
        [
            ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a,
            ((a + 2) * x - (a + 3)) * x * x + 1,
            ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1,
        ],
        1,
    )
    places = np.clip(first[:, None] + np.arange(-1, 3), 0, n - 1)
    return places, np.concatenate([weights, 1 - weights.sum(1, keepdims=True)], 1)


def _linear_taps(n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Taps of cv2.INTER_LINEAR: the two nearest pixels, weighted by distance."""
    center = np.clip((np.arange(m) + 0.5) * (n / m) - 0.5, 0, n - 1)
    first = np.minimum(np.floor(center).astype(int), max(n - 2, 0))
    weight = center - first
    return np.minimum(first[:, None] + np.arange(2), n - 1), np.stack([1 - weight, weight], 1)
