"""Counts on the device, one division on the host.

A confusion matrix has the truth in its rows and the prediction in its columns; void pixels are in neither.
"""

import jax
import jax.numpy as jnp
import numpy as np


def confusion(truth: jax.Array, prediction: jax.Array, num_classes: int) -> jax.Array:
    """Confusion matrix of every image, on the device.

    Args:
      truth: integer [b, h, w], class ids or 255 for void.
      prediction: integer [b, h, w], class ids.
      num_classes: c.

    Returns:
      int32 [b, c, c], exact for images of fewer than 2^31 pixels. Add them up in int64 (`np.sum` of NumPy integers does).
    """
    classes = jnp.arange(num_classes)
    truth, prediction = ((ids[..., None] == classes).astype(jnp.float32) for ids in (truth, prediction))
    # As a product of one-hots, row by row: a float32 sum over one row is exact, the rows are added as integers.
    rows = jnp.einsum("bhwi,bhwj->bhij", truth, prediction)
    return rows.astype(jnp.int32).sum(1)


def count(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """The same for one image, on the host.

    Args:
      truth: uint8 [h, w], class ids or 255 for void.
      prediction: uint8 [h, w], class ids.
      num_classes: c.

    Returns:
      int64 [c, c].
    """
    pairs = truth.astype(np.int32) * num_classes + prediction
    return np.bincount(pairs.ravel(), minlength=256 * num_classes).reshape(256, num_classes)[:num_classes]


def iou(counts: np.ndarray) -> np.ndarray:
    """IoU of every class, float64 [..., c], from confusion [..., c, c]; NaN for a class in neither truth nor prediction."""
    counts = counts.astype(np.int64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(-1) + counts.sum(-2) - hits
    return _divide(hits, union)


def foreground(counts: np.ndarray) -> np.ndarray:
    """Confusion [..., c, c] -> [..., 2, 2]: background against all other classes together."""
    counts = counts.astype(np.int64)
    from_background, all_true = counts[..., 0, :], counts.sum(-2)
    true_negative = counts[..., 0, 0]
    false_positive = from_background.sum(-1) - true_negative
    false_negative = all_true[..., 0] - true_negative
    true_positive = counts.sum((-2, -1)) - true_negative - false_positive - false_negative
    rows = [np.stack([true_negative, false_positive], -1), np.stack([false_negative, true_positive], -1)]
    return np.stack(rows, -2)


def hand_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """IoU, precision and recall of the foreground, float64 [...], from confusion [..., c, c].

    NaN where the measure has no meaning: precision where nothing is predicted, recall where nothing is there, IoU where both.
    """
    binary = foreground(counts)
    hits, predicted, there = binary[..., 1, 1], binary[..., :, 1].sum(-1), binary[..., 1, :].sum(-1)
    return {
        "iou": _divide(hits, predicted + there - hits),
        "precision": _divide(hits, predicted),
        "recall": _divide(hits, there),
    }


def summarise(counts: np.ndarray, class_names: tuple[str, ...]) -> dict:
    """All figures of a dataset.

    Args:
      counts: integer [n, c, c], the confusion of each of its images.
      class_names: c names, background first.

    Returns:
      images; mean_iou (over the classes that occur, counted over all pixels of the set); iou by class name (None for an
      absent class) with its absent_classes; pixel_accuracy; hand_iou, hand_precision and hand_recall over all pixels;
      and per_image_iou, per_image_precision and per_image_recall of the hand: means over the images where the measure has
      a meaning, with empty_images, the number of those without any hand in truth and prediction.
    """
    total = counts.astype(np.int64).sum(0)
    by_class, per_image, overall = iou(total), hand_scores(counts), hand_scores(total)
    return {
        "images": len(counts),
        "mean_iou": number(mean(by_class)),
        "iou": {name: number(value) for name, value in zip(class_names, by_class, strict=True)},
        "absent_classes": [name for name, value in zip(class_names, by_class, strict=True) if np.isnan(value)],
        "pixel_accuracy": number(_divide(np.trace(total), total.sum())),
        **{f"hand_{key}": number(value) for key, value in overall.items()},
        **{f"per_image_{key}": number(mean(values)) for key, values in per_image.items()},
        "empty_images": int(np.isnan(per_image["iou"]).sum()),
    }


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(b > 0, np.asarray(a, np.float64) / b, np.nan)


def mean(values: np.ndarray) -> float:
    """Mean of the numbers that are not NaN; NaN if there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def number(value: np.ndarray | float) -> float | None:
    """For JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)
