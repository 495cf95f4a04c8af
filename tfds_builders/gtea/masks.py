"""Reads masks of GTEA in its three labelings, and checks all of them before a dataset is built."""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from absl import logging
from etils import epath

from tfds_builders.gtea.hand2k import Frame
from tfds_builders.messages import first_few, raise_faults
from tfds_builders.outlines import draw, read_labelme
from tfds_builders.pictures import read_binary, read_gray

SIZE = HEIGHT, WIDTH = 405, 720
SIDES = {"left": 1, "right": 2}

# Left, right and their intersection have one gray each (hand2K's Readme.txt); the values are not documented.
_GRAYS = 3
_LEAST_IOU = 0.8


def read_wrist(path: epath.Path) -> np.ndarray:
    """Reads a mask of the CVPR 2018 paper, thresholded at 128 because of JPEG: uint8 [405, 720], 1 hand.

    Raises:
      ValueError: the mask cannot be decoded or has another size.
    """
    return read_binary(path, SIZE)[0]


def read_arm(path: epath.Path) -> np.ndarray:
    """Reads a mask of hand2K, in which everything that is not black is hand or arm: uint8 [405, 720], 1 hand and arm.

    Raises:
      ValueError: the mask cannot be decoded or has another size.
    """
    return (read_gray(path, SIZE) > 0).astype(np.uint8)


def read_left_right(path: epath.Path) -> np.ndarray:
    """Draws the outlines of hand2K in the order of the file: where hands intersect, the later one is on top.

    Raises:
      ValueError: the file cannot be read, or the name of an object has no side.

    Returns:
      uint8 [405, 720]: 0 background, 1 left, 2 right hand and arm.
    """
    shapes = []
    for outline in read_labelme(path)[1]:
        side = side_of(outline.label)
        if side is None:
            raise ValueError(
                f"{path}: the object {outline.label!r} is not named as a left or right hand. Correct the name, such as 'Left"
                " hand', or mark the object as deleted."
            )
        shapes.append((outline.points, side))
    return draw(HEIGHT, WIDTH, shapes)


READERS: dict[str, Callable[[epath.Path], np.ndarray]] = {
    "wrist": read_wrist,
    "arm": read_arm,
    "left_right": read_left_right,
}


def side_of(name: str) -> int | None:
    """Returns the class of an object from its name ("Left hand", "right_hand", "LEFTHAND", "Rigth hand"); None if unclear."""
    letters = re.sub(r"[^a-z]", "", name.casefold())
    sides = [side for side in SIDES if side in letters]
    if not sides:  # possibly misspelled; the two words are too different to be confused
        sides = [s for s in SIDES if difflib.SequenceMatcher(None, letters[: len(s)], s).ratio() >= 0.75]
    return SIDES[sides[0]] if len(sides) == 1 else None


def check(frames: Iterable[Frame], read: Callable[[epath.Path], np.ndarray]) -> None:
    """Reads all labels with one of the READERS.

    Raises:
      ValueError: some labels are faulty; the message names up to 20 of them.
    """
    faults = []
    for frame in frames:
        try:
            read(frame.label)
        except ValueError as error:
            faults.append(error)
    raise_faults("Labels of GTEA cannot be used:", faults)


def warn_of_grays(frames: Iterable[Frame]) -> None:
    """Logs the gray values of the masks of hand2K if there are more than left, right and intersection need."""
    seen: Counter[int] = Counter()
    for frame in frames:
        seen.update(np.flatnonzero(np.bincount(read_gray(frame.label, SIZE).ravel())).tolist())
    grays = {gray: seen[gray] for gray in sorted(seen) if gray}
    if len(grays) > _GRAYS:
        logging.warning(
            "The masks have %d gray values, more than %d for left, right and intersection. All of them, even faint ones, count"
            " as hand or arm. Gray (number of masks): %s",
            *(len(grays), _GRAYS, first_few([f"{gray} ({count})" for gray, count in grays.items()], 10)),
        )


def warn_of_disagreement(frames: Iterable[Frame], masks: dict[str, epath.Path]) -> None:
    """Logs the frames whose outlines and mask (both hands together) have an IoU below 0.8.

    Args:
      frames: frames with outlines as labels.
      masks: masks of hand2K by frame name; some may be missing.

    Raises:
      ValueError: a file cannot be read.
    """
    compared, different = 0, []
    for frame in (frame for frame in frames if frame.name in masks):
        drawn, mask = read_left_right(frame.label) > 0, read_arm(masks[frame.name]) > 0
        compared += 1
        union = (drawn | mask).sum()
        if union and (iou := (drawn & mask).sum() / union) < _LEAST_IOU:
            different.append(f"{frame.name} (IoU {iou:.2f})")
    if different:
        logging.warning(
            "Outlines that differ from the mask; inspect them (%d of %d frames): %s",
            *(len(different), compared, first_few(different, 10)),
        )
