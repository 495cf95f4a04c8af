"""Fingerprints of pictures, by which copies and neighboring video frames are found."""

import cv2
import numpy as np

# Pictures with at least this similarity are near copies. Measured on EgoHands and rendered pictures: 0.95 or more for
# recompressed, resized or brightened copies and for frames 1/30 s apart; at most 0.3 for two videos, 0.8 for two renderings.
ALIKE = 0.9

_SIDE = 32
_FREQUENCIES = 12
# Norm of a picture with a contrast of about 3 gray levels; below it is camera noise, which is similar in all dark pictures.
_LEAST_CONTRAST = 400.0
_WEIGHTS = np.hypot(*np.mgrid[:_FREQUENCIES, :_FREQUENCIES]).astype(np.float32)
_BLOCK = 1024


def fingerprint(image: np.ndarray) -> np.ndarray:
    """Returns a descriptor of a picture that is insensitive to size, brightness, contrast and compression.

    It has the lowest frequencies of a cosine transform of the gray picture at 32 x 32, each multiplied by its frequency. The
    amplitudes of pictures fall as 1/frequency, so the weights balance all frequencies and remove the mean. Without them most
    pictures would be similar: bright at the top, dark at the bottom.

    Args:
      image: uint8 [h, w, 3] RGB.

    Returns:
      float32 [144] of norm 1, or less for a picture with almost no contrast.
    """
    small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    gray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    spectrum = (cv2.dct(gray)[:_FREQUENCIES, :_FREQUENCIES] * _WEIGHTS).ravel()
    return spectrum / max(float(np.linalg.norm(spectrum)), _LEAST_CONTRAST)


def earlier_lookalikes(fingerprints: np.ndarray, lengths: list[int]) -> np.ndarray:
    """Returns for each picture the most similar one in earlier splits, if they are near copies.

    All pairs are compared, in blocks of constant memory; 20,000 pictures take seconds.

    Args:
      fingerprints: float32 [n, k], concatenated over splits.
      lengths: number of pictures in each split, with sum n.

    Returns:
      int [n], the index of that picture, or -1.
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
    """Returns the column of the largest value in each row, or -1 if it is below ALIKE."""
    if not similarity.shape[1]:
        return np.full(len(similarity), -1)
    best = similarity.argmax(axis=1)
    return np.where(similarity[np.arange(len(best)), best] >= ALIKE, best, -1)
