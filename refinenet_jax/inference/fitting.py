"""Images brought to a longest side for the network, and scores back to the image's size."""

import cv2
import numpy as np

Size = tuple[int, int]


def fitted_size(size: Size, longest_side: int) -> Size:
    """The size (h, w) with its longer side at `longest_side` pixels, the other in proportion, at least 1."""
    return tuple(max(round(n * longest_side / max(size)), 1) for n in size)


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """uint8 [h, w, 3] at `size` (h, w): area means where it shrinks, bicubic where it grows; the same array if it fits."""
    if image.shape[:2] == size:
        return image
    shrinks = size[0] * size[1] < image.shape[0] * image.shape[1]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def resize_scores(scores: np.ndarray, size: Size) -> np.ndarray:
    """float32 [h, w, c] at `size` (h, w), bilinearly with half-pixel centres: a new array, also if it fits."""
    if scores.shape[:2] == size:
        return scores.copy()
    resized = np.empty((*size, scores.shape[-1]), np.float32)
    for i in range(scores.shape[-1]):
        resized[..., i] = cv2.resize(np.ascontiguousarray(scores[..., i]), size[::-1], interpolation=cv2.INTER_LINEAR)
    return resized
