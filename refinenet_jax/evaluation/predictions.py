"""Reads and writes folders of predicted masks, so that masks of any program can be scored without a network.

A mask is an 8-bit image of class ids, gray or with a palette; for two classes also black and white (0 and 255). It is named by
the id of its picture, as in `video/frame.png`. The name may end in `_mask`, as in the output of `refinenet-jax predict`.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from ml_collections import ConfigDict

from refinenet_jax import parallel, visualize
from refinenet_jax.data import images as files
from refinenet_jax.data.examples import VOID, DatasetInfo, Source, first_few
from refinenet_jax.data.folders.listing import all_files
from refinenet_jax.data.reading import read_ahead
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import cvpr18
from refinenet_jax.evaluation.scores import Prediction, Scores, gather, measure
from refinenet_jax.progress import progress_bar, say

ENDINGS = (".png", ".bmp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg", ".webp")
_SUFFIX = "_mask"


class Predictions:
    """The masks in a folder by picture id."""

    def __init__(self, folder: str | os.PathLike, info: DatasetInfo, resize: bool = False):
        """Lists the folder.

        Args:
          folder: folder of masks.
          info: dataset that the masks belong to.
          resize: whether a mask of another size than its picture is resized by nearest neighbor; otherwise it is refused.

        Raises:
          UsageError: the folder does not exist, has no masks, or has two masks of one name.
        """
        self.folder = Path(folder)
        self._info = info
        self._resize = resize
        if not self.folder.is_dir():
            raise UsageError(f"There is no folder {self.folder} of predictions.")
        self._paths: dict[str, str] = {}  # name without ending -> path, relative
        for path in all_files(self.folder):
            name = PurePosixPath(path)
            if name.suffix.lower() in ENDINGS:
                other = self._paths.setdefault(str(name.with_suffix("")), path)
                if other != path:
                    raise UsageError(f"{self.folder} has two masks of one name, {other} and {path}; take one away.")
        if not self._paths:
            raise UsageError(f"{self.folder} has no masks; looked for {' '.join(ENDINGS)}.")

    def path(self, name: str) -> str | None:
        """Returns the path of a picture's mask relative to the folder, or None if it has no mask."""
        return self._paths.get(name) or self._paths.get(name + _SUFFIX)

    def read(self, example: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
        """Returns the mask of an example as it is in the file and at the example's size, each uint8 [h, w]; None without a
        mask.

        Raises:
          UsageError: the mask cannot be read, has values that are not classes, or is of another size.
        """
        path = self.path(example["id"])
        if path is None:
            return None
        mask = read_mask(self.folder / path, self._info)
        size = example["mask"].shape
        if mask.shape == size:
            return mask, mask
        if not self._resize:
            raise UsageError(
                f"{self.folder / path} has {mask.shape[1]} x {mask.shape[0]} pixels, the picture {example['id']!r} has "
                f"{size[1]} x {size[0]}. Predict at the picture's size; or pass --resize_predictions to have masks resized by "
                "nearest neighbor."
            )
        return mask, cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)

    def unused(self, used: set[str]) -> list[str]:
        """Returns the paths that are not in `used`, sorted."""
        return sorted(set(self._paths.values()) - used)


def read_mask(path: Path, info: DatasetInfo) -> np.ndarray:
    """Reads a predicted mask.

    Returns:
      uint8 [h, w] of class ids.

    Raises:
      UsageError: the file cannot be decoded, is in color or JPEG, or has values that are not classes.
    """
    encoded = files.read(path)
    what = f"The prediction {path}"
    found = files.sniff(encoded)
    if found in files.LOSSY:
        raise UsageError(f"{what} is a {found} file, which changes the values; write PNG.")
    mask = files.decode_mask(encoded, what, "Write it again.")
    if mask.ndim == 3:
        raise UsageError(f"{what} is in color; write class ids in one channel, or with a palette.")
    values = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    if info.num_classes == 2 and VOID in values and set(values) <= {0, VOID} and not files.has_palette(encoded):
        return (mask != 0).astype(np.uint8)  # black and white
    if values.max() >= info.num_classes:
        raise UsageError(
            f"{what} has the values {first_few(values.tolist(), 8)}; the classes of {info.name} are "
            f"{', '.join(f'{i} {name}' for i, name in enumerate(info.class_names))}"
            f"{', or 0 and 255 for these two' if info.num_classes == 2 else ''}. Predictions have no void."
        )
    return mask


def score(predictions: Predictions, source: Source, options: ConfigDict) -> Scores:
    """Scores masks without a network. Several processes share the work, and each returns all scores.

    Args:
      predictions: masks of the pictures in `source`.
      source: pictures and truth.
      options: `config.evaluate`; only `protocols` is used.

    Returns:
      The table. A picture without a prediction is marked in it and counts as background. Such pictures, and masks without a
      picture, are listed on standard error.

    Raises:
      UsageError: a mask cannot be used, or no picture has a mask.
    """
    mine = parallel.share(len(source))
    published = np.zeros((len(mine), 2, 2), np.int64)
    dataset = cvpr18.dataset_of(source.info.name)

    def read(index: int) -> tuple[dict, tuple[np.ndarray, np.ndarray] | None]:
        example = source[index]
        return example, predictions.read(example)

    with parallel.raise_on_all_processes(), progress_bar("evaluating", len(mine)) as bar:

        def read_all() -> Iterator[Prediction]:
            for row, (index, (example, masks)) in enumerate(zip(mine, read_ahead(read, mine), strict=True)):
                given, mask = masks or (np.zeros_like(example["mask"]),) * 2
                if "cvpr18" in options.protocols:
                    published[row] = cvpr18.compare(example["mask"], given, dataset)
                yield Prediction(index, example, mask, found=masks is not None)
                bar.update()

        rows = measure(read_all(), source.info)
    published = parallel.gather_rows(np.array(mine, np.int64), published, len(source))
    scores = gather(rows, source.info, len(source), published if "cvpr18" in options.protocols else None)
    _report_mismatches(predictions, scores)
    return scores


def _report_mismatches(predictions: Predictions, scores: Scores) -> None:
    """Lists pictures without a mask and masks without a picture."""
    missing = [name for name, found in zip(scores.ids, scores.found, strict=True) if not found]
    unused = predictions.unused({predictions.path(name) for name in scores.ids})
    if len(missing) == len(scores):
        raise UsageError(
            f"{predictions.folder} has no mask for any of the {len(scores)} pictures; expected {missing[0]}.png, "
            f"found {first_few(unused, 3)}. Name each mask by the id of its picture."
        )
    if missing:
        say(f"No prediction in {predictions.folder} for {len(missing)} of {len(scores)} pictures: {first_few(missing)}")
    if unused:
        say(f"Skipped {len(unused)} masks in {predictions.folder} without a picture in this split: {first_few(unused)}")


def write(folder: Path, name: str, mask: np.ndarray) -> None:
    """Writes FOLDER/NAME.png: class ids, with the colors of the overlays as palette.

    Args:
      folder: created if necessary.
      name: picture id; slashes become folders.
      mask: uint8 [h, w].

    Raises:
      UsageError: the name points outside the folder, or the file cannot be written.
    """
    relative = PurePosixPath(name)
    stays_inside = name.isprintable() and not set(name) & set(":\\") and ".." not in relative.parts
    if not stays_inside or relative.is_absolute() or str(relative) != name or name == ".":
        raise UsageError(f"The id {name!r} cannot be the name of a file in {folder}; build the dataset with other ids.")
    path = folder / f"{name}.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            visualize.colored_mask(mask).save(file, format="PNG")
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror or error}).") from error
