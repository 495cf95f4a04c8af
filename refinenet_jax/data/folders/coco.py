"""Reads COCO annotations (cocodataset.org/#format-data) and draws their regions into masks.

The whole file is checked before anything is drawn, so that pycocotools' C code gets no input that could crash it or fill the
memory. Run lengths are decoded here.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from refinenet_jax.data.examples import raise_together
from refinenet_jax.data.folders.annotation import Annotation, Shape, error, parse_json
from refinenet_jax.data.images import MAX_PIXELS
from refinenet_jax.data.reading import read_bytes

# The annotations of COCO's training set have 450 MB.
_MAX_BYTES = 1 << 30
# The memory that pycocotools needs grows with the length of the outlines, in fifths of a pixel.
_MAX_LENGTH = 1_000_000
_MAX_DEPTH = 4  # of nested lists


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
    names: dict[int | str, str] = {}
    pictures: dict[int | str, tuple[str, tuple[int, int], list[Shape]]] = {}

    def read_category(category: Any) -> None:
        names[_identity(category, "id")] = _text(category, "name").strip()

    def read_image(image: Any) -> None:
        identity, size = _identity(image, "id"), (_whole(image, "height"), _whole(image, "width"))
        if identity in pictures:
            raise _Fault(f"has the id {identity} of an earlier one")
        if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
            raise _Fault(f"is {size[1]} x {size[0]} pixels; at least one and at most {MAX_PIXELS:,} are possible")
        pictures[identity] = _text(image, "file_name"), size, []

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
                faults.append(error(f"{path}: {what} {index} (id {str(_get(entry, 'id'))[:20]}) {fault}."))
    raise_together(faults)
    return [Annotation(path, name, size, tuple(shapes)) for name, size, shapes in pictures.values()]


class _Fault(Exception):
    """Error in one entry."""


def _get(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None


def _text(entry: Any, key: str) -> str:
    value = _get(entry, key)
    if not isinstance(value, str):
        raise _Fault(f"has the {key} {str(value)[:40]!r}, which is not text")
    return value


def _whole(entry: Any, key: str) -> int:
    """Returns a whole number, which may be written as 64.0 or "64"."""
    value = _get(entry, key)
    if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value.strip()):
        return int(value)
    if type(value) is not int and not (isinstance(value, float) and value.is_integer()):
        raise _Fault(f"has the {key} {str(value)[:40]!r}, which is not a whole number")
    return int(value)


def _identity(entry: Any, key: str) -> int | str:
    """Returns an id by which entries refer to each other: a whole number in any notation, or any other text."""
    value = _get(entry, key)
    try:
        return _whole(entry, key)
    except _Fault:
        if not isinstance(value, str) or not value.strip():
            raise
    return value.strip()


def _regions(segmentation: Any, size: tuple[int, int]) -> list[Region]:
    """Reads the segmentation of an annotation: run lengths, a list of them, or polygons (flat, nested or as x, y pairs)."""
    if isinstance(segmentation, dict):
        segmentation = [segmentation]
    if not isinstance(segmentation, list) or not segmentation:
        raise _Fault("has no segmentation, perhaps only a box; outline the object or delete it")
    if all(isinstance(part, dict) for part in segmentation):
        return [Region(counts=_runs(part, size)) for part in segmentation]
    return [Region(polygons=tuple(_polygon(polygon, size) for polygon in _polygons(segmentation)))]


def _polygons(part: list, depth: int = 0) -> Iterator[Any]:
    """Yields the flat lists of numbers in nested lists."""
    if not any(isinstance(entry, list) for entry in part):
        yield part
    elif len(part) > 2 and all(isinstance(pair, list) and len(pair) == 2 for pair in part) and not _is_nested(part):
        yield [number for pair in part for number in pair]
    else:
        for entry in part:
            if isinstance(entry, list) and depth < _MAX_DEPTH:
                yield from _polygons(entry, depth + 1)
            else:
                yield entry


def _is_nested(part: list) -> bool:
    return any(isinstance(number, list) for pair in part for number in pair)


def _polygon(numbers: Any, size: tuple[int, int]) -> np.ndarray:
    if not isinstance(numbers, list) or len(numbers) < 6 or len(numbers) % 2:
        count = len(numbers) if isinstance(numbers, list) else "no"
        raise _Fault(f"has an empty or broken polygon: {count} numbers instead of x, y pairs for 3 points or more")
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
    if not isinstance(counts, list) or not all(
        type(count) in (int, float) and 0 <= count <= total and count == int(count) for count in counts
    ):
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
