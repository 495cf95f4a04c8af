"""Applies a network to large images in overlapping windows, blended without seams, with the memory of one window."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from refinenet_jax.errors import UsageError

# Windows start at multiples of the trunk's stride, so that the network's grids have the same phase as in the whole image.
TRUNK_STRIDE = 32
SMALLEST = 4 * TRUNK_STRIDE
_LOGIT_STRIDE = 4


def check_tile(tile: int | None) -> None:
    """Raises UsageError if windows of this size are too small."""
    if tile is not None and tile < SMALLEST:
        raise UsageError(f"tile is {tile}. Give at least {SMALLEST} pixels; 512 is usual.")


def windows(length: int, tile: int) -> tuple[int, list[int]]:
    """Divides one axis into equal windows.

    Args:
      length: length of the axis in pixels.
      tile: maximum length of a window, at least SMALLEST.

    Returns:
      The length of all windows and their starts, evenly spaced at multiples of 32: the fewest windows that cover the axis
      exactly and overlap by at least a quarter of their length. One window if the axis is not longer than a tile.
    """
    if length <= tile:
        return length, [0]
    steps = 1
    while True:
        stride = -(-(length - tile) // (steps * TRUNK_STRIDE)) * TRUNK_STRIDE
        size = length - steps * stride  # never more than tile
        if 4 * stride <= 3 * size:
            return size, [i * stride for i in range(steps + 1)]
        steps += 1


def weights(size: int, starts: list[int]) -> np.ndarray:
    """Returns the weight of every logit of every window along one axis, float32 [windows, logits of a window].

    Weights fall along the overlap as a raised cosine, to zero at the end of a window, where its network has the least context,
    and sum to 1 everywhere. A position covered by one window alone has weight 1, up to the border of the image.
    """
    logits = -(-size // _LOGIT_STRIDE)
    overlap = logits - (starts[1] // _LOGIT_STRIDE if len(starts) > 1 else 0)
    to_end = np.minimum(np.arange(logits), np.arange(logits)[::-1])
    fade = np.sin(np.pi / 2 * np.minimum(to_end / max(overlap - 1, 1), 1)) ** 2
    fade = np.maximum(fade, 1e-6)  # no other window covers the image's border
    total = np.zeros(starts[-1] // _LOGIT_STRIDE + logits)
    for start in starts:
        total[start // _LOGIT_STRIDE :][:logits] += fade
    return np.stack([fade / total[start // _LOGIT_STRIDE :][:logits] for start in starts]).astype(np.float32)


def apply(network: Callable[[jax.Array], jax.Array], x: jax.Array, tile: int, channels: int) -> jax.Array:
    """Computes the network's logits for images of any size, in windows one after the other.

    Args:
      network: function float32 [b, h, w, 3] -> float32 [b, ceil(h/4), ceil(w/4), channels].
      x: float32 [b, h, w, 3].
      tile: maximum side of a window in pixels.
      channels: number of channels of the logits.

    Returns:
      float32 [b, ceil(h/4), ceil(w/4), channels]; for images that fit in one window, exactly the network's output.
    """
    (height, tops), (width, lefts) = (windows(n, tile) for n in x.shape[1:3])
    if len(tops) == len(lefts) == 1:
        return network(x)
    rows, columns = jnp.asarray(weights(height, tops)), jnp.asarray(weights(width, lefts))
    starts = jnp.array([(i, j, top, left) for i, top in enumerate(tops) for j, left in enumerate(lefts)])

    def add(sums: jax.Array, start: jax.Array) -> tuple[jax.Array, None]:
        i, j, top, left = start
        logits = network(jax.lax.dynamic_slice(x, (0, top, left, 0), (x.shape[0], height, width, 3)))
        place = (0, top // _LOGIT_STRIDE, left // _LOGIT_STRIDE, 0)
        weighted = logits * (rows[i][:, None] * columns[j])[..., None]
        previous = jax.lax.dynamic_slice(sums, place, weighted.shape)
        return jax.lax.dynamic_update_slice(sums, previous + weighted, place), None

    size = (-(-n // _LOGIT_STRIDE) for n in x.shape[1:3])
    sums, _ = jax.lax.scan(add, jnp.zeros((x.shape[0], *size, channels), jnp.float32), starts)
    return sums
