"""Reads annotations exported by other programs: COCO, YOLO segmentation, CVAT, Supervisely and VIA.

Each reader yields one entry for every picture.
"""

import base64
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refinenet_jax.data import images, polygons
from refinenet_jax.data.examples import DataError, first_few
from refinenet_jax.data.folders import coco
from refinenet_jax.data.folders.annotation import Annotation, Shape, error, parse_json, parse_xml, polygon
from refinenet_jax.data.folders.dataset_yaml import load_yaml
from refinenet_jax.data.folders.listing import SPLIT_NAMES, all_files, child, read_text, split_of
from refinenet_jax.data.folders.pictures import PictureFinder
from refinenet_jax.data.reading import read_all, read_bytes

# Split ("" if unknown), folders that may contain the picture, annotation.
Entries = Iterator[tuple[str, Sequence[str], Annotation]]

_MAX_BYTES = 256 << 20
_LABEL_KEYS = ("label", "class", "name", "category", "type")
ROBOFLOW = "_annotations.coco.json"


def coco_files(root: Path) -> list[tuple[Path, str]]:
    """Returns COCO files, each with the name of its split from the file or folder name (train2017), or ''."""
    annotations = child(root, "annotations")
    roboflow = [(path, path.parent.name) for path in sorted(root.glob(f"*/{ROBOFLOW}"))]
    instances = sorted(annotations.glob("instances_*.json")) if annotations else []
    named = [(path, path.stem.removeprefix("instances_")) for path in instances]
    single = [(root / name, "") for name in ("annotations.json", ROBOFLOW) if os.path.lexists(root / name)]
    kinds = [files for files in (roboflow, named, single) if files]
    if not kinds and annotations:
        others = [path for path in sorted(annotations.glob("*.json")) if not path.name.startswith(".")]
        kinds = [[(path, path.stem) for path in others]] if others and is_coco(others[0]) else []
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
    contents = read_all(coco.read_coco, [path for path, _ in files])
    for (_, word), annotations in zip(files, contents, strict=True):
        split = split_of(word)
        words = [word, *(other for other, meant in SPLIT_NAMES.items() if meant == split)]
        yield from ((split, words, annotation) for annotation in annotations)


def yolo_files(root: Path) -> list[Path]:
    return [path for path in (root / "data.yaml", root / "data.yml") if path.is_file() and b"names:" in _head(path)]


def cvat_files(root: Path) -> list[Path]:
    return [path for path in [root / "annotations.xml"] if path.is_file() and b"<annotations" in _head(path)]


def supervisely_files(root: Path) -> list[Path]:
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    paths = [path for folder in folders if (folder / "img").is_dir() for path in sorted(folder.glob("ann/*.json"))]
    return paths if (root / "meta.json").is_file() else []


def via_files(root: Path) -> list[Path]:
    return sorted([*root.glob("via*.json"), *root.glob("*/via*.json")])


def read_yolo(root: Path) -> Entries:
    """Yields the entries of data.yaml: folders or lists of pictures, with outlines in `labels` next to each `images`."""
    (path,) = yolo_files(root)[:1]
    fields = load_yaml(path)
    names = fields.get("names") if isinstance(fields, Mapping) else None
    names = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(names, Mapping):
        raise error(f"{path} has no list of class names. Add one: `names: [hand]`.")
    finder = PictureFinder(root)
    for word in ("train", "val", "test"):
        places = fields.get(word) or []
        for place in [places] if isinstance(places, str) else places:
            for folder, name in _yolo_pictures(root, path, finder, str(fields.get("path") or "."), str(place)):
                parts = [*folder.relative_to(root).parts, *Path(name).with_suffix(".txt").parts]
                if "images" in parts[:-1]:
                    parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
                labels = root.joinpath(*parts)
                lines = read_text(labels).splitlines() if labels.is_file() else []  # no label file: background only
                shapes = [
                    _yolo_shape(labels, i, line.split(), names) for i, line in enumerate(lines, 1) if line.strip()
                ]
                within = [folder.relative_to(root).as_posix()]
                yield split_of(word), within, Annotation(labels, name, None, tuple(shapes), relative=True)


def _yolo_pictures(root: Path, path: Path, finder: PictureFinder, base: str, place: str) -> list[tuple[Path, str]]:
    """Returns folders with the names of the pictures below them."""
    inside = place.replace("\\", "/").lstrip("./")  # some files have ../train/images for a folder next to them
    for relative in (f"{base}/{place}", inside, f"{base}/{inside}"):
        candidate = Path(os.path.normpath(root / relative))
        if not candidate.is_relative_to(root):
            continue
        if candidate.is_dir():
            names = all_files(candidate)
            return [(candidate, name) for name in names if Path(name).suffix.lower() in images.ENDINGS]
        if candidate.is_file():
            lines = filter(None, map(str.strip, read_text(candidate).splitlines()))
            pictures = [finder.find(candidate, (), line)[0] for line in lines]
            return [(picture.parent, picture.name) for picture in pictures]
    raise DataError(f"{path} names {place}, which is neither a folder nor a list in {root}. Correct it.", "missing")


def _yolo_shape(path: Path, number: int, words: list[str], names: Mapping) -> Shape:
    where = f"{path}, line {number},"
    if len(words) == 5:
        raise error(f"{where} is a box, not an outline; export the dataset for segmentation.")
    try:
        label = names[int(words[0])]
    except (ValueError, KeyError) as fault:
        raise error(f"{where} has the class {words[0][:20]!r}, which is not in data.yaml. Add it there.") from fault
    return Shape(str(label), polygon(where, list(zip(words[1::2], words[2::2], strict=len(words) % 2 == 1))))


def read_cvat(root: Path) -> Entries:
    """Yields the entries of "CVAT for images 1.1": polygons and masks, painted by their z_order."""
    for path in cvat_files(root):
        tree = parse_xml(path, _content(path))
        if tree.find("track") is not None:
            raise error(f"{path} has tracks of a video. Export the task as 'CVAT for images 1.1'.")
        for image in tree.iterfind("image"):
            where = f"{path}: image {image.get('name')!r}"
            try:
                size = int(image.get("height", "")), int(image.get("width", ""))
                ordered = sorted(image.iterfind("*[@label]"), key=lambda shape: int(shape.get("z_order") or 0))
                shapes = [_cvat_shape(where, shape) for shape in ordered if shape.tag != "tag"]
            except DataError:
                raise
            except ValueError as fault:
                raise error(f"{where} has values that are not whole numbers ({fault}). Export it again.") from fault
            subset = image.get("subset") or ""
            yield split_of(subset), [subset], Annotation(path, image.get("name", ""), size, tuple(shapes))


def _cvat_shape(where: str, shape: Any) -> Shape:
    where = f"{where}, {shape.tag} ({shape.get('label')!r})"
    if shape.tag == "polygon":
        points = [pair.split(",") for pair in shape.get("points", "").split(";")]
        return Shape(shape.get("label"), polygon(where, points))
    if shape.tag != "mask":
        raise error(f"{where} is not an outline; polygon and mask are supported. Outline it, or delete it.")
    left, top, width, height = (int(shape.get(key, "")) for key in ("left", "top", "width", "height"))
    counts = [int(count) for count in shape.get("rle", "").split(",")]
    if min(left, top, *counts) < 0 or sum(counts) != width * height or width * height > images.MAX_PIXELS:
        raise error(f"{where} has run lengths for {sum(counts)} pixels; it has {width} x {height}. Export it again.")
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(height, width)
    return Shape(shape.get("label"), polygons.Bitmap.pack(left, top, inside))


def read_supervisely(root: Path) -> Entries:
    """Yields the entries of a project: DATASET/ann/PICTURE.json for DATASET/img/PICTURE, with polygons and bitmaps."""
    for path in supervisely_files(root):
        try:
            record = parse_json(path, _content(path))
            size = int(record["size"]["height"]), int(record["size"]["width"])
            shapes = [
                _supervisely_shape(f"{path}: object {i}", shape, size) for i, shape in enumerate(record["objects"])
            ]
        except DataError:
            raise
        except (ValueError, KeyError, TypeError, zlib.error) as fault:
            raise error(f"{path} is not in Supervisely's format ({fault!r}). Export it again.") from fault
        dataset = path.parent.parent.relative_to(root)
        yield split_of(dataset.name), [f"{dataset}/img"], Annotation(path, path.stem, size, tuple(shapes))


def _supervisely_shape(where: str, record: Mapping, size: tuple[int, int]) -> Shape:
    label, kind = record["classTitle"], record["geometryType"]
    where = f"{where} ({label!r})"
    if kind == "bitmap":
        unpacked = zlib.decompressobj().decompress(base64.b64decode(record["bitmap"]["data"]), _MAX_BYTES)
        images.decode_mask(unpacked, f"The bitmap of {where}")  # refuses damaged and too large bitmaps
        pixels = cv2.imdecode(np.frombuffer(unpacked, np.uint8), cv2.IMREAD_UNCHANGED)
        pixels = pixels[..., -1] if pixels.ndim == 3 else pixels  # the last of four channels is opacity
        left, top = record["bitmap"]["origin"]
        return Shape(label, polygons.Bitmap.pack(int(left), int(top), pixels > 0))
    if kind != "polygon":
        raise error(f"{where} is a {kind}; polygon and bitmap are supported. Outline it, or delete it.")
    outer = polygon(where, record["points"]["exterior"])
    holes = [polygon(where, hole) for hole in record["points"].get("interior") or ()]
    if not holes:
        return Shape(label, outer)
    if min(size) < 1 or math.prod(size) > images.MAX_PIXELS:
        raise error(f"{where} belongs to a picture of {size[1]} x {size[0]} pixels, an invalid size. Export it again.")
    inside = polygons.draw(*size, [(outer, 1), *((hole, 0) for hole in holes)]) > 0
    return Shape(label, polygons.Bitmap.pack(0, 0, inside))


def read_via(root: Path) -> Entries:
    """Yields the entries of the VGG Image Annotator: polygons, labeled by an attribute of the region."""
    for path in via_files(root):
        try:
            record = parse_json(path, _content(path))
            pictures = record.get("_via_img_metadata", record)
            for picture in pictures.values():
                regions = picture["regions"]
                regions = list(regions.values()) if isinstance(regions, Mapping) else regions
                where = f"{path}: {picture['filename']!r}, region"
                shapes = [_via_shape(f"{where} {i}", region) for i, region in enumerate(regions)]
                split = split_of(path.parent.name) if path.parent != root else ""
                yield split, (), Annotation(path, picture["filename"], None, tuple(shapes))
        except DataError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            raise error(f"{path} is not in VIA's format ({fault!r}). Export it again.") from fault


def _via_shape(where: str, region: Mapping) -> Shape:
    attributes, shape = region["region_attributes"], region["shape_attributes"]
    if shape["name"] != "polygon":
        raise error(f"{where} is a {shape['name']}; only polygon is supported. Outline it, or delete it.")
    key = next((key for key in _LABEL_KEYS if key in attributes), next(iter(attributes), None))
    label = attributes.get(key) or "object"
    if isinstance(label, Mapping):  # checkboxes
        label = next((name for name, ticked in label.items() if ticked), "object")
    points = list(zip(shape["all_points_x"], shape["all_points_y"], strict=True))
    return Shape(str(label).strip(), polygon(where, points))


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1 << 16)


def _content(path: Path) -> bytes:
    return read_bytes(path, _MAX_BYTES, "annotation")


READERS = {
    "coco": read_coco_files,
    "yolo": read_yolo,
    "cvat": read_cvat,
    "supervisely": read_supervisely,
    "via": read_via,
}
