"""Whether a network is right as often as it is confident: reliability of the most probable class."""

import numpy as np

from refinenet_jax.data.examples import VOID

BINS = 15  # as Guo et al., ICML 2017: equally wide, bin i holds the confidences in (i / BINS, (i + 1) / BINS]
# What `histogram` counts in each bin: pixels, those of the true class, and the sum of their confidences, each rounded to
# 1 / 65536. Integers all: exact, and the same however they are added up.
COLUMNS = ("count", "correct", "confidence")
_STEPS = 65536


def histogram(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Counts of one image.

    Args:
      probabilities: float32 [h, w, c], which sum to 1 over c.
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
    """What the counts of a whole set, integer [BINS, len(COLUMNS)], say; NaN without pixels.

    Returns:
      ece: expected calibration error, the mean over all pixels of how far confidence and accuracy of their bin are apart
        (Naeini et al., AAAI 2015); mce: the same of the worst bin that holds pixels; accuracy; confidence: its mean. More
        confidence than accuracy is overconfidence.
    """
    count, correct, confidence = _columns(histogram)
    used = count > 0
    if not used.any():
        return dict.fromkeys(("ece", "mce", "accuracy", "confidence"), float("nan"))
    total, gap = count.sum(), np.abs(correct - confidence)
    return {
        "ece": float(gap.sum() / total),
        "mce": float((gap[used] / count[used]).max()),
        "accuracy": float(correct.sum() / total),
        "confidence": float(confidence.sum() / total),
    }


def curve(histogram: np.ndarray) -> dict[str, np.ndarray]:
    """The reliability diagram of counts [BINS, len(COLUMNS)], float64 [BINS] each.

    Returns:
      low and high: the bin's edges; confidence and accuracy: means in the bin, NaN where it is empty; share: of all pixels.
    """
    count, correct, confidence = _columns(histogram)
    edges = np.arange(BINS + 1) / BINS
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "low": edges[:-1],
            "high": edges[1:],
            "confidence": confidence / count,
            "accuracy": correct / count,
            "share": count / count.sum(),
        }


def _columns(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """count, correct and the sum of the confidences, float64 [BINS] each."""
    count, correct, steps = np.asarray(histogram, np.float64).T
    return count, correct, steps / _STEPS
