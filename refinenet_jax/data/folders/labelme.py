"""Reads LabelMe annotations: XML of the former web tool and JSON of the desktop program of the same name."""

import base64
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np

from refinenet_jax.data import images
from refinenet_jax.data.folders.annotation import Annotation, Shape, error, parse_json, parse_xml, polygon, read_points
from refinenet_jax.data.polygons import Bitmap
from refinenet_jax.data.reading import read_bytes

# Far above any drawn annotation; crafted files could fill the memory. JSON may also contain the picture, as base64.
_MAX_BYTES = 64 << 20
_MAX_ELEMENTS = 2_000_000

_CIRCLE = np.linspace(0, 2 * np.pi, 90, endpoint=False)


def read_labelme(path: Path) -> Annotation:
    """Reads an annotation file, XML or JSON by its content. Rectangles and circles become polygons; AI masks become bitmaps.

    Raises:
      DataError: the file does not exist, is too large, is neither XML nor JSON or is not LabelMe's, or one of its objects has
        a polygon of fewer than 3 points, a point that is not a number, or a shape without area (line, point). The message
        names the file and the object, counted from 0 including deleted ones.
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
    return Annotation(path, _text(root, "filename"), size, tuple(shapes))


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
        points = read_points(where, item.get("points"))
        kind = item.get("shape_type") or "polygon"
        outline = _bitmap(where, item.get("mask"), points) if kind == "mask" else _outline(where, kind, points)
        shapes.append(Shape(label, outline))
    size = _size(path, root.get("imageHeight"), root.get("imageWidth"))
    return Annotation(path, str(root.get("imagePath") or ""), size, tuple(shapes))


def _bitmap(where: str, encoded: Any, points: np.ndarray) -> Bitmap:
    """Returns the region of an AI mask: a PNG in base64 between two corner pixels, both inclusive."""
    try:
        inside = images.decode_mask(base64.b64decode(encoded, validate=True), f"The mask of {where}", "Draw it again.")
    except (ValueError, TypeError) as fault:
        raise error(f"{where} has a mask that is not a PNG in base64 ({fault}). Draw it again.") from fault
    if len(points) != 2 or inside.ndim != 2:
        raise error(f"{where} is a mask of {len(points)} points; it needs two corners and one channel. Draw it again.")
    left, top = points.min(0).round()
    width, height = np.ptp(points, axis=0).round() + 1
    if (height, width) != inside.shape or not 0 <= min(left, top) <= max(left, top) <= images.MAX_PIXELS:
        raise error(
            f"{where} is a mask of {inside.shape[1]} x {inside.shape[0]} pixels, but its corners are"
            f" {points.tolist()}. Draw it again."
        )
    return Bitmap.pack(int(left), int(top), inside > 0)


def _outline(where: str, kind: Any, points: np.ndarray) -> np.ndarray:
    """Returns the polygon of a JSON shape."""
    if kind == "circle":
        if len(points) != 2:
            raise error(f"{where} is a circle of {len(points)} points; it needs its center and one point on it.")
        radius = math.dist(*points)
        return points[0] + radius * np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)], -1)
    if kind == "rectangle" and len(points) == 2:  # opposite corners; newer versions write all four
        (x0, y0), (x1, y1) = points
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if kind in ("polygon", "rectangle"):
        return polygon(where, points.tolist())
    raise error(
        f"{where} has the shape_type {kind!r}, which has no area or is not supported; supported are polygon, rectangle,"
        " circle and mask. Outline it with a polygon, or delete it."
    )


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
