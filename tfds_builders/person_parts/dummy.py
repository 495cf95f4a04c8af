"""Persons of the dummy data and of the tests, which consist of boxes; nothing is from PASCAL VOC.

As in the real annotations, parts overlap (a head contains eyes, an arm covers its torso, a hand a leg) and persons overlap.
"""

import pathlib

import numpy as np
import scipy.io

HEIGHT, WIDTH = 48, 64

# Left, top, right, bottom of each part, relative to the person's upper left corner. The person is the union of all parts and a
# belt, which belongs to no part.
BOXES = {
    "head": (6, 0, 14, 8),
    "leye": (8, 2, 9, 3),
    "hair": (5, 0, 15, 3),
    "neck": (8, 7, 12, 11),
    "torso": (5, 10, 15, 24),
    "luarm": (2, 11, 6, 18),
    "llarm": (4, 17, 9, 22),
    "lhand": (8, 19, 12, 23),
    "ruarm": (14, 11, 18, 18),
    "rlarm": (15, 17, 18, 25),
    "rhand": (12, 24, 17, 29),
    "luleg": (5, 26, 10, 34),
    "ruleg": (10, 26, 15, 34),
    "llleg": (5, 33, 9, 40),
    "lfoot": (4, 39, 9, 42),
}
BELT = (5, 24, 15, 26)

Object = tuple[str, np.ndarray, dict[str, np.ndarray]]


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    """Returns a mask, uint8 [48, 64], that is 1 in a box (right and bottom exclusive) and 0 elsewhere."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def person(left: int, top: int, parts: tuple[str, ...] = tuple(BOXES)) -> Object:
    """Returns a person with these parts; without any, only the outline is known."""
    shift = (left, top, left, top)
    masks = {name: box(*np.add(BOXES[name], shift)) for name in parts}
    outline = [*masks.values()] or [box(left + 5, top, left + 15, top + 20)]
    return "person", np.maximum.reduce([*outline, box(*np.add(BELT, shift))]), masks


def cat(left: int, top: int) -> Object:
    """Returns a cat, whose parts have some names in common with those of persons."""
    body = box(left, top, left + 12, top + 7)
    return "cat", body, {"head": box(left, top, left + 4, top + 4), "lfpa": box(left, top + 5, left + 2, top + 7)}


def write_mat(path: pathlib.Path, objects: list[Object]) -> None:
    """Writes an annotation in the official form: nested structs in a compressed MATLAB 5 file."""
    items = np.empty((1, len(objects)), [(name, object) for name in ("class", "class_ind", "mask", "parts")])
    for i, (kind, mask, parts) in enumerate(objects):
        struct = np.empty((1, len(parts)) if parts else (0, 0), [("part_name", object), ("mask", object)])
        for j, part in enumerate(parts.items()):
            struct[0, j] = part
        items[0, i] = kind, 15 if kind == "person" else 8, mask, struct
    anno = np.empty((1, 1), [("imname", object), ("objects", object)])
    anno[0, 0] = path.stem, items
    scipy.io.savemat(path, {"anno": anno}, appendmat=False, do_compression=True)
