"""A folder of the user's pictures as a source of examples. docs/own_data.md shows the supported layouts."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import numpy as np

from refinenet_jax.data import images, polygons
from refinenet_jax.data.examples import DataError, DatasetInfo, FileSource, first_few, naming_unreadable_files
from refinenet_jax.data.folders.classes import (
    LABELMAP,
    LabelIds,
    classes_of_labels,
    classes_of_masks,
    flip_pairs,
    plain,
    read_labelmap,
    unpaired,
)
from refinenet_jax.data.folders.dataset_yaml import FILE, Settings, read_settings
from refinenet_jax.data.folders.layouts import (
    Item,
    choose_layout,
    image_root,
    list_folders,
    read_layout,
)
from refinenet_jax.data.folders.splitting import divide
from refinenet_jax.data.masks import check_mask, read_mask
from refinenet_jax.errors import require_extra
from refinenet_jax.progress import say_once

_MASKS = ("masks", "voc")  # layouts in which every picture has a mask file


@dataclasses.dataclass(frozen=True)
class Folder:
    """Content of a folder; no picture is read yet.

    Attributes:
      root: its absolute path.
      info: name and classes of the dataset.
      layout: one of LAYOUTS.
      settings: content of dataset.yaml.
      label_ids: class id of each label; empty for layouts with masks.
      splits: items of each split.
    """

    root: Path
    info: DatasetInfo
    layout: str
    settings: Settings
    label_ids: LabelIds
    splits: dict[str, list[Item]]


@naming_unreadable_files()
def read_folder(path: str | os.PathLike) -> Folder:
    """Reads file names, lists, dataset.yaml and annotations. Masks are read, once, only if classes are not named.

    Raises:
      DataError: the folder does not exist or cannot be used as a whole; see docs/own_data.md.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        raise DataError(f"There is no folder {root}. Correct the path.", "missing")
    settings = read_settings(root)
    layout = choose_layout(root, settings.layout)
    _refuse_idle_settings(layout, settings, root)
    items = read_layout(layout, root, settings.unannotated)
    annotations = [item.annotation for item in items if item.annotation]
    if not annotations:
        raise DataError(f"{root} has no pictures with masks or annotations (layout {layout!r}).", "missing")

    label_ids: LabelIds = {}
    if layout not in _MASKS:
        labels = set().union(*(annotation.labels for annotation in annotations))
        names, label_ids = classes_of_labels(labels, settings, root)
    elif not settings.colors and settings.binary is None and (colors := read_labelmap(root / LABELMAP)):
        names, ids = classes_of_labels(colors, settings, root)
        by_color = {color: ids[plain(name)] or 0 for name, color in colors.items()}
        settings = dataclasses.replace(settings, colors={(0, 0, 0): 0} | by_color)
    else:
        names = classes_of_masks(annotations, settings, root)

    splits = divide(items, root, image_root(layout, root), list_folders(layout, root), settings)
    unlisted = {item.id for item in items} - {item.id for part in splits.values() for item in part}
    if unlisted:
        say_once(f"{root}: {len(unlisted)} of {len(items)} pictures are in no list: {first_few(sorted(unlisted))}.")
    info = DatasetInfo(
        settings.name or root.name, tuple(names), flip_pairs(names, settings, root / FILE), unpaired(names, settings)
    )
    return Folder(root, info, layout, settings, label_ids, splits)


class FolderSource(FileSource):
    """One split of a folder. Pictures and masks are read on access; reading is thread-safe."""

    def __init__(self, path: str | os.PathLike, split: str):
        """Reads the folder.

        Args:
          path: path of the folder.
          split: split in the syntax of TFDS: `train`, `train[:10%]`, `train+validation`.

        Raises:
          DataError: as in read_folder; or the split does not exist or is empty.
        """
        folder = read_folder(path)
        self.info = folder.info
        self._items = _select(folder, split)
        self._folder = dataclasses.replace(folder, splits={})  # other processes need only the items of this split
        self._split = split

    def __repr__(self) -> str:
        return f"FolderSource({self.info.name}, split={self._split!r}, {len(self)} examples in {self._folder.root})"

    def __len__(self) -> int:
        return len(self._items)

    def undecoded(self, index: int) -> dict[str, Any]:
        """Returns an example whose `image` is an `images.Picture`; `video` is the group that splits do not divide, if any.

        The picture is rotated upright by its EXIF orientation, and so is a mask that fits only the stored picture.

        Raises:
          IndexError: index is not below the number of examples.
          DataError: the mask is faulty, or the header of the picture; the message has their full paths.
        """
        item = self._items[self._checked(index)]
        encoded = images.read(item.image)
        orientation = images.orientation(encoded)
        image = images.Picture(encoded, f"The image {item.image}", orientation=orientation)
        stored = image.size[::-1] if orientation > 4 else image.size
        mask = self._mask(item, image.size, stored)
        if mask.shape == stored != image.size:
            mask = images.turn_upright(mask, orientation)
        where = f"{item.image} ({item.annotation})" if self._has_masks else str(item.image)
        check_mask(mask, image.size, self.info, where)
        return {"image": image, "mask": mask, "id": item.id, **({"video": item.video} if item.video else {})}

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Returns the stored image file and its path in the folder.

        Raises:
          IndexError: index is not below the number of examples.
          DataError: the file cannot be read.
        """
        item = self._items[self._checked(index)]
        return images.read(item.image), item.image.relative_to(self._folder.root).as_posix()

    @property
    def directory(self) -> Path:
        """Directory that contains all files of the dataset."""
        return self._folder.root

    @property
    def settings_file(self) -> Path:
        """Path of dataset.yaml, which may not exist."""
        return self._folder.root / FILE

    @property
    def is_negative(self) -> bool:
        """Whether dataset.yaml states that the pictures show none of the classes above 0."""
        return self._folder.settings.negatives

    @property
    def _has_masks(self) -> bool:
        return self._folder.layout in _MASKS

    def _mask(self, item: Item, upright: tuple[int, int], stored: tuple[int, int]) -> np.ndarray:
        """Returns the mask of an item; from annotations it has the upright or the stored size."""
        if item.annotation is None:
            return np.zeros(upright, np.uint8)
        if self._has_masks:
            return read_mask(item.annotation, self._folder.settings)
        annotation = item.annotation
        size = annotation.size or upright
        if size not in (upright, stored):  # checked before anything of that size is drawn
            raise DataError(
                f"{item.image} has {stored[1]} x {stored[0]} pixels, but {annotation.file} was drawn on {size[1]} x {size[0]}."
                " Use the picture that was annotated, or annotate again.",
                "size mismatch",
            )
        shapes = [(shape.region, self._folder.label_ids[plain(shape.label)]) for shape in annotation.shapes]
        if annotation.relative:
            shapes = [(points * size[::-1], class_id) for points, class_id in shapes]
        polygons_only = [region for region, _ in shapes if isinstance(region, np.ndarray)]
        far = polygons_only and (np.concatenate(polygons_only).max(0) > 1.05 * np.array(size[::-1])).any()
        if far and not annotation.size:
            raise DataError(
                f"The annotation in {annotation.file} extends beyond the picture {item.image} of {size[1]} x {size[0]} pixels,"
                " which may have been resized. Use the picture that was annotated.",
                "size mismatch",
            )
        kept = (
            (region if isinstance(region, np.ndarray) else region.draw(*size), class_id)
            for region, class_id in shapes
            if class_id is not None
        )
        try:
            return polygons.draw(*size, kept)
        except ValueError as error:
            raise DataError(f"{annotation.file}: {error}. Draw it again.", "annotation") from error


def _refuse_idle_settings(layout: str, settings: Settings, root: Path) -> None:
    """Refuses settings that have no effect, because they indicate a misunderstanding."""
    if layout in _MASKS and (root / LABELMAP).is_file():  # masks with labels
        return
    idle, kind = (("ignore", "void"), "labels of annotations") if layout in _MASKS else (("binary", "colors"), "masks")
    for key in idle:
        if getattr(settings, key):
            raise DataError(f"{root / FILE}: {key} is for {kind}, but {root} has the layout {layout!r}. Remove it.")


def _select(folder: Folder, split: str) -> list[Item]:
    sizes = {name: len(items) for name, items in folder.splits.items()}
    has = f"it has {', '.join(f'{name} ({size})' for name, size in sizes.items())}"
    if split in sizes:
        items = folder.splits[split]
    else:
        with require_extra("train", f"{folder.root} has no split {split!r}; {has}. Slicing or joining splits"):
            import tensorflow_datasets as tfds
        infos = {
            name: tfds.core.SplitInfo(name=name, shard_lengths=[size], num_bytes=0, filename_template=None)
            for name, size in sizes.items()
        }
        try:
            parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
        except (ValueError, AssertionError) as error:
            raise DataError(f"{folder.root} has no split {split!r}; {has}. {error}") from error
        items = [item for part in parts for item in folder.splits[part.splitname][part.from_ : part.to]]
    if not items:
        raise DataError(f"The split {split!r} of {folder.root} is empty. Choose another one: {has}.")
    return items
