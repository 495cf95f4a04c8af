"""Random-access examples: a TFDS dataset built before, read without TensorFlow and without its builder's code."""

import dataclasses
import difflib
import functools
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import tensorflow_datasets as tfds

from refinenet_jax.errors import UsageError

VOID = 255

# `dataset`, `dataset/config`, `dataset:1.0.0` or `dataset/config:1.0.0`, as tfds.builder reads them.
_NAME = re.compile(r"(?P<dataset>\w+)(/(?P<config>[\w.-]+))?(:(?P<version>[\d.]+))?")


class DataError(UsageError):
    """A dataset that cannot be used; the message says what is wrong, where, and what to do about it."""


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a dataset says about itself.

    Attributes:
      name: as in `egohands/hands`.
      class_names: the name of class id i at position i; void (255) is not a class.
      flip_pairs: pairs of class ids that a left-right flip exchanges, such as left and right hand.
    """

    name: str
    class_names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class Source(Protocol):
    """Random access to examples. Must survive pickling, which is how it reaches worker processes."""

    info: DatasetInfo

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns `image` uint8 [h, w, 3] RGB, `mask` uint8 [h, w] of class ids with 255 = void, `id` str, and for frames
        of a video also `video` and `frame`."""


def open_source(name: str, split: str, data_dir: str | os.PathLike | None = None) -> Source:
    """Opens one split of a dataset that was built in ArrayRecord format.

    Args:
      name: `dataset[/config][:version]`. Without a config, `hands` if there is one, else the only one; without a version,
        the newest on disk.
      split: a split, sliced if need be: `train`, `train[:10%]`, `train+validation`.
      data_dir: where datasets are built; by default TFDS's own place, TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
      DataError: the dataset, config, version or split is not there, or is of another file format.
    """
    data_dir = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    return TfdsSource(_find(name, data_dir), split)


def check_masks(source: Source, limit: int = 16) -> None:
    """Reads `limit` examples, spread evenly over the split, and stops if there is nothing in them to learn from.

    Masks saved as 0 and 255 decode without complaint, but 255 is void: the network would learn that all is background.

    Raises:
      DataError: 255 occurs and no class but 0 does; or an example cannot be read at all.
    """
    indices = np.unique(np.linspace(0, len(source) - 1, limit).round().astype(int))
    present = functools.reduce(np.union1d, (np.unique(source[int(index)]["mask"]) for index in indices))
    if VOID in present and not set(present.tolist()) - {0, VOID}:
        raise DataError(
            f"{source.info.name}: the masks of {len(indices)} examples hold only the values {present.tolist()}. They look"
            " like binary masks with 255 for the foreground, but here 255 means void, which is ignored. Store class ids"
            f" instead, 0..{source.info.num_classes - 1} ({', '.join(source.info.class_names)}), for instance with"
            " mask = (mask == 255).astype('uint8'), and build the dataset again."
        )


class TfdsSource:
    """One split of a built TFDS dataset.

    The files are opened on the first read, so that a copy sent to another process opens its own.
    """

    def __init__(self, directory: str | os.PathLike, split: str):
        """Opens the dataset at `directory` (`<data_dir>/<dataset>[/<config>]/<version>`); reads its JSON files only.

        Raises:
          DataError: see open_source.
        """
        self._directory = Path(directory)
        self._split = split
        self._builder = tfds.builder_from_directory(directory)
        info = self._builder.info
        name = info.full_name.rsplit("/", 1)[0]
        if tfds.core.FileFormat.ARRAY_RECORD not in info.available_file_formats():
            raise DataError(
                f"{name} at {directory} is stored as {info.file_format.value}, which has no random access. Build it again:\n"
                f"  {_build_command(name, self._data_dir)} --overwrite"
            )
        metadata = info.metadata or {}
        if not metadata.get("class_names"):
            raise DataError(
                f"{name} at {directory} does not name its classes. Its builder must pass metadata=tfds.core.MetadataDict("
                "{'class_names': [...], 'flip_pairs': [[a, b], ...]}) to tfds.core.DatasetInfo; then build it again."
            )
        self.info = DatasetInfo(
            name=name,
            class_names=tuple(metadata["class_names"]),
            flip_pairs=tuple((int(a), int(b)) for a, b in metadata.get("flip_pairs", ())),
        )
        self._length = self._count(info.splits)

    def __reduce__(self):
        return TfdsSource, (self._directory, self._split)

    def __repr__(self) -> str:
        return f"TfdsSource({self.info.name}, split={self._split!r}, {len(self)} examples at {self._directory})"

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise IndexError(f"{self!r} has no example {index}")
        record = self._records[index]
        example = {key: _text(record[key]) for key in ("id", "video", "frame") if key in record}
        where = f"example {index} (id {example['id']!r}) of {self.info.name} [{self._split}] at {self._directory}"
        # The pixels as they are stored, where the mask was drawn: no rotation by EXIF.
        image = _decode(record["image"], cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION, f"The image of {where}")
        mask = _decode(record["mask"], cv2.IMREAD_UNCHANGED, f"The mask of {where}")
        _check_mask(mask, image.shape[:2], self.info, where)
        return {"image": image, "mask": mask, **example}

    @property
    def _data_dir(self) -> Path:
        return self._directory.parents[2 if self._builder.builder_config else 1]

    @functools.cached_property
    def _records(self):
        skip = tfds.decode.SkipDecoding
        return self._builder.as_data_source(
            self._split, decoders={"image": skip(), "mask": skip()}, file_format=tfds.core.FileFormat.ARRAY_RECORD
        )

    def _count(self, splits: Mapping[str, Any]) -> int:
        """The number of examples in the split."""
        where = f"{self.info.name} at {self._directory}"
        sizes = ", ".join(f"{key} ({value.num_examples})" for key, value in splits.items())
        try:
            length = splits[self._split].num_examples
        except (KeyError, ValueError, AssertionError) as error:
            raise DataError(f"{where} has no split {self._split!r}; it has {sizes}. {error}") from error
        if not length:
            raise DataError(f"The split {self._split!r} of {where} is empty; its splits hold {sizes}.")
        return length


def _find(name: str, data_dir: Path) -> Path:
    """The directory of the newest version of a built dataset."""
    parsed = _NAME.fullmatch(name)
    if not parsed:
        raise DataError(f"{name!r} is not a dataset name; write dataset, dataset/config or dataset/config:1.0.0.")
    dataset, config, version = parsed["dataset"], parsed["config"], parsed["version"]
    configs = _configs(data_dir / dataset)
    if not configs:
        raise DataError(
            f"The dataset {dataset!r} is not built in {data_dir}.{_nearest(dataset, _datasets(data_dir))} To build it:\n"
            f"  {_build_command(name, data_dir)}"
        )
    names = [f"{dataset}/{built}" if built else dataset for built in configs]
    if config is None:
        if "" not in configs and "hands" not in configs and len(configs) > 1:
            raise DataError(f"{dataset!r} in {data_dir} has several configs; choose one of {', '.join(names)}.")
        config = next((choice for choice in ("", "hands") if choice in configs), next(iter(configs)))
    elif config not in configs:
        raise DataError(
            f"The config {config!r} of {dataset!r} is not built in {data_dir}."
            f"{_nearest(f'{dataset}/{config}', names)} To build it:\n  {_build_command(name, data_dir)}"
        )
    versions = configs[config]
    if version is not None and version not in versions:
        raise DataError(f"{name!r} is not built in {data_dir}; the versions there are {', '.join(versions)}.")
    return data_dir / dataset / config / (version or versions[-1])


def _configs(directory: Path) -> dict[str, list[str]]:
    """What is built of a dataset: config ('' for none) -> versions, oldest first."""
    built: dict[str, list[str]] = {}
    for info in [*directory.glob("*/dataset_info.json"), *directory.glob("*/*/dataset_info.json")]:
        if tfds.core.Version.is_valid(info.parent.name):
            config = info.parent.parent.relative_to(directory).name
            built.setdefault(config, []).append(info.parent.name)
    return {config: sorted(built[config], key=tfds.core.Version) for config in sorted(built)}


def _datasets(data_dir: Path) -> list[str]:
    """The datasets that are built in a directory."""
    return sorted(path.name for path in data_dir.glob("*") if path.is_dir() and _configs(path))


def _nearest(name: str, built: Sequence[str]) -> str:
    """A hint at the names that are there."""
    if not built:
        return " Nothing is built there."
    alike = difflib.get_close_matches(name, built, n=1)
    return f" Did you mean {alike[0]}?" if alike else f" Built there: {', '.join(built)}."


def _build_command(name: str, data_dir: Path) -> str:
    dataset, _, config = name.split(":")[0].partition("/")
    config = f" --config={config}" if config else ""
    return f"tfds build tfds_builders/{dataset}{config} --file_format=array_record --data_dir={data_dir}"


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def _decode(encoded: bytes, flags: int, what: str) -> np.ndarray:
    """PNG or JPEG bytes -> uint8 [h, w, 3] or [h, w]."""
    # An empty buffer raises, a damaged one gives None.
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None
    if pixels is None:
        raise DataError(
            f"{what} cannot be decoded ({len(encoded)} bytes, starting {encoded[:8]!r}). The file it was built"
            " from is damaged or no image: replace it and build the dataset again."
        )
    return pixels


def _check_mask(mask: np.ndarray, image_shape: tuple[int, ...], info: DatasetInfo, where: str) -> None:
    if mask.dtype != np.uint8 or mask.shape != image_shape:
        raise DataError(
            f"The mask of {where} is {mask.dtype} {list(mask.shape)}; for this image it must be uint8"
            f" {list(image_shape)}, one class id per pixel."
        )
    # Adding 1 in uint8 takes void (255) to 0, so one maximum finds every value outside the classes.
    if (mask + np.uint8(1)).max() > info.num_classes:
        values = np.unique(mask)
        wrong = values[(values >= info.num_classes) & (values != VOID)].tolist()
        shown = ", ".join(map(str, wrong[:8])) + (f" and {len(wrong) - 8} more" if len(wrong) > 8 else "")
        raise DataError(
            f"The mask of {where} has the values {shown}, which are neither class ids"
            f" (0..{info.num_classes - 1}: {', '.join(info.class_names)}) nor void (255). Many odd values come"
            " from masks saved as JPEG or resized smoothly: use PNG and nearest-neighbour."
        )
