"""Flicker: how much the masks of neighboring frames of a video differ beyond what optical flow explains.

The mask of a frame is warped along the optical flow (DIS, Kroeger et al., ECCV 2016) to the next frame; flicker is 1 - IoU of
the warped mask and the mask predicted there (temporal consistency as in Liu et al., ECCV 2020, for hands, and inverted).
Pixels whose forward and backward flow do not match (occluded, disoccluded, outside the picture, or too fast: Sundaram et al.,
ECCV 2010) are excluded. Flicker needs no truth and says nothing about correctness: a mask that is always empty is steady.
Masks labeled frame by frame flicker as well: between neighboring frames of three EgoHands videos the true masks have a
flicker of 0.13, so compare with that of the true masks.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np

from refinenet_jax.data.examples import VOID, Source
from refinenet_jax.data.reading import read_ahead
from refinenet_jax.evaluation.metrics import mean, number
from refinenet_jax.evaluation.scores import Scores
from refinenet_jax.progress import progress_bar, say

# In frames, a third of a second. In EgoHands videos flow matches 95 % of the hands one frame later, 76 % after six to ten
# frames (where the true masks have a flicker of 0.15, hardly more), and 56 % after twenty. Sparsely labeled datasets have few
# pairs: the 100 labeled frames of an EgoHands video some 30, those of GTEA none.
MAX_GAP = 10
LONG_EDGE = 640  # pixels; larger frames are reduced to this
MIN_COMPARED = 0.5  # share of the hand pixels
_LEAST_FLOW = 64  # pixels

Flow = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Flicker:
    """Mean flicker of each video, over the same pairs of frames; NaN if no pair of a video has a flicker.

    Attributes:
      predicted: flicker of the predicted masks.
      true: flicker of the true masks, which are labeled frame by frame and therefore not steady either.
      pairs: number of pairs of frames.
    """

    predicted: dict[str, float]
    true: dict[str, float]
    pairs: int

    def figures(self) -> dict[str, float | int | None]:
        """Returns the means over the videos (None if no pair could be compared) and the numbers of videos and pairs."""
        means = {name: number(mean(np.array([*getattr(self, name).values()]))) for name in ("predicted", "true")}
        return {**means, "videos": len(self.predicted), "pairs": self.pairs}


def measure(scores: Scores, source: Source, predict: Callable[[dict], np.ndarray]) -> Flicker | None:
    """Compares neighboring frames of the videos of a split, in the order of their frame numbers; two frames are in memory.

    Args:
      scores: videos and frame numbers of the images.
      source: images and true masks.
      predict: returns the scored mask of an example.

    Returns:
      None if no two frames of a video are close enough, or if frames of a video differ in size, which is logged.
    """
    pairs = neighbors(scores)
    if not pairs:
        return None
    order = list(dict.fromkeys(index for pair in pairs for index in pair))
    pairs = set(pairs)
    rows: dict[str, list[list[float]]] = {}
    last, before = None, ()
    with progress_bar("measuring flicker", len(order)) as bar:
        for index, example in zip(order, read_ahead(source.__getitem__, order), strict=True):
            gray, *masks = _reduce(example["image"], predict(example), example["mask"])
            if (last, index) in pairs:
                last_gray, *last_masks = before
                if gray.shape != last_gray.shape:
                    say(f"Flicker is not measured: the frames of {scores.videos[index]} differ in size.")
                    return None
                flow = _flow(last_gray, gray)
                values = [_compare(flow, a, b) for a, b in zip(last_masks, masks, strict=True)]
                rows.setdefault(scores.videos[index], []).append(values)
            last, before = index, (gray, *masks)
            bar.update()
    predicted, true = ({video: mean(np.array(table)[:, i]) for video, table in rows.items()} for i in (0, 1))
    return Flicker(predicted, true, len(pairs))


def neighbors(scores: Scores) -> list[tuple[int, int]]:
    """Returns the indices of neighboring frames at most MAX_GAP apart, by video and frame number."""
    if scores.frames is None:
        return []
    videos, frames = np.array(scores.videos), scores.frames
    order: dict[tuple[str, int], int] = {}
    for i in np.lexsort((frames, videos)).tolist():
        if videos[i] and frames[i] >= 0:
            order.setdefault((videos[i], frames[i]), i)
    return [(a, b) for a, b in pairwise(order.values()) if videos[a] == videos[b] and frames[b] - frames[a] <= MAX_GAP]


def flicker(previous_image: np.ndarray, image: np.ndarray, previous_mask: np.ndarray, mask: np.ndarray) -> float:
    """Computes the flicker of the foreground from one frame to the next.

    Args:
      previous_image, image: uint8 [h, w, 3] RGB.
      previous_mask, mask: uint8 [h, w], class ids; every class but background is a hand; 255 (void) is not compared.

    Returns:
      Flicker in [0, 1]; NaN if neither frame has a hand, or less than MIN_COMPARED of the hand pixels can be compared.
    """
    (previous_gray, previous_mask), (gray, mask) = _reduce(previous_image, previous_mask), _reduce(image, mask)
    return _compare(_flow(previous_gray, gray), previous_mask, mask)


def _reduce(image: np.ndarray, *masks: np.ndarray) -> list[np.ndarray]:
    """Returns gray values and masks of a frame, uint8 [h, w], at most LONG_EDGE pixels long."""
    height, width = image.shape[:2]
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = LONG_EDGE / max(height, width)
    if scale >= 1:
        return [gray, *masks]
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    gray = cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    return [gray, *(cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) for mask in masks)]


def _compare(flow: Flow, previous_mask: np.ndarray, mask: np.ndarray) -> float:
    x, y, is_consistent = flow
    # Nearest neighbor, because classes must not be mixed. What comes from outside the picture is void.
    warped = cv2.remap(previous_mask, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=VOID)
    union = _is_hand(warped) | _is_hand(mask)
    compared = union & is_consistent & (warped != VOID) & (mask != VOID)
    count = int(np.count_nonzero(compared))
    if count < MIN_COMPARED * max(int(np.count_nonzero(union)), 1):  # also if there are no hands
        return math.nan
    return 1 - int(np.count_nonzero(compared & _is_hand(warped) & _is_hand(mask))) / count


def _is_hand(mask: np.ndarray) -> np.ndarray:
    return (mask != 0) & (mask != VOID)


def _flow(previous: np.ndarray, present: np.ndarray) -> Flow:
    """Returns where each pixel was in the previous frame (x, y float32 [h, w]) and whether its flow is consistent (bool)."""
    height, width = present.shape
    # OpenCV's flow refuses images of a few pixels, and crashes on some that are hardly larger.
    down, right = max(_LEAST_FLOW - height, 0), max(_LEAST_FLOW - width, 0)
    frames = [cv2.copyMakeBorder(gray, 0, down, 0, right, cv2.BORDER_REPLICATE) for gray in (previous, present)]
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward, backward = (dis.calc(*pair, None)[:height, :width] for pair in (frames, frames[::-1]))
    rows, columns = np.indices(present.shape, np.float32)
    x, y = columns + backward[..., 0], rows + backward[..., 1]
    forward_there = cv2.remap(forward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    squares = (forward_there**2).sum(-1) + (backward**2).sum(-1)
    return x, y, ((forward_there + backward) ** 2).sum(-1) <= 0.01 * squares + 0.5  # the bounds of Sundaram et al.
