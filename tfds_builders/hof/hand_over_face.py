"""The official HandOverFace tree: pictures, their masks at 384x216, and their outlines at the original size.

The layout, as described by users of the dataset (Urooj and Borji, "Analysis of Hand Segmentation in the Wild", CVPR 2018):

    hand_over_face/
        images_original_size/<n>.jpg    n from 1 to 300; web pictures of all sizes, some of them gray; 216 and 221 are GIFs
        annotations/<n>.xml             LabelMe outlines in pixels of these
        images_resized/<n>.jpg          the same pictures, all resized to 384x216
        masks/<n>.png                   0 and 255, for the resized ones
"""

import dataclasses
import re
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from absl import logging
from etils import epath

from tfds_builders.messages import first_few, raise_faults
from tfds_builders.outlines import Outline, read_labelme
from tfds_builders.pictures import read_binary, read_rgb

NUMBERS = range(1, 301)
SIZE = 216, 384  # height and width of the resized pictures and the masks
SIDES = ("", "left", "right")  # "" if unknown

# Also has the outline of a person; fixed in hand_over_face_corrected. In other files an unknown label is an error.
WITH_OTHER_OBJECTS = {225}
# Appended to messages about a picture.
HINTS = {
    10: "In archives before the correction, 10.xml and 10.png belong to another picture: get the corrected archive."
}

# Names of objects, in lower case and without blanks, '_', '-' and a final number: "Left_Hand 2" is "lefthand". The spelling in
# the official files is not documented; add missing spellings here.
SPELLINGS = {
    **dict.fromkeys(("hand", "hands"), ""),
    **dict.fromkeys(("left", "lefthand", "handleft", "lhand", "handl", "lh"), "left"),
    **dict.fromkeys(("right", "righthand", "handright", "rhand", "handr", "rh"), "right"),
}

# Pixels by which an outline may leave its picture because of inexact clicks; with more, it is for another size or picture.
_MARGIN = 20

Read = TypeVar("Read")


@dataclasses.dataclass(frozen=True)
class Masked:
    """A resized picture and its mask."""

    number: int
    image: epath.Path
    mask: epath.Path


@dataclasses.dataclass(frozen=True)
class Hand:
    """The outline of one hand: float64 [n, 2] of x, y in pixels, and one of SIDES."""

    points: np.ndarray
    side: str


@dataclasses.dataclass(frozen=True)
class Outlined:
    """A picture at its original size in pixels, and its hands in the order of the file."""

    number: int
    image: epath.Path
    height: int
    width: int
    hands: tuple[Hand, ...]


def read_resized(tree: epath.Path) -> list[Masked]:
    """Lists the pictures in numeric order, and checks that they and their masks can be read.

    Raises:
      ValueError: a file is missing, cannot be read or has another size; the message has all faults.
    """

    def read(number: int, image: epath.Path, mask: epath.Path) -> Masked:
        read_rgb(image, SIZE)
        read_binary(mask, SIZE)
        return Masked(number, image, mask)

    return _read_all(tree, ("images_resized", "jpg"), ("masks", "png"), read)


def read_original(tree: epath.Path) -> list[Outlined]:
    """Reads the outlines of all pictures in numeric order, and checks that the pictures can be decoded.

    Raises:
      ValueError: a file is missing, cannot be read or does not fit; the message has all faults.
    """
    pictures = _read_all(tree, ("images_original_size", "jpg"), ("annotations", "xml"), _read_outlined)
    without = [str(picture.number) for picture in pictures if not picture.hands]
    if without:
        logging.warning("%s: no hand is outlined in %s.", tree / "annotations", ", ".join(without))
    return pictures


def _read_all(
    tree: epath.Path,
    images: tuple[str, str],
    labels: tuple[str, str],
    read: Callable[[int, epath.Path, epath.Path], Read],
) -> list[Read]:
    """Reads all pictures; `images` and `labels` are folders and the endings of their files."""
    (by_image, strays), (by_label, more_strays) = _numbered(tree, *images), _numbered(tree, *labels)
    results, faults = [], [*strays, *more_strays]
    for number in sorted(by_image.keys() | by_label.keys()):
        try:
            for (folder, ending), paths in ((images, by_image), (labels, by_label)):
                if number not in paths:
                    raise ValueError(f"{tree / folder} has no {number}.{ending}, but the other folder has this number.")
            results.append(read(number, by_image[number], by_label[number]))
        except ValueError as error:
            faults.append(f"{error} {HINTS.get(number, '')}".rstrip())
    if not faults and not results:
        faults.append("There are no pictures.")
    raise_faults(f"{tree} differs from the published HandOverFace:", faults)
    if by_image.keys() != set(NUMBERS):
        missing, others = sorted(set(NUMBERS) - by_image.keys()), sorted(by_image.keys() - set(NUMBERS))
        logging.warning(
            "%s has %d pictures; the official number is %d. Missing: %s. Not in the official dataset: %s.",
            *(tree / images[0], len(by_image), len(NUMBERS)),
            *(first_few(numbers, 20) or "none" for numbers in (missing, others)),
        )
    return results


def _numbered(tree: epath.Path, folder: str, ending: str) -> tuple[dict[int, epath.Path], list[str]]:
    """Returns the files by number, and faults of other files with this ending. Hidden files and other endings are ignored."""
    if not (tree / folder).is_dir():
        raise ValueError(f"{tree} has no folder {folder}. Unpack the whole archive again.")
    paths, strays = {}, []
    for path in sorted((tree / folder).iterdir()):
        if path.name.startswith(".") or path.suffix.lower() != f".{ending}":
            continue
        if not re.fullmatch(r"[1-9]\d{0,5}", path.stem):
            strays.append(f"{path} is not a file of the dataset (such as 1.{ending}). Remove it from this folder.")
        elif int(path.stem) in paths:
            strays.append(f"{path} and {paths[int(path.stem)].name} have the same number. Remove one of them.")
        else:
            paths[int(path.stem)] = path
    return paths, strays


def _read_outlined(number: int, image: epath.Path, xml: epath.Path) -> Outlined:
    height, width = read_rgb(image).shape[:2]
    size, outlines = read_labelme(xml)
    if size not in (None, (height, width)):
        raise ValueError(
            f"{xml} is for a picture of {size[1]}x{size[0]}, but {image} is {width}x{height}: another picture or size. Get the"
            " official file; if the outlines still fit, delete <imagesize>."
        )
    hands = []
    for index, outline in enumerate(outlines):
        where = f"{xml}: outline {index} ({outline.label!r})"
        if ((outline.points < -_MARGIN) | (outline.points > (width + _MARGIN, height + _MARGIN))).any():
            raise ValueError(
                f"{where} leaves {image}, which is {width}x{height}: it was drawn on another picture or size. Get the official"
                " files."
            )
        side = _side(where, outline)
        if side is not None:
            hands.append(Hand(outline.points, side))
        elif number in WITH_OTHER_OBJECTS:
            logging.warning("%s is not a hand; skipped.", where)
        else:
            raise ValueError(
                f"{where} has an unknown label. Known labels, ignoring case, blanks, '_', '-' and a final number, are "
                f"{', '.join(SPELLINGS)}. If it means a hand, add it to SPELLINGS in hof/hand_over_face.py; otherwise mark the"
                " object as deleted."
            )
    return Outlined(number, image, height, width, tuple(hands))


def _side(where: str, outline: Outline) -> str | None:
    """Returns one of SIDES; None if the outline is not a hand.

    In their annotations of EgoHands the owners name the object "hand" and write "left,holding,..." into its attributes.
    """
    key = re.sub(r"[\s_-]+", "", outline.label.lower()).rstrip("0123456789")
    if key not in SPELLINGS:
        return None
    sides = {"left", "right"} & {*re.split(r"[^a-z]+", outline.attributes.lower())} | {SPELLINGS[key]} - {""}
    if len(sides) > 1:
        raise ValueError(f"{where}, with attributes {outline.attributes!r}, is both left and right. Correct the file.")
    return sides.pop() if sides else ""
