"""Reads the outlines of YOLO segmentation (docs.ultralytics.com/datasets/segment)."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders.annotation import Annotation, Entries, Shape, error, polygon
from refinenet_jax.data.folders.dataset_yaml import load_yaml
from refinenet_jax.data.folders.listing import all_files, read_text, split_of
from refinenet_jax.data.images import ENDINGS


def yolo_files(root: Path) -> list[Path]:
    """Returns the files data.yaml and data.yml that exist."""
    return [path for path in (root / "data.yaml", root / "data.yml") if path.is_file()]


def read_yolo(root: Path) -> Entries:
    """Yields the entries of data.yaml: folders of pictures, with outlines in `labels` next to each `images`.

    Raises:
      DataError: "annotation": data.yaml or a label file is faulty. "missing": a folder does not exist.
    """
    path = yolo_files(root)[0]
    fields = load_yaml(path)
    names = fields.get("names") if isinstance(fields, Mapping) else None
    names = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(names, Mapping):
        raise error(f"{path} has no list of class names. Add one: `names: [hand]`.")
    for word in ("train", "val", "test"):
        places = fields.get(word) or []
        for place in [places] if isinstance(places, str) else places:
            folder = _folder(root, path, str(fields.get("path") or "."), str(place))
            for name in all_files(folder):
                if Path(name).suffix.lower() in ENDINGS:
                    labels = _labels(root, folder / name)
                    shapes = tuple(_shapes(labels, names)) if labels.is_file() else ()  # no file: background only
                    within = [folder.relative_to(root).as_posix()]
                    yield split_of(word), within, Annotation(labels, None, shapes, name, relative=True)


def _folder(root: Path, path: Path, base: str, place: str) -> Path:
    """Returns the folder that data.yaml names; some files have ../train/images for a folder next to them."""
    inside = place.replace("\\", "/").lstrip("./")
    for relative in (f"{base}/{place}", inside, f"{base}/{inside}"):
        folder = Path(os.path.normpath(root / relative))
        if folder.is_relative_to(root) and folder.is_dir():
            return folder
    raise DataError(f"{path} names {place}, which is not a folder in {root}. Correct it.", "missing")


def _labels(root: Path, image: Path) -> Path:
    """Returns the label file of a picture: its path with the last folder `images` replaced by `labels`."""
    parts = list(image.relative_to(root).with_suffix(".txt").parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return root.joinpath(*parts)


def _shapes(path: Path, names: Mapping) -> Iterator[Shape]:
    for number, line in enumerate(read_text(path).splitlines(), 1):
        words = line.split()
        where = f"{path}, line {number},"
        if len(words) == 5:
            raise error(f"{where} is a box, not an outline; export the dataset for segmentation.")
        if words:
            try:
                label = names[int(words[0])]
            except (ValueError, KeyError) as fault:
                message = f"{where} has the class {words[0][:20]!r}, which is not in data.yaml. Add it there."
                raise error(message) from fault
            yield Shape(str(label), polygon(where, [words[i : i + 2] for i in range(1, len(words), 2)]))
