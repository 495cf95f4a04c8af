"""The official HandOverFace tree: pictures, their masks at 384x216, and their outlines at the original size.

The layout, as described by users of the dataset (Urooj and Borji, "Analysis of Hand Segmentation in the Wild", CVPR 2018):

    hand_over_face/
        images_original_size/<n>.jpg    n from 1 to 300; web pictures of all sizes, some of them gray; 216 and 221 are GIFs
        annotations/<n>.xml             LabelMe outlines in pixels of these
        images_resized/<n>.jpg          the same pictures, all resized to 384x216
        masks/<n>.png                   0 and 255, for the resized ones
"""

import dataclasses
import re
import xml.etree.ElementTree as ET

import numpy as np
from absl import logging
from etils import epath

from tfds_builders.lists import first_few
from tfds_builders.outlines import draw
from tfds_builders.pictures import read_rgb

NUMBERS = range(1, 301)
SIZE = 216, 384  # height and width of the resized pictures and the masks
RESIZED = ("images_resized", "jpg"), ("masks", "png")
ORIGINAL = ("images_original_size", "jpg"), ("annotations", "xml")

# Names of objects, in lower case and without blanks, '_', '-' and a final number: "Left_Hand 2" is "lefthand". The spelling in
# the official files is not documented; add missing spellings here.
_HAND = re.compile("hands?|(left|right|[lr])hand|hand(left|right|[lr])|left|right|[lr]h")

# Pixels by which an outline may leave its picture because of inexact clicks; with more, it is for another size or picture.
_MARGIN = 20
_MAX_BYTES = 16 << 20  # of XML, far above any real annotation; a crafted file could fill the memory


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture, and the file of its mask or outlines."""

    number: int
    image: epath.Path
    label: epath.Path


def list_pictures(tree: epath.Path, images: tuple[str, str], labels: tuple[str, str]) -> dict[int, Picture]:
    """Returns the pictures by number, in numeric order; no file is opened.

    Args:
      tree: the folder hand_over_face.
      images: folder of the pictures, and the ending of their files.
      labels: folder of the masks or outlines, and the ending of their files.

    Raises:
      ValueError: a folder is missing, a file is not named by a number, or a picture or its label is missing.
    """
    by_image, by_label = _numbered(tree, *images), _numbered(tree, *labels)
    if not by_image or by_image.keys() != by_label.keys():
        unpaired = first_few(sorted(by_image.keys() ^ by_label.keys()), 20) or "none"
        where = f"{tree}: of {images[0]} and {labels[0]}"
        raise ValueError(f"{where} only one has the pictures {unpaired}. Unpack the whole archive again.")
    if by_image.keys() != set(NUMBERS):
        missing, others = sorted(set(NUMBERS) - by_image.keys()), sorted(by_image.keys() - set(NUMBERS))
        logging.warning(
            "%s has %d pictures; the official number is %d. Missing: %s. Not in the official dataset: %s.",
            *(tree / images[0], len(by_image), len(NUMBERS)),
            *(first_few(numbers, 20) or "none" for numbers in (missing, others)),
        )
    return {number: Picture(number, by_image[number], by_label[number]) for number in sorted(by_image)}


def _numbered(tree: epath.Path, folder: str, ending: str) -> dict[int, epath.Path]:
    """Returns the files by number. Hidden files and those with other endings are ignored."""
    if not (tree / folder).is_dir():
        raise ValueError(f"{tree} has no folder {folder}. Unpack the whole archive again.")
    paths = [path for path in sorted((tree / folder).glob(f"*.{ending}")) if not path.name.startswith(".")]
    if strays := [path.name for path in paths if not re.fullmatch(r"[1-9]\d{0,5}", path.stem)]:
        raise ValueError(f"{tree / folder} has files not named like 1.{ending}: {first_few(strays)}. Remove them.")
    return {int(path.stem): path for path in paths}


class _WithoutDoctype(ET.TreeBuilder):
    """Rejects entity declarations, with which a small file can expand to gigabytes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise ET.ParseError("it declares a DOCTYPE")


def draw_outlines(picture: Picture) -> np.ndarray:
    """Draws the hands that an annotation of LabelMe outlines, without deleted objects.

    Returns:
      uint8 [h, w] at the size of the picture: 0 background, 1 hand.

    Raises:
      ValueError: picture or annotation cannot be read, an outline does not fit the picture, or an object is not a hand.
    """
    height, width = read_rgb(picture.image).shape[:2]
    path, hands = picture.label, []
    try:
        if (size := path.stat().length) > _MAX_BYTES:
            raise ValueError(f"it has {size:,} bytes")
        root = ET.fromstring(path.read_bytes(), ET.XMLParser(target=_WithoutDoctype()))
        if root.tag != "annotation":
            raise ValueError(f"its root element is <{root.tag}>, not <annotation>")
        rows, columns = (int(_text(root, f"imagesize/{side}") or 0) for side in ("nrows", "ncols"))
        if min(rows, columns) > 0 and (rows, columns) != (height, width):
            raise ValueError(f"it is for a picture of {columns}x{rows}, not {width}x{height}")
        for index, item in enumerate(root.iterfind("object")):
            label = _text(item, "name")
            if _text(item, "deleted") == "1":
                continue
            if not _HAND.fullmatch(re.sub(r"[\s_-]+", "", label.lower()).rstrip("0123456789")):
                raise ValueError(f"object {index} is {label!r}, not a hand; if it is not one, mark it as deleted")
            hands += [_points(polygon, index, (width, height)) for polygon in item.findall("polygon") or [item]]
    except (ET.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{path} does not fit {picture.image}: {error}. Get the official files.") from error
    if not hands:
        logging.warning("%s: no hand is outlined.", path)
    return draw(height, width, [(points, 1) for points in hands])


def _points(polygon: ET.Element, index: int, size: tuple[int, int]) -> np.ndarray:
    """Returns an outline of an object, float64 [n, 2] of x and y; `size` is (width, height) of its picture."""
    points = [[float(_text(point, axis)) for axis in "xy"] for point in polygon.iterfind("pt")]
    if len(points) < 3:
        raise ValueError(f"object {index} has {len(points)} points, fewer than 3")
    points = np.array(points)
    if not ((points >= -_MARGIN) & (points <= np.add(size, _MARGIN))).all():  # also fails for NaN
        raise ValueError(f"object {index} leaves the picture of {size[0]}x{size[1]}, so it is of another one")
    return points


def _text(element: ET.Element, child: str) -> str:
    return (element.findtext(child) or "").strip()
