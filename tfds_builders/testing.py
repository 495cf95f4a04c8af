"""Helpers of the tests of the builders."""

import contextlib
import pathlib
from typing import Any

import numpy as np
import pytest
import tensorflow_datasets as tfds

DOWNLOAD = "tensorflow_datasets.download.DownloadManager.download"


def build(
    builder: type[tfds.core.DatasetBuilder],
    folder: pathlib.Path,
    config: str | tfds.core.BuilderConfig | None = None,
    manual_dir: pathlib.Path | None = None,
    **download_config: Any,
) -> tfds.core.DatasetBuilder:
    """Builds a config of a dataset into `data` in a folder, and returns the builder."""
    built = builder(data_dir=folder / "data", config=config, file_format="array_record")
    built.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir, **download_config))
    return built


def examples_of(builder: tfds.core.DatasetBuilder, *splits: str, **kwargs: Any) -> dict[str, dict[str, Any]]:
    """Returns the examples of some splits, or of all, by id; `kwargs` are those of `as_data_source`."""
    sources = [builder.as_data_source(split=split, **kwargs) for split in splits or builder.info.splits]
    return {example["id"].decode(): example for source in sources for example in source}


def masks_of(builder: tfds.core.DatasetBuilder, *splits: str) -> dict[str, np.ndarray]:
    """Returns the masks of some splits, or of all, uint8 [h, w], by id."""
    return {key: example["mask"][..., 0] for key, example in examples_of(builder, *splits).items()}


@contextlib.contextmanager
def refused(folder: pathlib.Path, match: str, error: type[Exception] = ValueError):
    """Asserts that an error is raised and that nothing remains in a folder given to `build`: no version and no record."""
    with pytest.raises(error, match=match):
        yield
    assert not [*(folder / "data").rglob("dataset_info.json"), *(folder / "data").rglob("*array_record*")]
