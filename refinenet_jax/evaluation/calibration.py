"""Whether a network is right as often as it is sure: reliability of the most probable class, counted on the device."""

import jax
import jax.numpy as jnp
import numpy as np

from refinenet_jax.data import VOID

BINS = 15  # as Guo et al., ICML 2017: equally wide, bin i holds the confidences in (i / BINS, (i + 1) / BINS]
# What `histogram` counts in each bin: pixels, those of the true class, and the sum of their confidences, each rounded to
# 1 / 65536, as confidence + confidence_rest / 65536. Integers all: exact, and the same however they are added up.
COLUMNS = ("count", "correct", "confidence", "confidence_rest")
_STEPS = 65536


def histogram(probabilities: jax.Array, truth: jax.Array) -> jax.Array:
    """Counts of every image, on the device.

    Args:
      probabilities: float32 [b, h, w, c], which sum to 1 over c; h and w below 2^15.
      truth: integer [b, h, w], class ids or 255 for void, which is not counted.

    Returns:
      int32 [b, BINS, len(COLUMNS)]. Add images up in int64 (`np.sum` of NumPy integers does).
    """
    examples, height, _, _ = probabilities.shape
    sure = probabilities.max(-1)
    correct = probabilities.argmax(-1) == truth
    steps = jnp.clip(jnp.round(sure * _STEPS), 0, _STEPS)
    bins = jnp.clip(jnp.ceil(sure * BINS) - 1, 0, BINS - 1)
    # Row by row first: the steps of a whole image would not fit into 32 bits. What is of no segment is dropped.
    rows = examples * height
    segments = jnp.arange(rows).reshape(examples, height, 1) * BINS + bins.astype(jnp.int32)
    segments = jnp.where(truth == VOID, rows * BINS, segments)
    parts = jnp.stack([jnp.ones_like(segments), correct.astype(jnp.int32), steps.astype(jnp.int32)], -1)
    sums = jax.ops.segment_sum(parts.reshape(-1, 3), segments.ravel(), rows * BINS)
    count, correct, steps = jnp.moveaxis(sums.reshape(examples, height, BINS, 3), -1, 0)
    return jnp.stack([count, correct, steps // _STEPS, steps % _STEPS], -1).sum(1)


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
    count, correct, whole, rest = np.asarray(histogram, np.float64).T
    return count, correct, whole + rest / _STEPS
