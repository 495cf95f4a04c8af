"""Reads pictures at the exported size, for calibration and comparison."""

import os
from collections.abc import Sequence

import cv2
import numpy as np

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.sources import open_source
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.sources import find
from refinenet_jax.inference.reading import read

Picture = tuple[np.ndarray, np.ndarray | None]  # uint8 [h, w, 3], and its truth, uint8 [h, w], if known


def from_files(sources: Sequence[str | os.PathLike], size: tuple[int, int], limit: int) -> list[Picture]:
    """Reads at most `limit` pictures from files and folders, evenly spaced, without truth.

    Raises:
      UsageError: a source does not exist, has no picture, or a picture cannot be read.
    """
    paths = [item.path for item in find(sources) if item.kind == "image"]
    if not paths:
        raise UsageError(f"No pictures in {', '.join(map(str, sources))}, only videos. Give picture files.")
    return [(fit(read(path), size), None) for path in _spread(paths, limit)]


def from_dataset(
    name: str, split: str, data_dir: str | None, class_names: Sequence[str], size: tuple[int, int], limit: int
) -> list[Picture]:
    """Reads at most `limit` examples of a dataset or folder, evenly spaced, with their truth.

    Raises:
      DataError: the dataset cannot be read, or its classes differ from `class_names`.
    """
    source = open_source(name, split, data_dir)
    if tuple(source.info.class_names) != tuple(class_names):
        raise DataError(
            f"{name} has the classes {', '.join(source.info.class_names)}, the network {', '.join(class_names)}. Give a "
            "--dataset with the same classes, or pictures with --images."
        )
    examples = (source[index] for index in _spread(range(len(source)), limit))
    return [(fit(e["image"], size), fit(e["mask"], size)) for e in examples]


def made_up(size: tuple[int, int], limit: int) -> list[Picture]:
    """Generates synthetic pictures, without truth, because the network may have other classes.

    Raises:
      UsageError: the code of the dataset is not installed.
    """
    try:
        from tfds_builders.synthetic_hands import scene
    except ImportError as error:
        raise UsageError("There are no pictures for the comparison. Give some with --images.") from error
    return [(fit(scene.generate("test", index)[0], size), None) for index in range(limit)]


def fit(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crops the center of an image or mask at `size`, resized without distortion; class ids are never mixed."""
    (height, width), (rows, columns) = array.shape[:2], size
    scale = max(rows / height, columns / width)
    shape = max(round(height * scale), rows), max(round(width * scale), columns)
    if shape != (height, width):
        smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        array = cv2.resize(array, shape[::-1], interpolation=smooth if array.ndim == 3 else cv2.INTER_NEAREST_EXACT)
    top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
    return np.ascontiguousarray(array[top : top + rows, left : left + columns])


def _spread(items: Sequence, limit: int) -> list:
    indices = np.unique(np.linspace(0, len(items) - 1, min(limit, len(items))).round().astype(int))
    return [items[index] for index in indices]
