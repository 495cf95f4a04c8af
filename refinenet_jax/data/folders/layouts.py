"""Reads each folder layout into a list of items. docs/own_data.md shows the layouts."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath

from refinenet_jax.data.examples import DataError, first_few, raise_together
from refinenet_jax.data.folders.annotation import Annotation, Entries
from refinenet_jax.data.folders.coco import ROBOFLOW, coco_files, is_coco, read_coco_files
from refinenet_jax.data.folders.dataset_yaml import FILE, LAYOUTS
from refinenet_jax.data.folders.labelme import read_labelme
from refinenet_jax.data.folders.listing import SPLIT_NAMES, all_files, child, composed, top_files
from refinenet_jax.data.folders.pictures import PictureFinder
from refinenet_jax.data.folders.yolo import read_yolo, yolo_files
from refinenet_jax.data.images import ENDINGS
from refinenet_jax.data.reading import read_all
from refinenet_jax.progress import say_once

_ANNOTATIONS = {".xml", ".json"}
_TEXTS = {".txt", ".csv", ".md", ".json", ".xml", ".yaml", ".yml"}


@dataclasses.dataclass(frozen=True, slots=True)
class Item:
    """A picture and the source of its mask; neither is read yet.

    Attributes:
      id: path of the picture relative to its root, without suffix; unique in the folder.
      image: path of the picture.
      annotation: its mask file (layouts masks and voc) or its annotation; None if it is background only.
      split: split given by the layout; empty if there is none.
      name: the id without the part that names the split.
      video: group that must not be divided between splits; empty if the picture belongs to none.
    """

    id: str
    image: Path
    annotation: Path | Annotation | None
    split: str = ""
    name: str = ""
    video: str = ""


def layouts_in(root: Path) -> list[str]:
    """Returns the layouts that a folder matches, by file names and the first bytes of at most one file."""
    matches = {
        "masks": child(root, "images") and child(root, "masks"),
        "voc": child(root, "JPEGImages") and _voc_masks(root),
        "labelme": _labelme_folders(root),
        "coco": coco_files(root),
        "yolo": yolo_files(root),
    }
    return [layout for layout in LAYOUTS if matches[layout]]


def choose_layout(root: Path, asked_for: str) -> str:
    """Returns the layout named in dataset.yaml, or else the only one that the folder matches.

    Raises:
      DataError: the folder matches none, or several, or not the named one.
    """
    layouts = layouts_in(root)
    if asked_for and asked_for in layouts:
        return asked_for
    if len(layouts) == 1 and not asked_for:
        return layouts[0]
    if not layouts or asked_for:
        raise DataError(
            f"{root} has {f'not the layout {asked_for!r} of its {FILE}' if asked_for else 'no supported layout'}."
            " Supported are images/ and masks/ (masks); JPEGImages/ and SegmentationClass/ (voc); LabelMe files in annotations/"
            f" or next to the pictures (labelme); annotations/instances_*.json, annotations.json or train/{ROBOFLOW} (coco);"
            " data.yaml (yolo). Export annotations of other programs, such as CVAT, Supervisely and VIA, as COCO."
            " docs/own_data.md shows the layouts."
        )
    raise DataError(
        f"{root} has {len(layouts)} layouts, {' and '.join(layouts)}. Choose one in {root / FILE}:\n"
        f"  layout: {layouts[0]}"
    )


def read_layout(layout: str, root: Path, unannotated: str = "") -> list[Item]:
    """Returns all items of a folder, sorted by id.

    Args:
      layout: one of LAYOUTS.
      root: the folder.
      unannotated: how pictures without annotation are treated, as in Settings.

    Raises:
      DataError: "missing": pictures without mask or annotation, or the reverse (all are counted). "annotation": an annotation
        file is faulty.
    """
    if layout in _ENTRIES:
        items = _find_pictures(_ENTRIES[layout](root), root, unannotated)
    else:
        items = _READERS[layout](root, unannotated)
    return sorted(items, key=lambda item: item.id)


def image_root(layout: str, root: Path) -> Path:
    """Returns the folder to which ids and the lines of lists are relative."""
    return child(root, "JPEGImages" if layout == "voc" else "images") or root


def list_folders(layout: str, root: Path) -> list[Path]:
    """Returns the folders that may contain the lists of splits."""
    if layout == "voc":
        return [root / "ImageSets" / "Segmentation", root / "splits", root]
    return [root / "splits", root]


def _read_masks(root: Path, unannotated: str) -> list[Item]:
    return _pairs(child(root, "images"), child(root, "masks"), _is_mask, "mask", unannotated)


def _voc_masks(root: Path) -> Path | None:
    """Returns the folder of masks; labelme2voc writes arrays to SegmentationClass and pictures to SegmentationClassPNG."""
    return child(root, "SegmentationClassPNG") or child(root, "SegmentationClass")


def _read_voc(root: Path, unannotated: str) -> list[Item]:
    """Returns the items of a VOC folder. Pictures without mask are no error if there are lists."""
    words = (*SPLIT_NAMES, "trainval")
    has_lists = any((folder / f"{word}.txt").is_file() for folder in list_folders("voc", root) for word in words)
    return _pairs(child(root, "JPEGImages"), _voc_masks(root), _is_mask, "mask", unannotated, strict=not has_lists)


def _read_labelme(root: Path, unannotated: str) -> list[Item]:
    def is_annotation(path: PurePosixPath) -> bool:
        return path.suffix.lower() in _ANNOTATIONS

    items = _pairs(*_labelme_folders(root), is_annotation, "annotation", unannotated)
    contents = iter(read_all(read_labelme, [item.annotation for item in items if item.annotation]))
    return [dataclasses.replace(item, annotation=next(contents)) if item.annotation else item for item in items]


_READERS = {"masks": _read_masks, "voc": _read_voc, "labelme": _read_labelme}
_ENTRIES = {"coco": read_coco_files, "yolo": read_yolo}  # layouts whose files name their pictures


def _find_pictures(entries: Entries, root: Path, unannotated: str) -> list[Item]:
    """Returns the items of entries, and those of pictures next to theirs."""
    finder = PictureFinder(root)
    items, faults = [], []
    for split, folders, annotation in entries:
        try:
            image, name = finder.find(annotation.file, folders, annotation.file_name)
            items.append(Item(_id(image, root), image, annotation, split, _stem(name)))
        except DataError as error:
            faults.append(error)
    raise_together(faults)
    _refuse_duplicates(root, [item.id for item in items])
    return items + _others(items, root, unannotated)


def _others(items: Sequence[Item], root: Path, unannotated: str) -> list[Item]:
    """Returns pictures in the folders of these items that have no entry, perhaps because they are not annotated yet."""
    used = {item.image for item in items}
    splits = {item.image.parent: item.split for item in items}
    images = [folder / name for folder in sorted(splits) for name in top_files(folder, ENDINGS)]
    others = [image for image in images if image not in used]
    if unannotated == "background":
        ids = [_id(image, root) for image in others]
        return [Item(i, image, None, splits[image.parent], i) for i, image in zip(ids, others, strict=True)]
    if others:
        text = f"{root}: {len(others)} pictures are in no annotation file and are skipped: {first_few(others)}."
        say_once(f"{text} If they show only background, write into {root / FILE}:\n  unannotated: background")
    return []


def _id(image: Path, root: Path) -> str:
    relative = image.relative_to(root)
    below = relative.parts[1:] if relative.parts[0].lower() == "images" else relative.parts
    return _stem(PurePosixPath(*below).as_posix())


def _stem(path: PurePosixPath | str) -> str:
    """Returns the path without its suffix, with composed accents (NFC; macOS decomposes them)."""
    return composed(PurePosixPath(path).with_suffix("").as_posix())


def _pairs(
    images: Path,
    partners: Path,
    is_partner: Callable[[PurePosixPath], bool],
    what: str,
    unannotated: str,
    strict: bool = True,
) -> list[Item]:
    """Joins pictures with masks or annotations of the same path; suffixes may differ."""
    paths = [PurePosixPath(path) for path in all_files(images)]
    together = partners == images
    if partners.is_relative_to(images) and not together:  # layout labelme without images/
        paths = [path for path in paths if not (images / path).is_relative_to(partners)]
    pictures = _by_stem(images, (path for path in paths if path.suffix.lower() in ENDINGS))
    others = paths if together else map(PurePosixPath, all_files(partners))
    annotated = _by_stem(partners, filter(is_partner, others))
    without = [name for name in pictures if name not in annotated]
    partners_without = [path for name, path in annotated.items() if name not in pictures]
    faults = []
    if strict and without and not unannotated:
        faults.append(
            f"{len(without)} pictures in {images} have no {what} in {partners}: {first_few(without)}. Add the {what}, or write"
            f" into {FILE} how to treat them:\n  unannotated: background\nor\n  unannotated: skip"
        )
    if strict and partners_without:
        faults.append(
            f"{len(partners_without)} {what}s in {partners} have no picture in {images}: {first_few(partners_without)}. Add it"
            " (JPEG, PNG, BMP, GIF, WebP, TIFF), or move them elsewhere."
        )
    raise_together([DataError(fault, "missing") for fault in faults])
    unused = Counter(path.suffix.lower() for path in paths if path.suffix.lower() not in ENDINGS | _TEXTS)
    if unused:
        endings = ", ".join(f"{number} {ending or 'without ending'}" for ending, number in sorted(unused.items()))
        say_once(f"{images}: {unused.total()} files have no known picture suffix and are skipped: {endings}.")
    if unannotated == "skip" and without:
        say_once(f"{images}: {len(without)} pictures have no {what} and are skipped: {first_few(without)}.")
    return [
        Item(name, images / path, partners / annotated[name] if name in annotated else None, name=name)
        for name, path in pictures.items()
        if name in annotated or unannotated == "background"
    ]


def _by_stem(folder: Path, paths: Iterable[PurePosixPath]) -> dict[str, PurePosixPath]:
    """Returns files by their path without suffix; two of one name are refused."""
    paths = list(paths)
    _refuse_duplicates(folder, [_stem(path) for path in paths])
    return {_stem(path): path for path in paths}


def _is_mask(path: PurePosixPath) -> bool:
    return path.suffix.lower() not in _TEXTS


def _refuse_duplicates(folder: Path, ids: Sequence[str]) -> None:
    duplicates = sorted(name for name, number in Counter(ids).items() if number > 1)
    if duplicates:
        raise DataError(
            f"{folder} has {len(duplicates)} names twice, with two suffixes or in two lists: {first_few(duplicates)}."
            " Keep one of each."
        )


def _labelme_folders(root: Path) -> tuple[Path, Path] | None:
    """Returns the folders of pictures and of LabelMe files; None if there are no LabelMe files."""
    images = child(root, "images") or root
    annotations = child(root, "annotations")
    if annotations and (images != root or any(top_files(root, ENDINGS))):
        names = (name for name in all_files(annotations) if Path(name).suffix.lower() in _ANNOTATIONS)
        first = next(names, None)
        if first and not is_coco(annotations / first):
            return images, annotations
    # Of the root itself only the top level is searched: it can be any folder.
    names = top_files(root, _ANNOTATIONS) if images == root else all_files(images)
    stems = {Path(name).stem for name in top_files(root, ENDINGS)} if images == root else None
    for name in names:
        path = images / name
        if path.suffix.lower() in _ANNOTATIONS and (stems is None or path.stem in stems) and not is_coco(path):
            return images, images
    return None
