"""Annotations of persons: .mat files of PASCAL-Part, drawn to masks, and the masks that Chen et al. drew from them.

A .mat of PASCAL-Part (Chen, Mottaghi et al., CVPR 2014) contains the objects of a picture, each with its class, its mask and
the masks of its parts. Parts of a person have 24 names. They overlap, so that the order of drawing matters.
"""

import dataclasses
import io

import numpy as np
from etils import epath
from PIL import Image

from tfds_builders import matlab

VOID = 255
CLASS_NAMES = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")
HAND = 7  # in masks drawn here; in those of Chen et al., hands belong to the lower arms

# The class of each part in the order of drawing, later over earlier: hair covers shoulders, arms cover the torso, and hands
# come last, because they rest on legs and touch faces, and their outlines must stay complete. The neck belongs to the head, as
# in the masks of Chen et al., although it is often said to belong to the torso.
_PAINT_ORDER = (
    ("torso", 2),
    ("neck head leye reye lear rear lebrow rebrow nose mouth hair", 1),
    ("luleg ruleg", 5),
    ("llleg rlleg lfoot rfoot", 6),
    ("luarm ruarm", 3),
    ("llarm rlarm", 4),
    ("lhand rhand", HAND),
)
PARTS = {part: class_id for parts, class_id in _PAINT_ORDER for part in parts.split()}

# Several times the largest file and picture (at most 500 x 500).
_MAX_FILE_BYTES = 16 << 20
_MAX_PIXELS = 4 << 20
_UNPACK = "Unpack it again, and do not save it with an editor."


@dataclasses.dataclass(frozen=True)
class Person:
    """One person.

    Attributes:
      mask: bool [h, w].
      parts: names from PARTS with masks, bool [h, w], in the order of the file; empty if the parts are not annotated.
    """

    mask: np.ndarray
    parts: tuple[tuple[str, np.ndarray], ...]


def read_persons(path: epath.Path) -> tuple[tuple[int, int], list[Person]]:
    """Reads the persons in an annotation of PASCAL-Part; other objects are ignored.

    Returns:
      Height and width of the masks, (0, 0) if there is no object; and the persons in the order of the file.

    Raises:
      ValueError: the file cannot be read, a person has a part with a name not in PARTS, or masks differ in size.
    """
    # Masks compress to about 1 %; a crowded picture has 100 MB of them.
    anno = matlab.load(path, "anno", max_bytes=_MAX_FILE_BYTES, max_unpacked=256 << 20)
    size, persons = (0, 0), []
    try:
        for index, item in enumerate(anno[0, 0]["objects"].ravel()):
            kind = str(item["class"].item())
            where = f"object {index} ({kind})"
            if item["class"].dtype.kind != "U":
                raise ValueError(f"{where} has a class that is not text")
            size = size if index else item["mask"].shape
            parts = []
            if kind == "person" and item["parts"].size:
                parts = [(str(part["part_name"].item()), part["mask"]) for part in item["parts"].ravel()]
            if unknown := [name for name, _ in parts if name not in PARTS]:
                raise ValueError(f"{where} has the parts {unknown}; those of a person are {' '.join(PARTS)}")
            for name, mask in [("the mask", item["mask"]), *parts]:
                if mask.dtype.kind not in "buif" or mask.shape != size or len(size) != 2 or mask.size > _MAX_PIXELS:
                    raise ValueError(f"{name} of {where} is {mask.dtype} {mask.shape}; the mask of object 0 is {size}")
            if kind == "person":
                persons.append(Person(item["mask"] > 0, tuple((name, mask > 0) for name, mask in parts)))
    except Exception as error:  # nested arrays of another layout fail in many ways
        raise ValueError(f"{path} is not an annotation of PASCAL-Part ({error}). Unpack it again.") from error
    return size, persons


def draw(size: tuple[int, int], persons: list[Person]) -> np.ndarray:
    """Draws the parts of all persons, class by class and not person by person.

    The result does not depend on the order in the file: a hand on another person's shoulder stays complete.

    Args:
      size: height and width.
      persons: persons in any order.

    Returns:
      uint8 [h, w]: 0 background, 1 to 6 as in CLASS_NAMES, HAND, and VOID where a person has no part: gaps between parts, and
      persons without annotated parts.
    """
    canvas = np.zeros(size, np.uint8)
    for person in persons:
        canvas[person.mask] = VOID
    for class_id in dict.fromkeys(PARTS.values()):
        for person in persons:
            for name, mask in person.parts:
                if PARTS[name] == class_id:
                    canvas[mask] = class_id
    return canvas


def read_png(path: epath.Path) -> np.ndarray:
    """Reads a mask of Chen et al., a palette PNG whose values are class ids.

    Returns:
      uint8 [h, w]: ids of CLASS_NAMES, and VOID.

    Raises:
      ValueError: the file cannot be read, has lost its palette, or has other values.
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=["PNG"]) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise ValueError(f"it has {image.width}x{image.height} pixels")
            mode, mask = image.mode, np.asarray(image)
    except Exception as error:  # the type depends on the damage
        raise ValueError(f"{path} cannot be read as a PNG ({error}). {_UNPACK}") from error
    if mode not in ("P", "L"):
        raise ValueError(f"{path} has the mode {mode}, colors instead of class ids. {_UNPACK}")
    wrong = np.setdiff1d(mask, [*range(len(CLASS_NAMES)), VOID])
    if wrong.size:
        raise ValueError(f"{path} has the values {wrong[:8].tolist()}, which are no classes. {_UNPACK}")
    return mask
