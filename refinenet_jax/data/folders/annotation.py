"""The annotation of one picture, and what its readers for all formats share."""

import dataclasses
import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from refinenet_jax.data.examples import DataError


@dataclasses.dataclass(frozen=True)
class Shape:
    """One annotated region.

    Attributes:
      label: label as written in the file, without surrounding spaces.
      region: polygon, float64 [n, 2] of x and y in pixels, n >= 3, finite, possibly outside the picture; or an
        object with a method `draw(height, width)` that returns bool [height, width] (COCO, bitmaps of LabelMe).
    """

    label: str
    region: Any


@dataclasses.dataclass(frozen=True)
class Annotation:
    """Annotation of one picture.

    Attributes:
      file: file that contains it, for messages.
      size: (height, width) of the picture as written in the annotation, which may be wrong; None if missing.
      shapes: regions in file order, without deleted ones. An object of several polygons has several shapes.
      file_name: name of the picture as written in the annotation; empty if files are paired by their paths.
      relative: whether points are fractions of width and height, from 0 to 1, instead of pixels.
    """

    file: Path
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]
    file_name: str = ""
    relative: bool = False

    @property
    def labels(self) -> set[str]:
        return {shape.label for shape in self.shapes}


# Split ("" if unknown), folders that may contain the picture, annotation.
Entries = Iterator[tuple[str, Sequence[str], Annotation]]


def error(message: str) -> DataError:
    """Returns the error about a faulty annotation."""
    return DataError(message, "annotation")


def parse_json(path: Path, content: bytes) -> Any:
    """Returns the value in a JSON file; raises DataError ("annotation")."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as fault:
        raise error(f"{path} cannot be read as JSON ({fault}). Export it again.") from fault


class _WithoutDoctype(ET.TreeBuilder):
    """Refuses document types, whose entities can expand a small file to gigabytes, before any entity is read."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ET.ParseError("it declares a DOCTYPE, which no annotation needs")


def parse_xml(path: Path, content: bytes) -> ET.Element:
    """Returns the root element of an XML file without a document type; raises DataError ("annotation")."""
    try:
        return ET.fromstring(content, ET.XMLParser(target=_WithoutDoctype()))
    except (ET.ParseError, ValueError, LookupError) as fault:  # the latter two: an unknown encoding
        raise error(f"{path} cannot be read as XML ({fault}). Export it again.") from fault


def polygon(where: str, points: Any, fewest: int = 3) -> np.ndarray:
    """Returns at least `fewest` finite x, y pairs, float64 [n, 2].

    Raises:
      DataError: "annotation"; the message starts with `where`.
    """
    try:
        array = np.array([[float(x), float(y)] for x, y in points or ()]).reshape(-1, 2)
    except (ValueError, TypeError, OverflowError) as fault:
        raise error(f"{where} has points that are not two numbers x, y ({fault}). Draw it again.") from fault
    if not np.isfinite(array).all():
        raise error(f"{where} has a point that is not finite. Draw it again.")
    if len(array) < fewest:
        raise error(f"{where} has an empty polygon ({len(array)} points). Draw it again, or delete it.")
    return array
