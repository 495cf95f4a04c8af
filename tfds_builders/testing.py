"""What the tests of the builders share."""

import pathlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

DOWNLOAD = "tensorflow_datasets.download.DownloadManager.download"


def build(
    builder: type[tfds.core.DatasetBuilder],
    folder: pathlib.Path,
    config: str | None = None,
    manual_dir: pathlib.Path | None = None,
    **download_config: Any,
) -> tfds.core.DatasetBuilder:
    """Builds a config of a dataset into `data` in a folder, and returns the builder."""
    built = builder(data_dir=folder / "data", config=config, file_format="array_record")
    built.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=manual_dir, **download_config))
    return built


def examples_of(builder: tfds.core.DatasetBuilder, *splits: str, **kwargs: Any) -> dict[str, dict[str, Any]]:
    """The examples of some splits, or of all, by id; `kwargs` as for `as_data_source`."""
    sources = [builder.as_data_source(split=split, **kwargs) for split in splits or builder.info.splits]
    return {example["id"].decode(): example for source in sources for example in source}


def stored_images(builder: tfds.core.DatasetBuilder) -> dict[str, bytes]:
    """The image files of all examples, as they are stored, by id."""
    examples = examples_of(builder, decoders={"image": tfds.decode.SkipDecoding()})
    return {key: example["image"] for key, example in examples.items()}


def assert_same_examples(one: tfds.core.DatasetBuilder, other: tfds.core.DatasetBuilder) -> None:
    """In the same order, too: a run does not depend on how its data were built."""
    assert set(one.info.splits) == set(other.info.splits)
    for split in one.info.splits:
        ours, theirs = examples_of(one, split), examples_of(other, split)
        assert [*ours] == [*theirs]
        for key in ours:
            np.testing.assert_array_equal(ours[key]["mask"], theirs[key]["mask"])


def nothing_was_built(folder: pathlib.Path) -> bool:
    """Whether there is neither a version, whole or incomplete, nor a record below a folder that `build` was given."""
    return not [*(folder / "data").rglob("*1.0.0*"), *(folder / "data").rglob("*array_record*")]
