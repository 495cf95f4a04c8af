"""Reads COCO annotations (cocodataset.org/#format-data) and draws their regions into masks.

The whole file is checked before anything is drawn, so that pycocotools' C code gets no input that could crash it or fill the
memory. Run lengths are decoded here.
"""

import dataclasses
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from refinenet_jax.data.examples import DataError, first_few, raise_together
from refinenet_jax.data.folders.annotation import Annotation, Entries, Shape, error, parse_json
from refinenet_jax.data.folders.listing import SPLIT_NAMES, child, split_of
from refinenet_jax.data.images import MAX_PIXELS
from refinenet_jax.data.reading import read_all, read_bytes

ROBOFLOW = "_annotations.coco.json"

# The annotations of COCO's training set have 450 MB.
_MAX_BYTES = 1 << 30
# The memory that pycocotools needs grows with the length of the outlines, in fifths of a pixel.
_MAX_LENGTH = 1_000_000


@dataclasses.dataclass(frozen=True)
class Region:
    """The region of one annotation.

    Attributes:
      polygons: each float64 [n, 2] of x and y in pixels, n >= 3; the region is their union.
      counts: alternating lengths of runs outside and inside, in column-major order; None if there are polygons.
    """

    polygons: tuple[np.ndarray, ...] = ()
    counts: np.ndarray | None = None

    def draw(self, height: int, width: int) -> np.ndarray:
        """Returns the region, bool [height, width], by COCO's convention: a pixel belongs to it if its center does, roughly."""
        if self.counts is not None:
            inside = np.repeat(np.arange(len(self.counts)) % 2 == 1, self.counts).reshape(width, height).T
        else:
            runs = coco_mask.frPyObjects([polygon.ravel().tolist() for polygon in self.polygons], height, width)
            inside = coco_mask.decode(coco_mask.merge(runs)).astype(bool)
        return np.ascontiguousarray(inside)


def coco_files(root: Path) -> list[tuple[Path, str]]:
    """Returns COCO files, each with the name of its split from the file or folder name (train2017), or ''."""
    annotations = child(root, "annotations")
    roboflow = [(path, path.parent.name) for path in sorted(root.glob(f"*/{ROBOFLOW}"))]
    instances = sorted(annotations.glob("instances_*.json")) if annotations else []
    named = [(path, path.stem.removeprefix("instances_")) for path in instances]
    single = [(root / name, "") for name in ("annotations.json", ROBOFLOW) if os.path.lexists(root / name)]
    kinds = [files for files in (roboflow, named, single) if files]
    if len(kinds) > 1:
        both = first_few([str(path) for files in kinds for path, _ in files])
        raise DataError(f"{root} has COCO files of several kinds ({both}). Keep one kind, or move the others.")
    files = kinds[0] if kinds else []
    is_split = [bool(split_of(word)) for _, word in files]
    if any(is_split) and not all(is_split):
        others = [str(path) for (path, _), known in zip(files, is_split, strict=True) if not known]
        raise DataError(
            f"{root} has COCO files for splits and others that belong to no split (train, val, test): {first_few(others)}."
            " Rename or move them."
        )
    return files


def is_coco(path: Path) -> bool:
    """Returns whether the first bytes of a JSON file look like COCO."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    return not re.search(rb'"shapes"\s*:', head) and bool(
        re.search(rb'"(images|annotations|categories|info)"\s*:', head)
    )


def read_coco_files(root: Path) -> Entries:
    """Yields the entries of all COCO files of a folder."""
    files = coco_files(root)
    contents = read_all(read_coco, [path for path, _ in files])
    for (_, word), annotations in zip(files, contents, strict=True):
        split = split_of(word)
        words = [word, *(other for other, meant in SPLIT_NAMES.items() if meant == split)]
        yield from ((split, words, annotation) for annotation in annotations)


def read_coco(path: Path) -> list[Annotation]:
    """Reads an annotation file; a picture without annotations has no shapes.

    Raises:
      DataError: "annotation": the file is too large, not JSON or not in COCO's format; or it has invalid entries (all are
        reported): duplicate or unknown ids, polygons with fewer than 3 points or non-finite numbers, run lengths that do not
        add up to the picture, a box without an outline.
    """
    root = parse_json(path, read_bytes(path, _MAX_BYTES, "annotation"))
    lists = ("images", "annotations", "categories")
    if not isinstance(root, dict) or not all(isinstance(root.get(key), list) for key in lists):
        raise error(f"{path} is not a COCO file: it must have the lists {', '.join(lists)}. Export it again.")
    names: dict[str, str] = {}
    pictures: dict[str, tuple[str, tuple[int, int], list[Shape]]] = {}

    def read_category(category: Any) -> None:
        names[_identity(category, "id")] = _value(category, "name", str).strip()

    def read_image(image: Any) -> None:
        identity, size = _identity(image, "id"), (_side(image, "height"), _side(image, "width"))
        if identity in pictures:
            raise _Fault(f"has the id {identity} of an earlier one")
        if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
            raise _Fault(f"is {size[1]} x {size[0]} pixels; at least one and at most {MAX_PIXELS:,} are possible")
        pictures[identity] = _value(image, "file_name", str), size, []

    def read_annotation(annotation: Any) -> None:
        identity, category = _identity(annotation, "image_id"), _identity(annotation, "category_id")
        if identity not in pictures:
            raise _Fault(f"belongs to the image {identity}, which is not in the file")
        if category not in names:
            raise _Fault(f"has the category {category}, which is not in the file")
        _, size, shapes = pictures[identity]
        shapes += [Shape(names[category], region) for region in _regions(annotation.get("segmentation"), size)]

    faults = []
    for what, key, read in (
        ("category", "categories", read_category),
        ("image", "images", read_image),
        ("annotation", "annotations", read_annotation),
    ):
        for index, entry in enumerate(root[key]):
            try:
                read(entry)
            except _Fault as fault:
                identity = entry.get("id") if isinstance(entry, dict) else None
                faults.append(error(f"{path}: {what} {index} (id {str(identity)[:20]}) {fault}."))
    raise_together(faults)
    return [Annotation(path, size, tuple(shapes), name) for name, size, shapes in pictures.values()]


class _Fault(Exception):
    """Error in one entry."""


def _value(entry: Any, key: str, *kinds: type) -> Any:
    value = entry.get(key) if isinstance(entry, dict) else None
    if type(value) not in kinds:
        raise _Fault(f"has the {key} {str(value)[:40]!r}, not {'a number' if int in kinds else 'text'}")
    return value


def _identity(entry: Any, key: str) -> str:
    """Returns an id as text; some programs write 5.0 or "5" for 5, or ids that are no numbers."""
    value = _value(entry, key, int, float, str)
    text = str(value).strip().removesuffix(".0")
    if not text or (isinstance(value, float) and not value.is_integer()):
        raise _Fault(f"has the {key} {text[:40]!r}, not a whole number or text")
    return text


def _side(image: Any, key: str) -> int:
    """Returns a number of pixels, which may be written like an id."""
    text = _identity(image, key)
    if not re.fullmatch("[0-9]{1,18}", text):
        raise _Fault(f"has the {key} {text[:40]!r}, not a whole number")
    return int(text)


def _regions(segmentation: Any, size: tuple[int, int]) -> list[Region]:
    """Reads run lengths, a list of run lengths, a list of polygons, or the numbers of one polygon."""
    if isinstance(segmentation, dict):
        segmentation = [segmentation]
    if not isinstance(segmentation, list) or not segmentation:
        raise _Fault("has no segmentation, perhaps only a box; outline the object or delete it")
    if all(isinstance(part, dict) for part in segmentation):
        return [Region(counts=_runs(part, size)) for part in segmentation]
    if not any(isinstance(part, list | dict) for part in segmentation):
        segmentation = [segmentation]
    return [Region(polygons=tuple(_polygon(numbers, size) for numbers in segmentation))]


def _polygon(numbers: Any, size: tuple[int, int]) -> np.ndarray:
    if not isinstance(numbers, list) or len(numbers) < 6 or len(numbers) % 2:
        count = len(numbers) if isinstance(numbers, list) else "no"
        raise _Fault(
            f"has an empty or broken polygon: {count} numbers. Write a list of polygons [x1, y1, x2, y2, x3, y3, ...]"
        )
    if not set(map(type, numbers)) <= {int, float}:
        raise _Fault("has a polygon with values that are not numbers")
    try:
        points = np.array(numbers, np.float64).reshape(-1, 2)
    except OverflowError as fault:
        raise _Fault("has a point that is not finite") from fault
    # This form also refuses NaN.
    if not (np.abs(points) <= 2 * max(size)).all():
        raise _Fault(f"has a point that is not finite or far outside the picture of {size[1]} x {size[0]} pixels")
    if np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1).sum() > _MAX_LENGTH:
        raise _Fault(f"has an outline longer than {_MAX_LENGTH:,} pixels")
    return points


def _runs(segmentation: dict, size: tuple[int, int]) -> np.ndarray:
    if segmentation.get("size") != list(size):
        raise _Fault(f"has run lengths for {str(segmentation.get('size'))[:40]}; the picture is {list(size)}")
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = _decompress(counts)
    total = math.prod(size)
    if not isinstance(counts, list) or not all(type(count) is int and 0 <= count <= total for count in counts):
        raise _Fault(f"has run lengths that are not whole numbers from 0 to the {total} pixels of the picture")
    if sum(counts) != total:
        raise _Fault(f"has run lengths for {sum(counts)} pixels; the picture has {total}")
    return np.array(counts, np.int64)


def _decompress(text: str) -> list[int]:
    """Decodes run lengths in COCO's compressed form.

    Each number is written in groups of 5 bits, lowest first, as characters from '0'; the sixth bit marks that more groups
    follow, and the highest bit of the last group is the sign. From the fourth number, differences to the last but one are
    stored.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise _Fault("has compressed run lengths that cannot be decoded")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        raise _Fault("has compressed run lengths that are cut short")
    return counts
