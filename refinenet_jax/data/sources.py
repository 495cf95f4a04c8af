"""Random access to the examples of a folder of pictures or of a built TFDS dataset.

Datasets are read without TensorFlow and without the code of their builders.
"""

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from refinenet_jax.data import images
from refinenet_jax.data.examples import (
    VOID,
    DataError,
    DatasetInfo,
    FileSource,
    Source,
    first_few,
    naming_unreadable_files,
)
from refinenet_jax.data.folders.folder import FolderSource, read_folder
from refinenet_jax.data.masks import check_mask
from refinenet_jax.errors import require_extra

# `dataset`, `dataset/config`, `dataset:1.0.0` or `dataset/config:1.0.0`, as tfds.builder reads them.
_NAME = re.compile(r"(?P<dataset>\w+)(/(?P<config>[\w.-]+))?(:(?P<version>[\d.]+))?")


def open_source(name: str, split: str, data_dir: str | os.PathLike | None = None) -> "FolderSource | TfdsSource":
    """Opens one split of a folder of pictures, or of a dataset built in ArrayRecord format.

    Args:
      name: `dataset[/config][:version]`. Without a config, `hands` or the only config is opened; without a version, the newest
        on disk. Or the path of a folder: `./x`, `/x`, `~/x`, or any path of an existing dataset folder.
      split: name of a split, optionally sliced or combined: `train`, `train[:10%]`, `train+validation`.
      data_dir: directory of built datasets; by default TFDS_DATA_DIR or ~/tensorflow_datasets.

    Raises:
      DataError: the dataset, config, version or split does not exist, or has another file format; the folder cannot be
        used (see refinenet_jax.data.folders.folder).
    """
    if _is_folder(name, data_dir):
        return FolderSource(name, split)
    return TfdsSource(_find(name, _data_dir(data_dir)), split)


def splits(name: str, data_dir: str | os.PathLike | None = None) -> dict[str, int]:
    """Returns the number of examples in each split of a dataset or folder; arguments and errors as in open_source."""
    if _is_folder(name, data_dir):
        return {split: len(items) for split, items in read_folder(name).splits.items()}
    info = _tfds().builder_from_directory(_find(name, _data_dir(data_dir))).info
    return {split: about.num_examples for split, about in info.splits.items()}


def check_masks(source: Source, tolerant: bool = False, negatives: bool = True) -> None:
    """Reads 16 examples, spread evenly over the split, and raises an error if there is nothing to learn from them.

    Masks saved as 0 and 255 decode without an error, but 255 is void: the network would learn that everything is background.
    If these examples have no foreground, the others are read too, up to the first that has. If `tolerant`, unreadable
    examples are skipped, because training counts and names them. If `negatives`, a folder whose dataset.yaml has
    `negatives: true` may contain only background and void.

    Raises:
      DataError: 255 occurs but no class other than 0; or only 0 occurs in all examples; or an example cannot be read.
    """
    indices = np.unique(np.linspace(0, len(source) - 1, 16).round().astype(int)).tolist()
    present = {value for index in indices for value in _values(source, index, tolerant)}
    if negatives and isinstance(source, FolderSource) and source.is_negative:
        return
    if VOID in present and not present - {0, VOID}:
        if isinstance(source, FolderSource):
            fix = f"If white is the hand, write into {source.settings_file}:\n  binary: true"
        else:
            fix = (
                f"Store class ids instead, 0..{source.info.num_classes - 1} ({', '.join(source.info.class_names)}), for"
                " instance with mask = (mask == 255).astype('uint8'), and build the dataset again."
            )
        raise DataError(
            f"{source.info.name}: the masks of {len(indices)} examples contain only the values {sorted(present)}. They look"
            f" like binary masks with 255 for the foreground, but 255 means void, which is ignored. {fix}",
            "mask value",
        )
    others = (index for index in range(len(source)) if index not in indices)
    if present == {0} and not any(set(_values(source, index, tolerant)) - {0, VOID} for index in others):
        raise DataError(
            f"{source.info.name}: the masks of all {len(source)} examples contain only background (0), so there is nothing"
            " to learn or to score. List them with `refinenet-jax check` and check how the masks were made."
        )


def _values(source: Source, index: int, tolerant: bool) -> list[int]:
    try:
        mask = source[index]["mask"]
    except DataError:
        if not tolerant:
            raise
        return []
    return np.flatnonzero(np.bincount(mask.ravel())).tolist()


def _data_dir(data_dir: str | os.PathLike | None) -> Path:
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


@naming_unreadable_files()
def _is_folder(name: str, data_dir: str | os.PathLike | None) -> bool:
    """Returns whether a name refers to a folder of pictures; a built dataset goes before a folder without leading ./."""
    if not name:
        raise DataError(
            "No dataset is named. Set config.data.name to a folder or a built dataset:"
            " --config.data.name=./my_hands or --config.data.name=egohands/hands"
        )
    if name.startswith((".", "~")) or os.path.isabs(name):
        return True
    if not Path(name).is_dir():
        return False
    try:
        _find(name, _data_dir(data_dir))
    except DataError:
        return True
    return False


_BUILD_AGAIN = "The file it was built from is damaged or not an image: replace it and build the dataset again."


class TfdsSource(FileSource):
    """One split of a built TFDS dataset.

    Files are opened on the first read, so that a copy sent to another process opens its own.
    """

    def __init__(self, directory: str | os.PathLike, split: str):
        """Opens the dataset at `directory` (`<data_dir>/<dataset>[/<config>]/<version>`); only its JSON files are read.

        Raises:
          DataError: see `open_source`.
        """
        self._directory = Path(directory)
        self._split = split
        tfds = _tfds()
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

    @property
    def directory(self) -> Path:
        """Directory that contains all files of the dataset."""
        return self._directory

    def __len__(self) -> int:
        return self._length

    def undecoded(self, index: int) -> dict[str, Any]:
        """Returns an example whose `image` is an `images.Picture`.

        Raises:
          IndexError: index is not below the number of examples.
          DataError: the mask is faulty, or the header of the picture.
        """
        record = self._records[self._checked(index)]
        example = {key: _text(record[key]) for key in ("id", "video", "frame") if key in record}
        where = f"example {index} (id {example['id']!r}) of {self.info.name} [{self._split}] at {self._directory}"
        # Not rotated by EXIF, because masks are drawn on the stored pixels.
        image = images.Picture(record["image"], f"The image of {where}", _BUILD_AGAIN)
        mask = images.decode_mask(record["mask"], f"The mask of {where}", _BUILD_AGAIN)
        check_mask(mask, image.size, self.info, where)
        return {"image": image, "mask": mask, **example}

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Returns the stored image file and the id of an example, since file names are not stored.

        Raises:
          IndexError: index is not below the number of examples.
        """
        record = self._records[self._checked(index)]
        return record["image"], _text(record["id"])

    @property
    def _data_dir(self) -> Path:
        return self._directory.parents[2 if self._builder.builder_config else 1]

    @functools.cached_property
    def _records(self):
        tfds = _tfds()
        skip = tfds.decode.SkipDecoding
        return self._builder.as_data_source(
            self._split, decoders={"image": skip(), "mask": skip()}, file_format=tfds.core.FileFormat.ARRAY_RECORD
        )

    def _count(self, splits: Mapping[str, Any]) -> int:
        """Returns the number of examples in the split."""
        where = f"{self.info.name} at {self._directory}"
        sizes = ", ".join(f"{key} ({value.num_examples})" for key, value in splits.items())
        try:
            length = splits[self._split].num_examples
        except (KeyError, ValueError, AssertionError) as error:
            raise DataError(f"{where} has no split {self._split!r}; it has {sizes}. {error}") from error
        if not length:
            raise DataError(f"The split {self._split!r} of {where} is empty. Choose another one: {sizes}.")
        return length


def _find(name: str, data_dir: Path) -> Path:
    """Returns the directory of the requested or newest version of a built dataset."""
    parsed = _NAME.fullmatch(name)
    if not parsed:
        raise DataError(
            f"{name!r} is not a dataset name (dataset, dataset/config or dataset/config:1.0.0), nor a folder."
        )
    dataset, config, version = parsed["dataset"], parsed["config"], parsed["version"]
    configs = _configs(data_dir / dataset)
    if not configs:
        built = sorted(path.name for path in data_dir.glob("*") if path.is_dir() and _configs(path))
        raise DataError(
            f"The dataset {dataset!r} is not built in {data_dir} (built there: {first_few(built) or 'nothing'})."
            f" To build it:\n  {_build_command(name, data_dir)}"
        )
    names = [f"{dataset}/{built}" if built else dataset for built in configs]
    if config is None:
        if "" not in configs and "hands" not in configs and len(configs) > 1:
            raise DataError(f"{dataset!r} in {data_dir} has several configs; choose one of {', '.join(names)}.")
        config = next((choice for choice in ("", "hands") if choice in configs), next(iter(configs)))
    elif config not in configs:
        raise DataError(
            f"The config {config!r} of {dataset!r} is not built in {data_dir} (built there: {', '.join(names)}). To build it:\n"
            f"  {_build_command(name, data_dir)}"
        )
    versions = configs[config]
    if version is not None and version not in versions:
        raise DataError(f"{name!r} is not built in {data_dir}; the versions there are {', '.join(versions)}.")
    return data_dir / dataset / config / (version or versions[-1])


def _configs(directory: Path) -> dict[str, list[str]]:
    """Returns the built configs ('' for none) of a dataset with their versions, oldest first."""
    built: dict[str, list[str]] = {}
    for info in [*directory.glob("*/dataset_info.json"), *directory.glob("*/*/dataset_info.json")]:
        if _tfds().core.Version.is_valid(info.parent.name):
            config = info.parent.parent.relative_to(directory).name
            built.setdefault(config, []).append(info.parent.name)
    return {config: sorted(built[config], key=_tfds().core.Version) for config in sorted(built)}


def _tfds() -> ModuleType:
    """TensorFlow Datasets, which folders of pictures do not need."""
    with require_extra("train", "A dataset built by `tfds build`"):
        import tensorflow_datasets
    return tensorflow_datasets


def _build_command(name: str, data_dir: Path) -> str:
    dataset, _, config = name.split(":")[0].partition("/")
    config = f" --config={config}" if config else ""
    return f"tfds build tfds_builders/{dataset}{config} --file_format=array_record --data_dir={data_dir}"


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
