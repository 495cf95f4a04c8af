"""Losses over class ids with void. Each returns sums, which are added over devices and batches before the division."""

import math
from collections.abc import Iterable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import optax

from refinenet_jax.data.examples import VOID
from refinenet_jax.errors import UsageError, require

TERMS = ("cross_entropy", "dice", "focal", "lovasz")


def loss_terms(
    logits: jax.Array,
    labels: jax.Array,
    weight: jax.Array,
    *,
    weights: Mapping[str, float],
    class_weights: tuple[float, ...] = (),
    label_smoothing: float = 0.0,
    hard_fraction: float = 1.0,
    focal_gamma: float = 2.0,
) -> dict[str, tuple[jax.Array, jax.Array]]:
    """Computes the terms of a loss that is their weighted sum.

    The loss is the sum over its terms of weights[term] * total / divisor, where totals and divisors are first summed over
    the whole batch (devices, microbatches). A divisor depends only on labels and weight, never on the logits: it can be summed
    before any gradient is computed, and has no gradient itself.

    Args:
      logits: float32 [b, h, w, c].
      labels: integer [b, h, w], class ids below c, or 255 for void.
      weight: float32 [b], weight of each example; 0 excludes it.
      weights: weight of each term, by name (see `TERMS`); terms with weight 0 are not computed. `check_options` checks this
        and the other options.
      class_weights: c weights for 'cross_entropy' and 'focal'; () for 1 each.
      label_smoothing: label smoothing of 'cross_entropy', in [0, 1).
      hard_fraction: share of the hardest pixels that 'cross_entropy' uses, in (0, 1].
      focal_gamma: exponent of 'focal', 0 or more.

    Returns:
      (total, divisor) by term, float32 scalars. If everything is void both are 0, and so are the gradients: divide by
      `jnp.where(divisor > 0, divisor, 1)`.
    """
    terms = {
        "cross_entropy": partial(
            cross_entropy, class_weights=class_weights, label_smoothing=label_smoothing, hard_fraction=hard_fraction
        ),
        "dice": dice,
        "focal": partial(focal, class_weights=class_weights, gamma=focal_gamma),
        "lovasz": lovasz,
    }
    return {term: terms[term](logits, labels, weight) for term in TERMS if weights.get(term, 0)}


def check_options(
    num_classes: int,
    *,
    weights: Mapping[str, float],
    class_weights: tuple[float, ...] = (),
    label_smoothing: float = 0.0,
    hard_fraction: float = 1.0,
    focal_gamma: float = 2.0,
) -> None:
    """Checks the options of `loss_terms` before anything is compiled.

    Raises:
      UsageError: a term is unknown, no term has a weight, or a number is out of its range.
    """
    for term in weights:
        require(term, TERMS, "term of the loss")
    if not _are_weights(weights.values()):
        raise UsageError(
            f"The loss has weights {dict(weights)}; give at least one term a weight above 0, none below 0."
        )
    if class_weights and (len(class_weights) != num_classes or not _are_weights(class_weights)):
        raise UsageError(
            f"The loss has class_weights {tuple(class_weights)}; give {num_classes} numbers, one for each class, none below 0 "
            "and not all 0, or () for 1 each."
        )
    if not 0 <= label_smoothing < 1:
        raise UsageError(f"The loss has label_smoothing {label_smoothing}; choose 0 for none, or a number below 1.")
    if not 0 < hard_fraction <= 1:
        raise UsageError(f"The loss has hard_fraction {hard_fraction}; choose 1 for all pixels, or a number above 0.")
    if not 0 <= focal_gamma < math.inf:
        raise UsageError(
            f"The loss has focal_gamma {focal_gamma}; choose 2 as in the paper, or another number not below 0."
        )


def cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    weight: jax.Array | None = None,
    *,
    class_weights: tuple[float, ...] = (),
    label_smoothing: float = 0.0,
    hard_fraction: float = 1.0,
) -> tuple[jax.Array, jax.Array]:
    """Computes the softmax cross-entropy, summed over the pixels that are not void.

    Args:
      logits: float32 [b, h, w, c].
      labels: integer [b, h, w], class ids below c, or 255 for void.
      weight: float32 [b], weight of each example; 0 excludes it. All 1 by default.
      class_weights: c weights that multiply the terms of the classes, as PyTorch's `weight`; () for 1 each.
      label_smoothing: share of each label that is spread evenly over all c classes (Szegedy et al., CVPR 2016).
      hard_fraction: share of each image's pixels that is summed, those with the largest loss: ceil(fraction * pixels) of
        those that are not void (online hard example mining, Shrivastava et al., CVPR 2016).

    Returns:
      Sum of the weighted losses and sum of the weights, two float32 scalars; gradients are finite if everything is void. With
      class weights the second sum includes the class weight of each pixel's label. With a hard fraction the second sum is
      that of all pixels, times the share of hard pixels: the sum over hard pixels alone would depend on the logits.
    """
    counted = (labels != VOID).astype(jnp.float32)
    per_pixel = _per_pixel(logits, labels, class_weights, label_smoothing)
    kept, share = _hardest(per_pixel, counted, hard_fraction) if hard_fraction < 1 else (1.0, 1.0)
    if weight is not None:
        counted = counted * weight[:, None, None]
    return (per_pixel * counted * kept).sum(), (_label_weights(labels, class_weights) * counted * share).sum()


def focal(
    logits: jax.Array,
    labels: jax.Array,
    weight: jax.Array,
    *,
    class_weights: tuple[float, ...] = (),
    gamma: float = 2.0,
) -> tuple[jax.Array, jax.Array]:
    """Computes the focal loss, (1 - p)^gamma times the cross-entropy, with p the softmax probability of the label.

    From Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, who define it for the sigmoid; `class_weights` are
    their alpha. Arguments and results are those of `cross_entropy`, which it equals at gamma 0.
    """
    counted = (labels != VOID) * weight[:, None, None]
    per_pixel = _per_pixel(logits, labels)
    # 1 - p without cancellation; kept above 0, where the gradient of a power below 1 is not finite.
    missing = jnp.maximum(-jnp.expm1(-per_pixel), jnp.finfo(per_pixel.dtype).tiny)
    counted = counted * _label_weights(labels, class_weights)
    return (missing**gamma * per_pixel * counted).sum(), counted.sum()


def dice(logits: jax.Array, labels: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes the soft Dice loss of each image, 1 - 2 sum(p t) / (sum(p) + sum(t)), averaged over the classes in its truth.

    From Milletari et al., "V-Net", 3DV 2016, with the usual plain sums instead of sums of squares in the denominator.
    optax.losses.dice_loss does not support void: its sum(p) is over all pixels.

    Args:
      logits: float32 [b, h, w, c].
      labels: integer [b, h, w], class ids below c, or 255 for void.
      weight: float32 [b], weight of each image; 0 excludes it.

    Returns:
      Sum of the weighted losses, each in [0, 1], and sum of the weights of the images that are not entirely void; two float32
      scalars.
    """
    truth, probabilities = _truth(logits, labels), _probabilities(logits, labels)
    sizes = truth.sum(1)
    both = jnp.where(sizes > 0, probabilities.sum(1) + sizes, 1)
    return _over_images(1 - 2 * (probabilities * truth).sum(1) / both, sizes, weight)


def lovasz(logits: jax.Array, labels: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Computes the Lovasz-softmax loss of each image, averaged over the classes in its truth: the Jaccard loss, 1 - IoU,
    extended from sets to probabilities.

    From Berman et al., "The Lovasz-Softmax Loss", CVPR 2018, algorithm 1 per image. Arguments and results as in `dice`.
    """
    truth = _truth(logits, labels)
    errors = jnp.abs(truth - _probabilities(logits, labels))
    # Void has error 0 and so comes last, where it changes no intersection or union of others. Pixels predicted with
    # certainty may follow it, and have neither loss nor gradient.
    order = jnp.argsort(-errors, axis=1)
    is_class = jnp.take_along_axis(truth, order, 1)
    sizes = truth.sum(1)
    intersection = sizes[:, None] - jnp.cumsum(is_class, 1)
    union = sizes[:, None] + jnp.cumsum(1 - is_class, 1)
    # How much each pixel increases the Jaccard loss of those before it: 1/u if it leaves the intersection, and
    # i/(u - 1) - i/u if it joins the union. The paper subtracts neighboring losses, which loses precision in float32.
    rise = jnp.where(is_class > 0, 1 / jnp.maximum(union, 1), intersection / jnp.maximum(union * (union - 1), 1))
    rise = jnp.take_along_axis(rise, jnp.argsort(order, axis=1), 1)  # back in the order of the pixels
    return _over_images((errors * rise).sum(1), sizes, weight)


def _per_pixel(
    logits: jax.Array, labels: jax.Array, class_weights: tuple[float, ...] = (), label_smoothing: float = 0.0
) -> jax.Array:
    """Returns the cross-entropy [b, h, w]; meaningless for void."""
    if not label_smoothing:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, _ids(labels))
        return losses * _label_weights(labels, class_weights)
    targets = optax.smooth_labels(jax.nn.one_hot(_ids(labels), logits.shape[-1]), label_smoothing)
    return optax.softmax_cross_entropy(logits, targets * jnp.asarray(class_weights or 1.0))


def _label_weights(labels: jax.Array, class_weights: tuple[float, ...]) -> jax.Array | float:
    """Returns the class weight of each pixel's label."""
    return jnp.asarray(class_weights)[_ids(labels)] if class_weights else 1.0


def _ids(labels: jax.Array) -> jax.Array:
    return jnp.where(labels == VOID, 0, labels).astype(jnp.int32)


def _hardest(losses: jax.Array, counted: jax.Array, fraction: float) -> tuple[jax.Array, jax.Array]:
    """Returns which of each image's counted pixels are its hardest, bool [b, h, w], and their share, [b, 1, 1].

    Among pixels of equal loss the first are chosen.
    """
    flat = jnp.where(counted > 0, -losses, 1).reshape(len(losses), -1)  # no loss is below 0, so void comes last
    rank = jnp.argsort(jnp.argsort(flat, axis=1), axis=1).reshape(losses.shape)
    pixels = counted.sum((1, 2), keepdims=True)
    wanted = jnp.ceil(fraction * pixels)
    return rank < wanted, wanted / jnp.maximum(pixels, 1)


def _truth(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns one-hot labels [b, pixels, c], 0 for void."""
    return jax.nn.one_hot(labels.reshape(len(labels), -1), logits.shape[-1], dtype=logits.dtype)


def _probabilities(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Returns softmax probabilities [b, pixels, c], 0 for void."""
    probabilities = jnp.where((labels != VOID)[..., None], jax.nn.softmax(logits), 0)
    return probabilities.reshape(len(labels), -1, logits.shape[-1])


def _over_images(losses: jax.Array, sizes: jax.Array, weight: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums over images the mean over present classes, from losses and pixel counts [b, c]."""
    classes = (sizes > 0).sum(1)
    per_image = jnp.where(sizes > 0, losses, 0).sum(1) / jnp.maximum(classes, 1)
    counted = (classes > 0) * weight
    return (per_image * counted).sum(), counted.sum()


def _are_weights(numbers: Iterable[float]) -> bool:
    numbers = list(numbers)
    return all(0 <= number < math.inf for number in numbers) and any(numbers)
