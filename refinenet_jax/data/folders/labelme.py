"""LabelMe annotations -> polygons: the XML of the old web tool and the JSON of the program that took its name."""

import base64
import dataclasses
import json
import math
import os
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np

from refinenet_jax.data import images
from refinenet_jax.data.examples import DataError
from refinenet_jax.data.polygons import Bitmap

# Nothing that people draw comes near; a crafted file would fill the memory. JSON may hold the picture too, as base64.
_MAX_BYTES = 64 << 20
_MAX_ELEMENTS = 2_000_000

_CIRCLE = np.linspace(0, 2 * np.pi, 90, endpoint=False)


@dataclasses.dataclass(frozen=True)
class Shape:
    """One region.

    Attributes:
      label: as it is written in the file, without spaces around it.
      points: float64 [n, 2] of x and y in pixels, n >= 3, finite; they may lie outside the picture. Or a bitmap.
      attributes: the free text of the label (`attributes` in XML, `description` in JSON).
    """

    label: str
    points: np.ndarray | Bitmap
    attributes: str = ""


@dataclasses.dataclass(frozen=True)
class Annotation:
    """What one file says about one picture.

    Attributes:
      file_name: of the picture, as the file has it; empty if it has none.
      size: height and width of the picture as the file says, which need not be true; None if it does not say.
      shapes: in the order of the file, deleted ones left out. An object of several polygons gives several.
      relative: whether points are in shares of width and height, from 0 to 1, instead of pixels.
    """

    file_name: str
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    relative: bool = False


def read_labelme(path: str | os.PathLike) -> Annotation:
    """Reads an annotation file, XML or JSON by its content. Rectangles and circles become polygons, AI masks bitmaps.

    Raises:
      DataError: the file is not there, too large, neither XML nor JSON, not LabelMe's, or one of its objects has an empty
        polygon (fewer than 3 points), a point that is no number, or a shape that covers no area (line, point). The
        message names the file and the object, counted from 0 with the deleted ones.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise _error(f"{path} has {path.stat().st_size:,} bytes, more than any annotation ({_MAX_BYTES:,}).")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).", "missing") from error
    start = content.lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n")[:1]  # whatever the encoding
    if start not in (b"<", b"{"):
        raise _error(f"{path} is neither XML nor JSON: it begins with {content[:16]!r}. Export the annotation again.")
    if content.count(start) > _MAX_ELEMENTS or content.count(b"[") > _MAX_ELEMENTS:
        raise _error(f"{path} has more than {_MAX_ELEMENTS:,} elements, more than any annotation.")
    return _read_xml(path, content) if start == b"<" else _read_json(path, content)


class _WithoutDoctype(ET.TreeBuilder):
    """Refuses entity declarations, by which a small file grows to gigabytes, before the first of them is read."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ET.ParseError("it declares a DOCTYPE, which no annotation needs")


def parse_xml(path: Path, content: bytes) -> ET.Element:
    """The outermost element of an XML file without a document type, or a DataError ("annotation")."""
    try:
        return ET.fromstring(content, ET.XMLParser(target=_WithoutDoctype()))
    except (ET.ParseError, ValueError, LookupError) as error:  # the latter two: an encoding that there is not
        raise _error(f"{path} cannot be read as XML ({error}). Export the annotation again.") from error


def _read_xml(path: Path, content: bytes) -> Annotation:
    root = parse_xml(path, content)
    if root.tag != "annotation":
        raise _error(f"{path} is not LabelMe's: its outermost element is <{root.tag}>, not <annotation>.")
    shapes = []
    for index, item in enumerate(root.iterfind("object")):
        if _text(item, "deleted") == "1":
            continue
        label = _text(item, "name")
        where = f"{path}: object {index} ({label!r})"
        outlines = item.findall("polygon")
        if not outlines:
            raise _error(f"{where} has no polygon. Outline it by a polygon, or delete it.")
        for outline in outlines:
            points = polygon(where, [[_text(point, "x"), _text(point, "y")] for point in outline.iterfind("pt")])
            shapes.append(Shape(label, points, _text(item, "attributes")))
    size = _size(path, *(_text(root, f"imagesize/{side}") for side in ("nrows", "ncols")))
    return Annotation(_text(root, "filename"), size, tuple(shapes))


def _read_json(path: Path, content: bytes) -> Annotation:
    try:
        root = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _error(f"{path} cannot be read as JSON ({error}). Export the annotation again.") from error
    if not isinstance(root.get("shapes"), list):
        raise _error(f"{path} is not LabelMe's: it has no list 'shapes'.")
    shapes = []
    for index, item in enumerate(root["shapes"]):
        if not isinstance(item, dict):
            raise _error(f"{path}: object {index} is {str(item)[:40]!r}, not a shape with label and points.")
        label = str(item.get("label") or "").strip()
        where = f"{path}: object {index} ({label!r})"
        points = _points(where, item.get("points"))
        kind = item.get("shape_type") or "polygon"
        outline = _bitmap(where, item.get("mask"), points) if kind == "mask" else _outline(where, kind, points)
        shapes.append(Shape(label, outline, str(item.get("description") or "").strip()))
    size = _size(path, root.get("imageHeight"), root.get("imageWidth"))
    return Annotation(str(root.get("imagePath") or ""), size, tuple(shapes))


def _bitmap(where: str, encoded: Any, points: np.ndarray) -> Bitmap:
    """The region of an AI mask: a PNG in base64, between two corners whose pixels belong to it."""
    try:
        inside = images.decode_mask(base64.b64decode(encoded, validate=True), f"The mask of {where}", "Draw it again.")
    except (ValueError, TypeError) as error:
        raise _error(f"{where} has a mask that is no PNG in base64 ({error}). Draw it again.") from error
    if len(points) != 2 or inside.ndim != 2:
        raise _error(f"{where} is a mask of {len(points)} points; it needs two corners and one channel. Draw it again.")
    left, top = points.min(0).round()
    width, height = np.ptp(points, axis=0).round() + 1
    if (height, width) != inside.shape or not 0 <= min(left, top) <= max(left, top) <= images.MAX_PIXELS:
        raise _error(
            f"{where} is a mask of {inside.shape[1]} x {inside.shape[0]} pixels, but its corners are"
            f" {points.tolist()}. Draw it again."
        )
    return Bitmap(int(left), int(top), inside > 0)


def _outline(where: str, kind: Any, points: np.ndarray) -> np.ndarray:
    """The polygon of a JSON shape."""
    if kind == "circle":
        if len(points) != 2:
            raise _error(f"{where} is a circle of {len(points)} points; it needs its center and one point on it.")
        radius = math.dist(*points)
        return points[0] + radius * np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)], -1)
    if kind == "rectangle" and len(points) == 2:  # opposite corners; newer versions write all four
        (x0, y0), (x1, y1) = points
        return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    if kind in ("polygon", "rectangle"):
        return polygon(where, points.tolist())
    raise _error(
        f"{where} has the shape_type {kind!r}, which covers no area or is not known; known are polygon, rectangle,"
        " circle and mask. Outline it by a polygon, or delete it."
    )


def polygon(where: str, points: Any) -> np.ndarray:
    """Float64 [n, 2] of pairs x, y, all finite, n >= 3; else a DataError ("annotation") that begins with `where`."""
    array = _points(where, points)
    if len(array) < 3:
        raise _error(f"{where} has an empty polygon ({len(array)} points). Draw it again, or delete it.")
    return array


def _points(where: str, points: Any) -> np.ndarray:
    """Float64 [n, 2], all finite."""
    try:
        array = np.array([[float(x), float(y)] for x, y in points or ()]).reshape(-1, 2)
    except (ValueError, TypeError, OverflowError) as error:
        raise _error(f"{where} has points that are not two numbers x, y ({error}). Draw it again.") from error
    if not np.isfinite(array).all():
        raise _error(f"{where} has a point that is not finite. Draw it again.")
    return array


def _size(path: Path, height: Any, width: Any) -> tuple[int, int] | None:
    try:
        size = int(height or 0), int(width or 0)
    except (ValueError, TypeError, OverflowError) as error:
        raise _error(
            f"{path} gives its picture the size {height!r} x {width!r}, which are no whole numbers."
        ) from error
    return size if min(size) > 0 else None


def _text(element: ET.Element, child: str) -> str:
    return (element.findtext(child) or "").strip()


def _error(message: str) -> DataError:
    return DataError(message, "annotation")
