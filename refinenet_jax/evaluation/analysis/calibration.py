"""Calibration of the most probable class: compares confidence with accuracy."""

import numpy as np

from refinenet_jax.data.examples import VOID

BINS = 15  # as Guo et al., ICML 2017: of equal width; bin i has the confidences in (i / BINS, (i + 1) / BINS]
# Counts per bin: pixels, correct pixels, and the sum of their confidences in units of 1 / 65536. As integers they are exact in
# any order of addition.
COLUMNS = ("count", "correct", "confidence")
_STEPS = 65536


def histogram(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Returns the counts of one image.

    Args:
      probabilities: float32 [h, w, c] that sum to 1 over c.
      truth: integer [h, w], class ids or 255 for void, which is not counted.

    Returns:
      int64 [BINS, len(COLUMNS)].
    """
    counted = truth != VOID
    confidence = probabilities.max(-1)[counted]
    correct = probabilities.argmax(-1)[counted] == truth[counted]
    bins = np.clip(np.ceil(confidence * BINS) - 1, 0, BINS - 1).astype(np.int64)
    steps = np.clip(np.rint(confidence.astype(np.float64) * _STEPS), 0, _STEPS)
    columns = [np.bincount(bins, weights, BINS) for weights in (None, correct, steps)]
    return np.stack(columns, -1).astype(np.int64)


def figures(histogram: np.ndarray) -> dict[str, float]:
    """Computes calibration figures from the counts of a set, integer [BINS, len(COLUMNS)]; NaN without pixels.

    Returns:
      ece: expected calibration error, the mean over all pixels of the difference between confidence and accuracy of their
        bin (Naeini et al., AAAI 2015); accuracy; confidence: mean confidence.
        A network with more confidence than accuracy is overconfident.
    """
    count, correct, confidence = _columns(histogram)
    total = count.sum()
    if not total:
        return dict.fromkeys(("ece", "accuracy", "confidence"), float("nan"))
    return {
        "ece": float(np.abs(correct - confidence).sum() / total),
        "accuracy": float(correct.sum() / total),
        "confidence": float(confidence.sum() / total),
    }


def curve(histogram: np.ndarray) -> dict[str, np.ndarray]:
    """Computes a reliability diagram from counts [BINS, len(COLUMNS)]; each curve is float64 [BINS].

    Returns:
      confidence and accuracy: means in the bin, NaN if empty; share: share of all pixels.
    """
    count, correct, confidence = _columns(histogram)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "confidence": confidence / count,
            "accuracy": correct / count,
            "share": count / count.sum(),
        }


def _columns(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns count, correct and the sum of the confidences, float64 [BINS] each."""
    count, correct, steps = np.asarray(histogram, np.float64).T
    return count, correct, steps / _STEPS
