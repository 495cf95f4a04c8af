"""Flicker: how much the masks of neighboring frames of a video differ beyond what optical flow explains.

The mask of a frame is warped along the optical flow (DIS, Kroeger et al., ECCV 2016) to the next frame; flicker is 1 - IoU of
the warped mask and the mask predicted there (temporal consistency as in Liu et al., ECCV 2020, for hands, and inverted).
Pixels whose forward and backward flow do not match (occluded, disoccluded, outside the picture, or too fast: Sundaram et al.,
ECCV 2010) are excluded. Flicker needs no truth and says nothing about correctness: a mask that is always empty is steady.
Masks labeled frame by frame flicker as well: between neighboring frames of three EgoHands videos the true masks have a
flicker of 0.13, so compare with that of the true masks.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from refinenet_jax.data.examples import VOID

# In frames, a third of a second. In EgoHands videos flow matches 95 % of the hands one frame later, 76 % after six to ten
# frames (where the true masks have a flicker of 0.15, hardly more), and 56 % after twenty.
MAX_GAP = 10
LONG_EDGE = 640  # pixels; larger frames are reduced to this
MIN_COMPARED = 0.5  # share of the hand pixels
_LEAST_FLOW = 64  # pixels


@dataclass(frozen=True)
class Pair:
    """Two neighboring frames.

    Attributes:
      video: video of both.
      previous_frame, frame: frame numbers.
      flicker: in [0, 1]; NaN if neither has a hand or too little could be compared.
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
    """Computes the flicker of the foreground from one frame to the next.

    Args:
      previous_image, image: uint8 [h, w, 3] RGB.
      previous_mask, mask: uint8 [h, w], class ids; every class but background is a hand; 255 (void) is not compared.

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
    """Yields the flicker between neighboring frames of videos of any length; two frames are kept in memory.

    Neighbors whose numbers differ by more than `max_gap` are skipped, so sparsely labeled datasets have few pairs: the 100
    labeled frames of an EgoHands video some 30, those of GTEA none.

    Args:
      frames: dicts with `video` str, `frame` int, `image` uint8 [h, w, 3] and `mask` uint8 [h, w]; grouped by video and sorted
        by frame number (`np.lexsort((frames, videos))`).
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
    """Collects the pairs into a curve for every video.

    Args:
      pairs: result of `flickers`.

    Returns:
      video -> mean (over its pairs with a flicker; NaN if there are none), frames int64 [m] and flicker float64 [m].
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
    """Returns gray values and mask of a frame, both uint8 [h, w], at most LONG_EDGE pixels long."""
    if image.shape[:2] != mask.shape:
        raise ValueError(f"image {list(image.shape)} and mask {list(mask.shape)} must have one size")
    height, width = mask.shape
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    scale = LONG_EDGE / max(height, width)
    if scale >= 1:
        return gray, mask
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    return cv2.resize(gray, size, interpolation=cv2.INTER_AREA), cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)


def _compare(previous: tuple[np.ndarray, np.ndarray], present: tuple[np.ndarray, np.ndarray]) -> tuple[float, float]:
    (previous_gray, previous_mask), (gray, mask) = previous, present
    if gray.shape != previous_gray.shape:
        raise ValueError(
            f"Frames of a video must have one size; these have {sorted({previous_gray.shape, gray.shape})}"
        )
    if not (_is_hand(previous_mask).any() or _is_hand(mask).any()):
        return math.nan, math.nan
    x, y, returns = _origin(previous_gray, gray)
    # Nearest neighbor, because classes must not be mixed. What comes from outside the picture is void.
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
