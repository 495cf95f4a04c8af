"""Losses over class ids with void. Each returns sums, so that devices and batches add up before the one division."""

import jax
import jax.numpy as jnp
import optax

from refinenet_jax.data import VOID


def cross_entropy(logits: jax.Array, labels: jax.Array, weight: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Softmax cross-entropy, summed over the pixels that are not void.

    Args:
      logits: float32 [b, h, w, c].
      labels: integer [b, h, w], class ids below c, or 255 for void.
      weight: float32 [b], of each example; 0 leaves it out. All 1 by default.

    Returns:
      Sum of the weighted losses and sum of the weights, two float32 scalars; gradients are finite where all is void.
    """
    counted = (labels != VOID).astype(jnp.float32)
    if weight is not None:
        counted = counted * weight[:, None, None]
    per_pixel = optax.softmax_cross_entropy_with_integer_labels(
        logits, jnp.where(labels == VOID, 0, labels).astype(jnp.int32)
    )
    return (per_pixel * counted).sum(), counted.sum()
