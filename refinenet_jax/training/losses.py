"""Losses over class ids with void. Each returns sums, so that devices and batches add up before the one division."""

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
    """The terms of a loss that is their weighted sum.

    The loss is the sum over its terms of weights[term] * total / divisor, where totals and divisors are first summed over
    everything that makes up a batch (devices, shares of an accumulated gradient). A divisor is a function of labels and
    weight alone, never of the logits: it can be summed before there is any gradient, and has none itself.

    Args:
      logits: float32 [b, h, w, c].
      labels: integer [b, h, w], class ids below c, or 255 for void.
      weight: float32 [b], of each example; 0 leaves it out.
      weights: of the terms, by name (see `TERMS`); those at 0 are not computed.
      class_weights: c numbers, of 'cross_entropy' and 'focal'; none for 1 each.
      label_smoothing: of 'cross_entropy', in [0, 1).
      hard_fraction: of 'cross_entropy', in (0, 1].
      focal_gamma: of 'focal', 0 or more.

    Returns:
      (total, divisor) by term, float32 scalars. Where all is void both are 0, and so are the gradients: divide by
      `jnp.where(divisor > 0, divisor, 1)`.

    Raises:
      UsageError: from `check_options`, while tracing.
    """
    check_options(
        logits.shape[-1],
        weights=weights,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        hard_fraction=hard_fraction,
        focal_gamma=focal_gamma,
    )
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
    """Looks at the options of `loss_terms` before anything is compiled.

    Raises:
      UsageError: an unknown term, no term at all, or a number that has no meaning.
    """
    for term in weights:
        require(term, TERMS, "term of the loss")
    if not _are_weights(weights.values()):
        raise UsageError(f"The loss has weights {dict(weights)}; give one term or more a weight above 0, none below 0.")
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
            f"The loss has focal_gamma {focal_gamma}; choose 2 as the paper, or another number not below 0."
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
    """Softmax cross-entropy, summed over the pixels that are not void.

    Args:
      logits: float32 [b, h, w, c].
      labels: integer [b, h, w], class ids below c, or 255 for void.
      weight: float32 [b], of each example; 0 leaves it out. All 1 by default.
      class_weights: c numbers that multiply the terms of the classes, as PyTorch's `weight`; none for 1 each.
      label_smoothing: this share of each label is spread evenly over all c classes (Szegedy et al., CVPR 2016).
      hard_fraction: only this share of each image's pixels is summed, those with the largest loss: ceil(fraction * pixels)
        of those that are not void (online hard example mining, Shrivastava et al., CVPR 2016).

    Returns:
      Sum of the weighted losses and sum of the weights, two float32 scalars; gradients are finite where all is void. With
      class weights each pixel has that of its label in the second sum too; with a hard fraction the second sum is that
      over all pixels, times the share of them that the first has (of hard pixels alone it would depend on the logits).
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
    weight: jax.Array | None = None,
    *,
    class_weights: tuple[float, ...] = (),
    gamma: float = 2.0,
) -> tuple[jax.Array, jax.Array]:
    """Focal loss, (1 - p)^gamma times the cross-entropy, with p the probability of the label in a softmax over classes.

    Of Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, which has it for the sigmoid; `class_weights` are its
    alpha. Arguments and results as those of `cross_entropy`, which it is at gamma 0.
    """
    counted = (labels != VOID).astype(jnp.float32)
    if weight is not None:
        counted = counted * weight[:, None, None]
    per_pixel = _per_pixel(logits, labels)
    # 1 - p, without cancellation; above 0, where the gradient of a power below 1 is not finite.
    missing = jnp.maximum(-jnp.expm1(-per_pixel), jnp.finfo(per_pixel.dtype).tiny)
    counted = counted * _label_weights(labels, class_weights)
    return (missing**gamma * per_pixel * counted).sum(), counted.sum()


def dice(logits: jax.Array, labels: jax.Array, weight: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Soft Dice loss of each image, 1 - 2 sum(p t) / (sum(p) + sum(t)): the mean over the classes in its truth.

    Of Milletari et al., "V-Net", 3DV 2016, with their sum of squares in the denominator replaced by plain sums, as is usual.
    optax.losses.dice_loss has no place for void: its sum(p) is over all pixels.

    Args:
      logits: float32 [b, h, w, c].
      labels: integer [b, h, w], class ids below c, or 255 for void.
      weight: float32 [b], of each image; 0 leaves it out. All 1 by default.

    Returns:
      Sum of the weighted losses, each in [0, 1], and sum of the weights of the images that are not all void; two float32
      scalars.
    """
    truth, probabilities = _truth(logits, labels), _probabilities(logits, labels)
    sizes = truth.sum(1)
    both = jnp.where(sizes > 0, probabilities.sum(1) + sizes, 1)
    return _over_images(1 - 2 * (probabilities * truth).sum(1) / both, sizes, weight)


def lovasz(logits: jax.Array, labels: jax.Array, weight: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """Lovasz-softmax loss of each image: the mean over the classes in its truth of the Jaccard loss, 1 - IoU, extended
    from sets to probabilities.

    Of Berman et al., "The Lovasz-Softmax Loss", CVPR 2018, algorithm 1 per image. Arguments and results as those of `dice`.
    """
    truth = _truth(logits, labels)
    errors = jnp.abs(truth - _probabilities(logits, labels))
    # Void has an error of 0 and so comes last, where it changes no intersection and no union of others; pixels that are
    # right beyond doubt may come behind it, and have no loss and no gradient either.
    order = jnp.argsort(-errors, axis=1)
    is_class = jnp.take_along_axis(truth, order, 1)
    sizes = truth.sum(1)
    intersection = sizes[:, None] - jnp.cumsum(is_class, 1)
    union = sizes[:, None] + jnp.cumsum(1 - is_class, 1)
    # By how much each pixel raises the Jaccard loss of those before it: 1/u if it leaves the intersection, and
    # i/(u - 1) - i/u if it joins the union. The paper subtracts neighbouring losses, which in float32 leaves few digits.
    rise = jnp.where(is_class > 0, 1 / jnp.maximum(union, 1), intersection / jnp.maximum(union * (union - 1), 1))
    rise = jnp.take_along_axis(rise, jnp.argsort(order, axis=1), 1)  # back in the order of the pixels
    return _over_images((errors * rise).sum(1), sizes, weight)


def _per_pixel(
    logits: jax.Array, labels: jax.Array, class_weights: tuple[float, ...] = (), label_smoothing: float = 0.0
) -> jax.Array:
    """Cross-entropy [b, h, w]; of no meaning where void."""
    if not label_smoothing:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, _ids(labels))
        return losses * _label_weights(labels, class_weights)
    targets = optax.smooth_labels(jax.nn.one_hot(_ids(labels), logits.shape[-1]), label_smoothing)
    return optax.softmax_cross_entropy(logits, targets * jnp.asarray(class_weights or 1.0))


def _label_weights(labels: jax.Array, class_weights: tuple[float, ...]) -> jax.Array | float:
    """Class weight of each pixel's label."""
    return jnp.asarray(class_weights)[_ids(labels)] if class_weights else 1.0


def _ids(labels: jax.Array) -> jax.Array:
    return jnp.where(labels == VOID, 0, labels).astype(jnp.int32)


def _hardest(losses: jax.Array, counted: jax.Array, fraction: float) -> tuple[jax.Array, jax.Array]:
    """Which of each image's counted pixels are its hardest, bool [b, h, w], and their share of them, [b, 1, 1].

    Of pixels with one and the same loss, the first are taken.
    """
    flat = jnp.where(counted > 0, -losses, 1).reshape(len(losses), -1)  # no loss is below 0, so void comes last
    rank = jnp.argsort(jnp.argsort(flat, axis=1), axis=1).reshape(losses.shape)
    pixels = counted.sum((1, 2), keepdims=True)
    wanted = jnp.ceil(fraction * pixels)
    return rank < wanted, wanted / jnp.maximum(pixels, 1)


def _truth(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """One-hot labels [b, pixels, c], 0 where void."""
    return jax.nn.one_hot(labels.reshape(len(labels), -1), logits.shape[-1], dtype=logits.dtype)


def _probabilities(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax [b, pixels, c], 0 where void."""
    probabilities = jnp.where((labels != VOID)[..., None], jax.nn.softmax(logits), 0)
    return probabilities.reshape(len(labels), -1, logits.shape[-1])


def _over_images(losses: jax.Array, sizes: jax.Array, weight: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Sums over images of the mean over the classes that are there, from losses and pixels [b, c]."""
    classes = (sizes > 0).sum(1)
    per_image = jnp.where(sizes > 0, losses, 0).sum(1) / jnp.maximum(classes, 1)
    counted = (classes > 0).astype(losses.dtype)
    if weight is not None:
        counted = counted * weight
    return (per_image * counted).sum(), counted.sum()


def _are_weights(numbers: Iterable[float]) -> bool:
    numbers = list(numbers)
    return all(0 <= number < math.inf for number in numbers) and any(numbers)
