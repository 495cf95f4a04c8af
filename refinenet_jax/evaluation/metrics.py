"""IoU, precision and recall from integer confusion counts.

A confusion matrix has truth in the rows and prediction in the columns; void pixels are not counted.
"""

import jax
import jax.numpy as jnp
import numpy as np


def confusion(truth: jax.Array, prediction: jax.Array, num_classes: int) -> jax.Array:
    """Computes the confusion matrix of every image on the device.

    Args:
      truth: integer [b, h, w], class ids or 255 for void.
      prediction: integer [b, h, w], class ids.
      num_classes: number of classes c.

    Returns:
      int32 [b, c, c], exact for images of fewer than 2^31 pixels. Add them in int64 (`np.sum` of NumPy integers does).
    """
    classes = jnp.arange(num_classes)
    truth, prediction = ((ids[..., None] == classes).astype(jnp.float32) for ids in (truth, prediction))
    # Products of one-hot rows: a float32 sum over one row is exact, and the rows are added as integers.
    rows = jnp.einsum("bhwi,bhwj->bhij", truth, prediction)
    return rows.astype(jnp.int32).sum(1)


def count(truth: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """Computes the confusion matrix of one image on the host.

    Args:
      truth: uint8 [h, w], class ids or 255 for void.
      prediction: uint8 [h, w], class ids.
      num_classes: number of classes c.

    Returns:
      int64 [c, c].
    """
    pairs = truth.astype(np.int32) * num_classes + prediction
    return np.bincount(pairs.ravel(), minlength=256 * num_classes).reshape(256, num_classes)[:num_classes]


def iou(counts: np.ndarray) -> np.ndarray:
    """Returns the IoU of every class, float64 [..., c], from confusion [..., c, c]; NaN for absent classes."""
    counts = counts.astype(np.int64)
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    union = counts.sum(-1) + counts.sum(-2) - hits
    return _divide(hits, union)


def foreground(counts: np.ndarray) -> np.ndarray:
    """Reduces confusion [..., c, c] to [..., 2, 2]: background and all other classes together."""
    counts = counts.astype(np.int64)
    from_background, all_true = counts[..., 0, :], counts.sum(-2)
    true_negative = counts[..., 0, 0]
    false_positive = from_background.sum(-1) - true_negative
    false_negative = all_true[..., 0] - true_negative
    true_positive = counts.sum((-2, -1)) - true_negative - false_positive - false_negative
    rows = [np.stack([true_negative, false_positive], -1), np.stack([false_negative, true_positive], -1)]
    return np.stack(rows, -2)


def hand_scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Returns IoU, precision and recall of the foreground, float64 [...], from confusion [..., c, c].

    NaN if undefined: precision if nothing is predicted, recall if there is no foreground, IoU if both.
    """
    binary = foreground(counts)
    hits, predicted, true = binary[..., 1, 1], binary[..., :, 1].sum(-1), binary[..., 1, :].sum(-1)
    return {
        "iou": _divide(hits, predicted + true - hits),
        "precision": _divide(hits, predicted),
        "recall": _divide(hits, true),
    }


def summarize(counts: np.ndarray, class_names: tuple[str, ...]) -> dict:
    """Returns all figures of a dataset.

    Args:
      counts: integer [n, c, c], confusion of each image.
      class_names: c names, background first.

    Returns:
      images; mean_iou (over the classes that occur, from all pixels of the set); iou by class name (None for an absent
      class); absent_classes; pixel_accuracy; hand_iou, hand_precision and hand_recall over all pixels; per_image_iou,
      per_image_precision and per_image_recall of the hand, means over the images in which they are defined; empty_images,
      the number of images without hands in truth and prediction.
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
    """Returns the mean of the values that are not NaN; NaN if there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def number(value: np.ndarray | float) -> float | None:
    """Returns a float, or None for NaN, which JSON does not have."""
    return None if np.isnan(value) else float(value)
