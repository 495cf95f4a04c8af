"""Fingerprints of pictures: which are copies of each other, or as alike as neighboring frames of a video."""

import cv2
import numpy as np

# Pictures with this similarity or more look alike. Measured on EgoHands and rendered pictures: 0.95 and more for copies
# recompressed, resized or brightened, and for frames 1/30 s apart; at most 0.3 for two videos, 0.8 for two renderings.
ALIKE = 0.9

_SIDE = 32
_FREQUENCIES = 12
# Of a picture with a contrast of about 3 gray levels; below lies camera noise, which is alike in all dark pictures.
_LEAST_CONTRAST = 400.0
_WEIGHTS = np.hypot(*np.mgrid[:_FREQUENCIES, :_FREQUENCIES]).astype(np.float32)
_BLOCK = 1024


def fingerprint(image: np.ndarray) -> np.ndarray:
    """What a picture looks like at a glance, whatever its size, brightness, contrast and compression.

    The lowest frequencies of a cosine transform of the gray picture at 32 x 32, each times its frequency. Pictures have
    amplitudes that fall as 1/frequency, so the weights make all count alike, and the mean drops out. Without them most
    pictures resemble each other: bright above, dark below.

    Args:
      image: uint8 [h, w, 3] RGB.

    Returns:
      float32 [144] of length 1, shorter for a picture with almost no contrast.
    """
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    spectrum = (cv2.dct(gray)[:_FREQUENCIES, :_FREQUENCIES] * _WEIGHTS).ravel()
    return spectrum / max(float(np.linalg.norm(spectrum)), _LEAST_CONTRAST)


def earlier_lookalikes(fingerprints: np.ndarray, lengths: list[int]) -> np.ndarray:
    """For each picture the one most like it among those of earlier splits, if the two look alike.

    Compares all with all, in blocks of constant memory: 20,000 pictures take seconds.

    Args:
      fingerprints: float32 [n, k], split after split.
      lengths: of the splits, with sum n.

    Returns:
      Int [n]: its index; -1 for none.
    """
    earlier = np.full(len(fingerprints), -1)
    first = 0
    for length in lengths:
        for start in range(first, first + length, _BLOCK):
            stop = min(start + _BLOCK, first + length)
            earlier[start:stop] = _best(fingerprints[start:stop] @ fingerprints[:first].T)
        first += length
    return earlier


def _best(similarity: np.ndarray) -> np.ndarray:
    """The column of the largest value of each row, -1 where that is below ALIKE."""
    if not similarity.shape[1]:
        return np.full(len(similarity), -1)
    best = similarity.argmax(axis=1)
    return np.where(similarity[np.arange(len(best)), best] >= ALIKE, best, -1)
