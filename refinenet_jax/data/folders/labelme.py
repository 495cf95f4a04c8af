"""Reads LabelMe annotations: XML of the former web tool and JSON of the desktop program of the same name."""

import base64
import dataclasses
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np

from refinenet_jax.data import images
from refinenet_jax.data.folders.annotation import Annotation, Shape, error, parse_json, parse_xml, polygon
from refinenet_jax.data.reading import read_bytes

# Far above any drawn annotation; crafted files could fill the memory. JSON may also contain the picture, as base64.
_MAX_BYTES = 64 << 20
_MAX_ELEMENTS = 2_000_000

_ANGLES = np.linspace(0, 2 * np.pi, 90, endpoint=False)


@dataclasses.dataclass(frozen=True)
class Bitmap:
    """The region of an AI mask.

    Attributes:
      left: column of its upper left pixel, at least 0.
      top: row of its upper left pixel, at least 0.
      encoded: image file of one channel, not 0 inside; encoded, because the annotations of a whole folder are in memory.
    """

    left: int
    top: int
    encoded: bytes

    def draw(self, height: int, width: int) -> np.ndarray:
        """Returns the region, bool [height, width]."""
        region = np.zeros((height, width), bool)
        place = region[self.top :, self.left :]
        pixels = images.decode_mask(self.encoded, "The mask")[: place.shape[0], : place.shape[1]]
        place[: pixels.shape[0], : pixels.shape[1]] = pixels > 0
        return region


def read_labelme(path: Path) -> Annotation:
    """Reads an annotation file, XML or JSON by its content. Rectangles and circles become polygons.

    Raises:
      DataError: the file does not exist, is too large, is neither XML nor JSON or is not LabelMe's, or one of its objects has
        a polygon of fewer than 3 points, a point that is not a number, a mask that does not fit its corners, or a shape of
        another kind. The message names the file and the object, counted from 0 including deleted ones.
    """
    content = read_bytes(path, _MAX_BYTES, "annotation")
    start = content.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")[:1]  # in any encoding
    if start not in (b"<", b"{"):
        raise error(f"{path} is neither XML nor JSON: it starts with {content[:16]!r}. Export the annotation again.")
    if content.count(start) > _MAX_ELEMENTS or content.count(b"[") > _MAX_ELEMENTS:
        raise error(f"{path} has more than {_MAX_ELEMENTS:,} elements. Export the annotation again.")
    return _read_xml(path, content) if start == b"<" else _read_json(path, content)


def _read_xml(path: Path, content: bytes) -> Annotation:
    root = parse_xml(path, content)
    if root.tag != "annotation":
        raise error(f"{path} is not LabelMe's: its root element is <{root.tag}>, not <annotation>. Export it again.")
    shapes = []
    for index, item in enumerate(root.iterfind("object")):
        if _text(item, "deleted") == "1":
            continue
        label = _text(item, "name")
        where = f"{path}: object {index} ({label!r})"
        outlines = item.findall("polygon")
        if not outlines:
            raise error(f"{where} has no polygon. Outline it with a polygon, or delete it.")
        for outline in outlines:
            points = polygon(where, [[_text(point, "x"), _text(point, "y")] for point in outline.iterfind("pt")])
            shapes.append(Shape(label, points))
    size = _size(path, *(_text(root, f"imagesize/{side}") for side in ("nrows", "ncols")))
    return Annotation(path, size, tuple(shapes))


def _read_json(path: Path, content: bytes) -> Annotation:
    root = parse_json(path, content)
    if not isinstance(root.get("shapes"), list):
        raise error(f"{path} is not LabelMe's: it has no list 'shapes'. Export it again.")
    shapes = []
    for index, item in enumerate(root["shapes"]):
        if not isinstance(item, dict):
            raise error(f"{path}: object {index} is {str(item)[:40]!r}, not a shape with label and points.")
        label = str(item.get("label") or "").strip()
        where = f"{path}: object {index} ({label!r})"
        kind = item.get("shape_type") or "polygon"
        if kind not in ("polygon", "rectangle", "circle", "mask"):
            raise error(
                f"{where} has the shape_type {kind!r}; supported are polygon, rectangle, circle and mask. Outline it with a"
                " polygon, or delete it."
            )
        points = polygon(where, item.get("points"), 3 if kind == "polygon" else 2)
        region = _bitmap(where, points, item.get("mask")) if kind == "mask" else _outline(kind, points)
        shapes.append(Shape(label, region))
    size = _size(path, root.get("imageHeight"), root.get("imageWidth"))
    return Annotation(path, size, tuple(shapes))


def _bitmap(where: str, corners: np.ndarray, text: Any) -> Bitmap:
    """Returns the region of an AI mask: a PNG in base64 between two corner pixels, both inclusive."""
    try:
        encoded = base64.b64decode(text, validate=True)
        pixels = images.decode_mask(encoded, f"The mask of {where}", "Draw it again.")
    except (ValueError, TypeError) as fault:
        raise error(f"{where} has a mask that is not a PNG in base64 ({fault}). Draw it again.") from fault
    left, top = corners.min(0).round()
    width, height = np.ptp(corners, axis=0).round() + 1
    if pixels.shape != (height, width) or min(left, top) < 0:
        raise error(
            f"{where} has a mask of {list(pixels.shape)}, but its corners are {corners.tolist()}. Draw it again."
        )
    return Bitmap(int(left), int(top), encoded)


def _outline(kind: str, points: np.ndarray) -> np.ndarray:
    """Returns the polygon of a JSON shape, float64 [n, 2]."""
    if kind == "circle":  # its center and a point on it
        return points[0] + math.dist(*points[:2]) * np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], -1)
    if len(points) == 2:  # opposite corners; newer versions write all four
        (x0, y0), (x1, y1) = points
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return points


def _size(path: Path, height: Any, width: Any) -> tuple[int, int] | None:
    try:
        size = int(height or 0), int(width or 0)
    except (ValueError, TypeError, OverflowError) as fault:
        raise error(
            f"{path} gives its picture the size {height!r} x {width!r}, not whole numbers. Export it again."
        ) from fault
    return size if min(size) > 0 else None


def _text(element: ET.Element, child: str) -> str:
    return (element.findtext(child) or "").strip()
