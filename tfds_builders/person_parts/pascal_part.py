"""The annotations of persons: PASCAL-Part's .mat, drawn to a mask, and the masks that Chen et al. drew from them.

A .mat of PASCAL-Part (Chen, Mottaghi et al., CVPR 2014) holds the objects of a picture, each with its class, its mask and
the masks of its parts. Those of a person have 24 names. They overlap, so that the order of painting matters.
"""

import dataclasses
import io

import numpy as np
from etils import epath
from PIL import Image

from tfds_builders import matlab

VOID = 255
CLASS_NAMES = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")
HAND = 7  # in the masks drawn here; Chen et al. count hands to the lower arms

# The class of each part, in the order of painting, later over earlier: hair falls over shoulders, arms hide the torso, and the
# hands are last, for they rest on legs and touch faces, and nothing may cut their outlines. The neck belongs to the head:
# so it is in the masks of Chen et al., though people write that it belongs to the torso.
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
      parts: Names, of PARTS, and masks, bool [h, w], in the order of the file; empty if nobody outlined them.
    """

    mask: np.ndarray
    parts: tuple[tuple[str, np.ndarray], ...]


def read_persons(path: epath.Path) -> tuple[tuple[int, int], list[Person]]:
    """Reads the persons in an annotation of PASCAL-Part; other objects are ignored.

    Returns:
      Height and width of the masks, (0, 0) if there is no object at all; and the persons in the order of the file.

    Raises:
      ValueError: The file cannot be read, a person has a part of a name not in PARTS, or masks differ in size.
    """
    # Masks shrink to hundredths; a crowded picture has 100 MB of them.
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
    except Exception as error:  # SciPy's arrays of arrays fail in many ways where the layout is another
        raise ValueError(f"{path} is not an annotation of PASCAL-Part ({error}). Unpack it again.") from error
    return size, persons


def draw(size: tuple[int, int], persons: list[Person]) -> np.ndarray:
    """Draws the parts of all persons, class by class and not person by person.

    So it does not matter in which order the file has them: a hand on somebody else's shoulder stays whole.

    Args:
      size: Height and width.
      persons: In any order.

    Returns:
      uint8 [h, w]: 0 background, 1 to 6 as CLASS_NAMES, HAND, and VOID where there is a person but no part:
      slivers between parts, and persons whose parts nobody outlined.
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
    """Reads a mask of Chen et al.: the numbers of its palette's colours, which are class ids.

    Returns:
      uint8 [h, w]: ids of CLASS_NAMES, and VOID.

    Raises:
      ValueError: The file cannot be read, has lost its palette, or holds anything else.
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=["PNG"]) as image:
            if image.width * image.height > _MAX_PIXELS:
                raise ValueError(f"it claims {image.width}x{image.height} pixels")
            mode, mask = image.mode, np.asarray(image)
    except Exception as error:  # Which one depends on where the file is damaged.
        raise ValueError(f"{path} cannot be read as a PNG ({error}). {_UNPACK}") from error
    if mode not in ("P", "L"):
        raise ValueError(f"{path} has the mode {mode}, colours instead of class ids. {_UNPACK}")
    wrong = np.setdiff1d(mask, [*range(len(CLASS_NAMES)), VOID])
    if wrong.size:
        raise ValueError(
            f"{path} has the values {wrong[:8].tolist()}; classes are 0 to {len(CLASS_NAMES) - 1}, void is {VOID}. {_UNPACK}"
        )
    return mask
