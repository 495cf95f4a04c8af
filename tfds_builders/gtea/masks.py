"""Reads masks of GTEA in its three labelings, and checks all of them before a dataset is built."""

import difflib
import re
from collections.abc import Callable, Iterable

import numpy as np
from etils import epath

from tfds_builders.gtea.hand2k import Frame
from tfds_builders.messages import raise_faults
from tfds_builders.outlines import draw, read_labelme
from tfds_builders.pictures import read_binary, read_gray

SIZE = HEIGHT, WIDTH = 405, 720
SIDES = {"left": 1, "right": 2}


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
