"""Flicker: how much the hands of neighbouring frames of a video differ beyond what moved.

A mask that is right moves with the picture. So the mask of one frame is carried along the optical flow (DIS, Kroeger et al.,
ECCV 2016) to the next, and flicker is 1 - IoU of what arrives and what was predicted there: temporal consistency as in Liu et
al., ECCV 2020, for the hands and turned around. Pixels whose flow there and back does not return to where it began (covered,
uncovered, out of the picture, or moved too fast: Sundaram et al., ECCV 2010) are left out; so a mask that lags by a few pixels
flickers by less than it lags. It needs no truth and says nothing about being right: a mask that is always empty is steady. Nor
is 0 within reach where masks are drawn by hand, frame by frame: between neighbouring frames of three EgoHands videos the true
masks flicker by 0.13, so measure those of a dataset, too.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from refinenet_jax.data.examples import VOID

# In frames, a third of a second. In EgoHands' videos flow finds 95 % of the hands again one frame later, 76 % after six to ten
# (where the true masks flicker by 0.15: hardly more), 56 % after twenty.
MAX_GAP = 10
LONG_EDGE = 640  # to which larger frames are reduced, in pixels
MIN_COMPARED = 0.5  # of the hands' pixels
_LEAST_FLOW = 64


@dataclass(frozen=True)
class Pair:
    """Two neighbouring frames.

    Attributes:
      video: of both.
      previous_frame, frame: their numbers.
      flicker: in [0, 1]; NaN where there is no hand in either, or too little of them could be compared.
      compared: share of the hands' pixels that could be compared, in [0, 1]; NaN without hands.
    """

    video: str
    previous_frame: int
    frame: int
    flicker: float
    compared: float


def flicker(
    previous_image: np.ndarray, image: np.ndarray, previous_mask: np.ndarray, mask: np.ndarray
) -> tuple[float, float]:
    """Flicker of the foreground from one frame to the next.

    Args:
      previous_image, image: uint8 [h, w, 3] RGB.
      previous_mask, mask: uint8 [h, w], class ids; every class but background is a hand, 255 (void) is not compared.

    Returns:
      (flicker, compared), as in `Pair`.

    Raises:
      ValueError: the four differ in size.
    """
    sizes = {array.shape[:2] for array in (previous_image, image, previous_mask, mask)}
    if len(sizes) > 1:
        raise ValueError(f"Frames of a video must have one size, as their masks; these have {sorted(sizes)}")
    return _compare(_reduce(previous_image, previous_mask), _reduce(image, mask))


def flickers(frames: Iterable[dict], max_gap: int = MAX_GAP) -> Iterator[Pair]:
    """Flicker between neighbouring frames of videos of any length; two frames are held in memory.

    Neighbours whose numbers are more than `max_gap` apart are left out rather than told to be unsteady, so datasets that label
    a frame now and then have few pairs: EgoHands' 100 labelled frames of a video some 30, GTEA's none.

    Args:
      frames: dicts with `video` str, `frame` int, `image` uint8 [h, w, 3] and `mask` uint8 [h, w], for instance the predicted
        one; the frames of a video must come one after another, in order. `np.lexsort((frames, videos))` gives that order.
      max_gap: in frames, at least 1.

    Yields:
      Pairs, in the order of the frames.

    Raises:
      ValueError: frames out of order, or frames of a video of different sizes.
    """
    previous = None
    videos: set[str] = set()
    for example in frames:
        video, number = str(example["video"]), int(example["frame"])
        if previous is None or previous[0] != video:
            if video in videos:
                raise ValueError(f"The frames of {video} must come one after another; other videos were in between")
            videos.add(video)
            previous = None
        elif number <= previous[1]:
            raise ValueError(f"The frames of {video} must come in order; {number} came after {previous[1]}")
        present = _reduce(example["image"], example["mask"])
        if previous is not None and number - previous[1] <= max_gap:
            yield Pair(video, previous[1], number, *_compare(previous[2], present))
        previous = video, number, present


def by_video(pairs: Iterable[Pair]) -> dict[str, dict]:
    """The curve of every video.

    Args:
      pairs: of `flickers`.

    Returns:
      video -> mean (over its pairs that have a flicker; NaN if none has), frames int64 [m] and flicker float64 [m], to draw.
    """
    videos: dict[str, list[Pair]] = {}
    for pair in pairs:
        videos.setdefault(pair.video, []).append(pair)
    curves = {}
    for video, rows in videos.items():
        values = np.array([pair.flicker for pair in rows])
        known = values[~np.isnan(values)]
        curves[video] = {
            "mean": float(known.mean()) if known.size else math.nan,
            "frames": np.array([pair.frame for pair in rows], np.int64),
            "flicker": values,
        }
    return curves


def _reduce(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Grey values uint8 [h, w] and mask uint8 [h, w] of a frame, at most LONG_EDGE pixels long."""
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image {list(image.shape)} and mask {list(mask.shape)} must have one size")
    height, width = mask.shape
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = LONG_EDGE / max(height, width)
    if scale >= 1:
        return grey, mask
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)


def _compare(previous: tuple[np.ndarray, np.ndarray], present: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    (previous_grey, previous_mask), (grey, mask) = previous, present
    if grey.shape != previous_grey.shape:
        raise ValueError(
            f"Frames of a video must have one size; these have {sorted({previous_grey.shape, grey.shape})}"
        )
    if not (_is_hand(previous_mask).any() or _is_hand(mask).any()):
        return math.nan, math.nan
    x, y, returns = _origin(previous_grey, grey)
    # Nearest: a class is never mixed with another. What comes from beyond the picture is void.
    came = cv2.remap(previous_mask, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=VOID)
    union = _is_hand(came) | _is_hand(mask)
    compared = union & returns & (came != VOID) & (mask != VOID)
    share = int(np.count_nonzero(compared)) / max(int(np.count_nonzero(union)), 1)
    if share < MIN_COMPARED:
        return math.nan, share
    same = int(np.count_nonzero(compared & _is_hand(came) & _is_hand(mask)))
    return 1 - same / int(np.count_nonzero(compared)), share


def _is_hand(mask: np.ndarray) -> np.ndarray:
    return (mask != 0) & (mask != VOID)


def _origin(previous: np.ndarray, present: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where each pixel was in the frame before: x and y float32 [h, w], and bool [h, w], whether the flow there returns."""
    height, width = present.shape
    # OpenCV's flow refuses images of a few pixels, and crashes on some that are hardly larger.
    down, right = max(_LEAST_FLOW - height, 0), max(_LEAST_FLOW - width, 0)
    frames = [cv2.copyMakeBorder(grey, 0, down, 0, right, cv2.BORDER_REPLICATE) for grey in (previous, present)]
    dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward, backward = (dis.calc(*pair, None)[:height, :width] for pair in (frames, frames[::-1]))
    rows, columns = np.indices(present.shape, np.float32)
    x, y = columns + backward[..., 0], rows + backward[..., 1]
    there = cv2.remap(forward, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    squares = (there**2).sum(-1) + (backward**2).sum(-1)
    return x, y, ((there + backward) ** 2).sum(-1) <= 0.01 * squares + 0.5  # the bounds of Sundaram et al.
