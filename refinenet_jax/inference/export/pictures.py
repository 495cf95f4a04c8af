"""Pictures of the exported size, to calibrate with and to compare on."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from refinenet_jax import visualize
from refinenet_jax.data.examples import DataError
from refinenet_jax.data.sources import open_source
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.sources import find_images

Picture = tuple[np.ndarray, np.ndarray | None]  # uint8 [h, w, 3]; truth, uint8 [h, w], if it is known


def from_files(sources: Sequence[str | os.PathLike], size: tuple[int, int], limit: int) -> list[Picture]:
    """At most `limit` images of files and folders, spread evenly; no truth.

    Raises:
      UsageError: a source does not exist, there is no image, or one cannot be read.
    """
    return [(fit(_read(path), size), None) for path in _spread(list(find_images(sources)), limit)]


def from_dataset(
    name: str, split: str, data_dir: str | None, class_names: Sequence[str], size: tuple[int, int], limit: int
) -> list[Picture]:
    """At most `limit` examples of a dataset or folder, spread evenly, with their truth.

    Raises:
      DataError: it cannot be read, or has other classes than `class_names`.
    """
    source = open_source(name, split, data_dir)
    if tuple(source.info.class_names) != tuple(class_names):
        raise DataError(
            f"{name} has the classes {', '.join(source.info.class_names)}, the network {', '.join(class_names)}. Give a "
            "--dataset of the same classes, or pictures by --images."
        )
    examples = (source[index] for index in _spread(range(len(source)), limit))
    return [(fit(e["image"], size), fit(e["mask"], size)) for e in examples]


def made_up(size: tuple[int, int], limit: int) -> list[Picture]:
    """Pictures of the demo's dataset; no truth, for the network may have learnt other classes.

    Raises:
      UsageError: the dataset's code is not installed.
    """
    try:
        from tfds_builders.synthetic_hands import scene
    except ImportError as error:
        raise UsageError("There are no pictures to compare on; give some by --images.") from error
    return [(fit(scene.generate("test", index)[0], size), None) for index in range(limit)]


def fit(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle of an image or a mask at `size`, resized without distortion; class ids are never mixed."""
    (height, width), (rows, columns) = array.shape[:2], size
    scale = max(rows / height, columns / width)
    shape = max(round(height * scale), rows), max(round(width * scale), columns)
    if shape != (height, width):
        smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        array = cv2.resize(array, shape[::-1], interpolation=smooth if array.ndim == 3 else cv2.INTER_NEAREST_EXACT)
    top, left = (shape[0] - rows) // 2, (shape[1] - columns) // 2
    return np.ascontiguousarray(array[top : top + rows, left : left + columns])


def _read(path: Path) -> np.ndarray:
    try:
        return visualize.read(str(path))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from error


def _spread(items: Sequence, limit: int) -> list:
    indices = np.unique(np.linspace(0, len(items) - 1, min(limit, len(items))).round().astype(int))
    return [items[index] for index in indices]
