"""Pictures of errors: the worst images of a set, and a gallery from best to worst."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from refinenet_jax import visualize
from refinenet_jax.data.examples import VOID, Source
from refinenet_jax.evaluation import metrics
from refinenet_jax.evaluation.scores import Scores

Predict = Callable[[dict], np.ndarray]  # returns the scored mask, uint8 [h, w], of an example

# After Okabe and Ito: distinguishable for color-blind readers, and unlike skin.
COLORS = {
    "hand, found": (0, 158, 115),
    "false positive": (230, 75, 0),
    "false negative": (0, 110, 230),
    "other class": (204, 121, 220),
    "void, not counted": visualize.VOID_COLOR,
}
TITLES = ("image", "truth", "prediction", "errors")
_PER_VIDEO = 2  # worst images per video; more would look the same
_LONG_SIDE = 560  # pixels of a picture on a page


def errors(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Draws correct, false positive, false negative and confused pixels in COLORS on the gray image.

    Args:
      image: uint8 [h, w, 3] RGB.
      truth: uint8 [h, w], class ids or 255 for void.
      prediction: uint8 [h, w], class ids.

    Returns:
      uint8 [h, w, 3] RGB.
    """
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, -1)
    result = 0.55 * gray + 70.0
    true, found, counted = truth != 0, prediction != 0, truth != VOID
    regions = {
        "hand, found": (true & (truth == prediction) & counted, 0.55),
        "false positive": (~true & found, 0.8),
        "false negative": (true & ~found & counted, 0.8),
        "other class": (true & found & (truth != prediction) & counted, 0.8),
        "void, not counted": (~counted, 0.9),
    }
    for name, (region, opacity) in regions.items():
        result[region] = (1 - opacity) * result[region] + opacity * np.array(COLORS[name])
    return result.astype(np.uint8)


def worst(scores: Scores, limit: int = 10) -> list[int]:
    """Returns the images with the lowest hand IoU (ties: most wrong pixels first), at most two of one video.

    Images without hands in truth and prediction are excluded.
    """
    ious = scores.hand_iou
    wrong = scores.counts.sum((1, 2)) - np.trace(scores.counts, axis1=1, axis2=2)
    order = np.lexsort((-wrong, ious))
    picked: list[int] = []
    of_video: dict[str, int] = {}
    for index in order[~np.isnan(ious[order])].tolist():
        video = scores.videos[index]
        of_video[video] = of_video.get(video, 0) + bool(video)
        if of_video[video] <= _PER_VIDEO and len(picked) < limit:
            picked.append(index)
    return picked


def cases(
    indices: list[int], scores: Scores, source: Source, predict: Predict
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yields a caption, and the pictures in the order of TITLES, for the images at `indices`; large pictures are reduced."""
    by_image = metrics.hand_scores(scores.counts)
    for index in indices:
        values = {"IoU" if key == "iou" else key: values[index] for key, values in by_image.items()}
        caption = [f"{key} {'-' if np.isnan(value) else f'{value:.2f}'}" for key, value in values.items()]
        yield f"{scores.ids[index]}: {', '.join(caption)}", [_reduced(p) for p in _pictures(source[index], predict)]


def write(path: Path, predict: Predict, source: Source, scores: Scores) -> bool:
    """Writes a picture of the two best, two median and two worst images by hand IoU, with the columns TITLES.

    Args:
      path: PNG or JPEG file to write.
      predict: returns the scored mask of an example.
      source: images of the split.
      scores: scores of the split.

    Returns:
      Whether a picture was written: the split has an image with a hand.
    """
    ious = scores.hand_iou
    order = np.flatnonzero(~np.isnan(ious))
    order = order[np.argsort(ious[order], kind="stable")]
    if not len(order):
        return False
    middle = len(order) // 2
    picks = {"best": order[:-3:-1], "median": order[middle : middle + 2], "worst": order[:2]}
    rows, captions = [], []
    for label, indices in picks.items():
        for index in indices:
            rows.append(_pictures(source[int(index)], predict))
            captions.append(f"{label}: {scores.ids[index]}   hand IoU {ious[index]:.3f}")
    titles = (*TITLES[:-1], "errors: orange false positive, blue false negative")
    visualize.write(str(path), visualize.gallery(rows, captions, titles))
    return True


def _pictures(example: dict, predict: Predict) -> tuple[np.ndarray, ...]:
    image, truth, prediction = example["image"], example["mask"], predict(example)
    overlays = visualize.overlay(image, truth), visualize.overlay(image, prediction)
    return image, *overlays, errors(image, truth, prediction)


def _reduced(picture: np.ndarray) -> np.ndarray:
    scale = min(_LONG_SIDE / max(picture.shape[:2]), 1)
    size = tuple(max(round(n * scale), 1) for n in picture.shape[1::-1])
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
