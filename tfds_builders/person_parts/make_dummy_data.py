"""Writes `dummy_data/`: synthetic pictures of persons in the layout of the three official archives, small enough to commit.

    python tfds_builders/person_parts/make_dummy_data.py

A person consists of boxes; nothing is from PASCAL VOC. As in the real annotations, parts overlap (a head contains eyes, an arm
covers its torso, a hand a leg) and persons overlap. One person has no parts (which MATLAB writes as 0x0). There are objects of
other classes with parts, a picture without persons, and unrelated files.
"""

import io
import pathlib
import shutil

import numpy as np
import scipy.io
from PIL import Image

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
ARMLESS = ("head", "hair", "torso", "luleg", "ruleg")
COLORS = {"person": "tan", "cat": "dimgray"}

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


# Names in the style of VOC, with a year that it does not have.
TRAIN = {
    "1999_000001": [person(4, 2)],
    "1999_000002": [person(4, 2), person(40, 3)],
    "1999_000003": [cat(40, 30), person(2, 4), person(12, 4), person(40, 1, ())],
}
VALIDATION = {
    "1999_000010": [person(20, 3, ARMLESS), cat(2, 38)],
    "1999_000011": [person(30, 4, ("rlarm", "rhand"))],
}
NOBODY = {"1999_000020": [cat(10, 10)], "1999_000021": [person(22, 2, ())]}

# Class ids of Chen et al., independent of the code under test.
CHEN = {"torso": 2, "neck": 1, "head": 1, "leye": 1, "hair": 1} | {
    f"{side}{part}": class_id
    for side in "lr"
    for part, class_id in (("uarm", 3), ("larm", 4), ("hand", 4), ("uleg", 5), ("lleg", 6), ("foot", 6))
}


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
    content = io.BytesIO()
    scipy.io.savemat(content, {"anno": anno}, do_compression=True)
    # The first 116 bytes are free text with the time; without it, equal data gives equal files.
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + content.getvalue()[116:])


def write_picture(path: pathlib.Path, objects: list[Object], background: tuple[int, ...]) -> None:
    """Writes a JPEG with filled objects."""
    image = Image.new("RGB", (WIDTH, HEIGHT), background)
    for kind, mask, _ in objects:
        image.paste(COLORS[kind], mask=Image.fromarray(mask * 255))
    image.save(path, quality=75, optimize=True)


def write_png(path: pathlib.Path, objects: list[Object]) -> None:
    """Writes a mask in the form of Chen et al.: class ids in a PNG with the palette of VOC."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    parts = [(CHEN[name], part) for kind, _, parts in objects if kind == "person" for name, part in parts.items()]
    for class_id in (2, 1, 5, 6, 3, 4):
        for part in (part for other, part in parts if other == class_id):
            mask[part > 0] = class_id
    image = Image.fromarray(mask)
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128, 128, 0, 128, 0, 128, 128])
    image.save(path)


def main() -> None:
    """Writes dummy_data/ next to this file, replacing existing files."""
    root = pathlib.Path(__file__).parent / "dummy_data"
    shutil.rmtree(root, ignore_errors=True)
    voc, mats, chen = root / "VOCdevkit/VOC2010", root / "trainval/Annotations_Part", root / "pascal_person_part"
    masks, lists = chen / "pascal_person_part_gt", chen / "pascal_person_part_trainval_list"
    for folder in (voc / "JPEGImages", voc / "ImageSets/Main", mats, masks, lists):
        folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, objects in (TRAIN | VALIDATION | NOBODY).items():
        write_mat(mats / f"{name}.mat", objects)
        background = tuple(int(c) for c in rng.integers(0, 90, 3))
        write_picture(voc / "JPEGImages" / f"{name}.jpg", objects, background)
        if name not in NOBODY:
            write_png(masks / f"{name}.png", objects)
    for split, names in (("train", TRAIN), ("val", VALIDATION)):
        (lists / f"{split}_id.txt").write_text("".join(f"{name}\n" for name in names))
        lines = (f"/JPEGImages/{name}.jpg /pascal_person_part_gt/{name}.png\n" for name in names)
        (lists / f"{split}.txt").write_text("".join(lines))
    for split, names in (("train", [*TRAIN, "1999_000020"]), ("val", [*VALIDATION, "1999_000021"])):
        (voc / "ImageSets/Main" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    (mats / "._1999_000001.mat").write_bytes(b"stray")
    (masks / "Thumbs.db").write_bytes(b"stray")
    (voc / "JPEGImages" / "._1999_000001.jpg").write_bytes(b"stray")


if __name__ == "__main__":
    main()
