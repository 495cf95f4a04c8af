"""Reads outlines of hands in LabelMe XML, and draws masks from outlines."""

import dataclasses
import xml.etree.ElementTree as ET
from collections.abc import Iterable

import numpy as np
from etils import epath
from PIL import Image, ImageDraw

# Far above any real annotation; a crafted file could fill the memory.
_MAX_BYTES = 16 << 20
# PIL computes with 32-bit integers; no picture is this large.
_FARTHEST = 2**20


@dataclasses.dataclass(frozen=True)
class Outline:
    """The outline of one object.

    Attributes:
      label: name of the object.
      points: float64 [n, 2] of x and y in pixels, n >= 3; they may be outside the picture.
      attributes: free text.
    """

    label: str
    points: np.ndarray
    attributes: str


def draw(height: int, width: int, shapes: Iterable[tuple[np.ndarray, int]]) -> np.ndarray:
    """Draws outlines in the given order, later over earlier.

    Args:
      height: height in pixels.
      width: width in pixels.
      shapes: corners of each outline, float [n, 2] of continuous x and y (pixel (0, 0) covers [0, 1] x [0, 1]), and the value
        to fill it with.

    Returns:
      uint8 [height, width], 0 outside all outlines.
    """
    mask = Image.new("L", (width, height))
    for points, value in shapes:
        # PIL truncates toward zero, which is wrong for negative coordinates.
        ImageDraw.Draw(mask).polygon(np.floor(points).ravel().tolist(), fill=value)
    return np.array(mask)


class _WithoutDoctype(ET.TreeBuilder):
    """Rejects entity declarations, with which a small file can expand to gigabytes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ET.ParseError("it declares a DOCTYPE")


def read_labelme(path: epath.Path) -> tuple[tuple[int, int] | None, list[Outline]]:
    """Reads LabelMe XML.

    Returns:
      Height and width of the picture as stated in the file (None if missing); and the objects in the order of the file,
      without deleted ones.

    Raises:
      ValueError: the file cannot be read, or an object has fewer than 3 points or points that are not finite numbers.
    """
    try:
        if (size := path.stat().length) > _MAX_BYTES:
            raise ValueError(f"it has {size:,} bytes")
        root = ET.fromstring(path.read_bytes(), ET.XMLParser(target=_WithoutDoctype()))
        if root.tag != "annotation":
            raise ValueError(f"its root element is <{root.tag}>, not <annotation>")
        rows, columns = (int(_text(root, f"imagesize/{side}") or 0) for side in ("nrows", "ncols"))
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{path} cannot be read as an annotation of LabelMe ({error}). Unpack it again.") from error
    outlines = []
    for index, item in enumerate(root.iterfind("object")):
        if _text(item, "deleted") == "1":
            continue
        label = _text(item, "name")
        polygons = item.findall("polygon")
        try:
            for polygon in polygons:
                points = [[float(_text(point, axis)) for axis in "xy"] for point in polygon.iterfind("pt")]
                outlines.append(Outline(label, np.array(points).reshape(-1, 2), _text(item, "attributes")))
                if len(points) < 3 or not (np.abs(points) <= _FARTHEST).all():  # also fails for NaN
                    raise ValueError("fewer than 3 points, or an invalid one")
            if not polygons:
                raise ValueError("no polygon")
        except ValueError as error:
            raise ValueError(f"{path}: object {index} ({label!r}) has {error}. Draw it again, or delete it.") from error
    return ((rows, columns) if rows > 0 and columns > 0 else None), outlines


def _text(element: ET.Element, child: str) -> str:
    return (element.findtext(child) or "").strip()
