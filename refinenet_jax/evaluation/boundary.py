"""Boundary F-score and boundary IoU of the foreground, from integer counts that can be added over images.

Foreground is every class but background, so exchanging left and right hands costs nothing here. Void (255, in either mask) is
ignored: both masks are assumed to be equal there, with the class of the other mask, and no pixel there is counted. An outline
inside void costs nothing, and an outline that crosses it is measured from the edge of the void.
"""

import cv2
import numpy as np

from refinenet_jax.data.examples import VOID

# Pixel counts: outline of the prediction and how much of it is near the true outline; the same with truth and prediction
# exchanged; intersection and union of the bands along the inside of both outlines.
COLUMNS = ("predicted", "predicted_hits", "true", "true_hits", "band_intersection", "band_union")
SCORES = ("boundary_f", "boundary_precision", "boundary_recall", "boundary_iou")
TOLERANCE = (
    0.008  # of the image's diagonal: how far an outline may be off in the F-score (DAVIS, Perazzi et al., CVPR 2016)
)
BAND = 0.02  # of the image's diagonal: width of the band in boundary IoU (Cheng et al., CVPR 2021)


def counts(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Returns the outline counts of one image.

    F-score (Martin et al., PAMI 2004; Csurka et al., BMVC 2013), as DAVIS computes it: outline pixels are those that differ
    from their neighbor to the right, below or diagonally below; a pixel is a hit if the other mask has an outline pixel
    within ceil(TOLERANCE x diagonal) pixels (Euclidean). The border of the image is not an outline.

    Boundary IoU (Cheng et al., CVPR 2021): the bands are the foreground pixels with a pixel that is not foreground at most
    round(BAND x diagonal) away, at least 1, counted along rows, columns and diagonals alike. As in the authors' code nothing
    outside the image is foreground: if the border cuts off a hand, the border is its boundary.

    Args:
      truth: uint8 [h, w], class ids or 255 for void.
      prediction: uint8 [h, w], the same.

    Returns:
      int64 [len(COLUMNS)].

    Raises:
      ValueError: the masks differ in size.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth {list(truth.shape)} and prediction {list(prediction.shape)} must have one size")
    diagonal = np.hypot(*truth.shape)
    radius, width = int(np.ceil(TOLERANCE * diagonal)), max(round(BAND * diagonal), 1)
    # All that is far from both masks has no effect.
    left, top, across, down = cv2.boundingRect(truth | prediction)
    rows, columns = (slice(max(at - width, 0), at + length + width) for at, length in ((top, down), (left, across)))
    truth, prediction = truth[rows, columns], prediction[rows, columns]
    counted = None
    if (truth == VOID).any() or (prediction == VOID).any():
        counted = (truth != VOID) & (prediction != VOID)
        truth, prediction = np.where(truth == VOID, prediction, truth), np.where(prediction == VOID, truth, prediction)
        both = (truth == VOID) & (prediction == VOID)
        truth, prediction = np.where(both, 0, truth), np.where(both, 0, prediction)
    masks = [(mask != 0).view(np.uint8) for mask in (truth, prediction)]
    true, predicted = (_outline(mask) for mask in masks)
    true_hits, predicted_hits = _near(true, predicted, radius), _near(predicted, true, radius)
    true_band, predicted_band = (_band(mask, width) for mask in masks)
    regions = predicted, predicted_hits, true, true_hits, true_band & predicted_band, true_band | predicted_band
    if counted is not None:
        regions = tuple(region & counted for region in regions)
    return np.array([np.count_nonzero(region) for region in regions], np.int64)


def scores(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the scores from counts, per image or of a whole set whose counts were added.

    Args:
      counts: integer [..., len(COLUMNS)].

    Returns:
      boundary_f, boundary_precision, boundary_recall and boundary_iou, float64 [...]. NaN if undefined:
      precision without a predicted outline, recall without a true one, the other two without both. The F-score of an outline
      and no outline is 0. (DAVIS gives 1 if both are empty; an image without hands would then count as correct.)
    """
    predicted, predicted_hits, true, true_hits, intersection, union = np.moveaxis(np.asarray(counts, np.float64), -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = predicted_hits / predicted, true_hits / true
        f = np.where(predicted_hits * true_hits > 0, 2 * precision * recall / (precision + recall), 0.0)
        f = np.where(predicted + true > 0, f, np.nan)
        return dict(zip(SCORES, (f, precision, recall, intersection / union), strict=True))


def _outline(mask: np.ndarray) -> np.ndarray:
    """Pixels of a 0/1 mask that differ from their neighbor to the right, below or diagonally below, uint8 [h, w]."""
    outline = np.zeros_like(mask)
    outline[:, :-1] = mask[:, :-1] ^ mask[:, 1:]
    outline[:-1] |= mask[:-1] ^ mask[1:]
    outline[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return outline


def _near(outline: np.ndarray, other: np.ndarray, radius: int) -> np.ndarray:
    """Pixels of an outline within `radius` pixels of the other outline, uint8 [h, w]."""
    if not other.any():
        return other
    distance = cv2.distanceTransform(1 - other, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return outline & (distance <= radius + 1e-3)


def _band(mask: np.ndarray, width: int) -> np.ndarray:
    """Foreground pixels that `width` erosions by 3x3 take away, uint8 [h, w]."""
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)  # the same as that many erosions
    return mask ^ cv2.erode(mask, square, borderType=cv2.BORDER_CONSTANT, borderValue=0)
