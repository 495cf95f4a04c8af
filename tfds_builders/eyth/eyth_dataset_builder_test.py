"""Tests of the builder: TFDS's own checks on dummy_data/, then where the data may come from and what is refused."""

import functools
import pathlib
import shutil
import tarfile
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from tfds_builders import testing
from tfds_builders.archives import UnsafeArchiveError
from tfds_builders.eyth import eyth_dataset_builder, make_dummy_data

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
URL = "https://drive.google.com/uc?export=download&id=1EwjJx-V-Gq7NZtfiT6LZPLGXD2HN--qT"


class EythTest(tfds.testing.DatasetBuilderTestCase):
    """Tests for the eyth dataset."""

    DATASET_CLASS = eyth_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["hands"]  # noqa: RUF012
    SPLITS = {"train": 5, "validation": 2, "test": 2}  # noqa: RUF012


_build = functools.partial(testing.build, eyth_dataset_builder.Builder, config="hands")


@pytest.fixture
def tree(tmp_path):
    """A copy of the dummy tree to do harm to."""
    return shutil.copytree(DUMMY, tmp_path / "tree")


@pytest.fixture
def archive(tmp_path):
    """The dummy tree in an archive as the official one."""
    with tarfile.open(tmp_path / "downloaded", "w:gz") as tar:
        tar.add(DUMMY / "eyth_dataset", "eyth_dataset")
    return tmp_path / "downloaded"


def test_examples(tmp_path):
    builder = _build(tmp_path, manual_dir=DUMMY)
    assert builder.info.metadata == {"class_names": ["background", "hand"], "flip_pairs": []}
    examples = testing.examples_of(builder)
    for key, example in examples.items():
        image, mask = example["image"], example["mask"][..., 0]
        # The hands of the dummy pictures are by far the brightest thing in them.
        assert (image.shape, mask.shape, mask.dtype) == ((216, 384, 3), (216, 384), np.uint8)
        np.testing.assert_array_less(np.mean(mask != (image[..., 0] > 140)), 0.01)
        assert np.unique(mask).tolist() == ([0] if key == make_dummy_data.WITHOUT_HAND else [0, 1])
    assert {examples[key]["video"] for key in examples} == {b"vid4", b"vid6", b"vid9"}
    assert examples["vid9/frame120"]["frame"] == 120


def test_the_jpeg_is_stored_byte_for_byte(tmp_path):
    for key, content in testing.stored_images(_build(tmp_path, manual_dir=DUMMY)).items():
        assert content == (DUMMY / "eyth_dataset" / "images" / f"{key}.jpg").read_bytes()


@pytest.mark.parametrize("inside", [".", "eyth_dataset"])
def test_takes_the_tree_from_each_place(tmp_path, inside):
    assert _build(tmp_path, manual_dir=DUMMY / inside).info.splits.total_num_examples == 9


def test_takes_the_archive_from_manual_dir(tmp_path, archive):
    (tmp_path / "manual").mkdir()
    archive.rename(tmp_path / "manual" / "eyth_dataset.tar.gz")
    assert _build(tmp_path, manual_dir=tmp_path / "manual").info.splits["train"].num_examples == 5


def test_downloads_without_manual_dir(tmp_path, archive):
    path = tfds.core.Path(archive)
    with mock.patch(testing.DOWNLOAD, return_value=path) as download:
        assert _build(tmp_path).info.splits.total_num_examples == 9
    download.assert_called_once_with(URL)


def test_a_web_page_instead_of_the_archive_is_told(tmp_path):
    path = tfds.core.Path(tmp_path / "uc")
    path.write_text("<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>")
    with (
        mock.patch(testing.DOWNLOAD, return_value=path),
        pytest.raises(UnsafeArchiveError, match=r"uc is a web page(?s:.*)/view in a browser(?s:.*)--manual_dir"),
    ):
        _build(tmp_path)


def test_a_failed_download_says_what_to_do_by_hand(tmp_path):
    error = tfds.download.DownloadError("HTTP code: 404")
    with (
        mock.patch(testing.DOWNLOAD, side_effect=error),
        pytest.raises(
            RuntimeError, match=r"404(?s:.*)/view in a browser(?s:.*)eyth_dataset\.tar\.gz(?s:.*)--manual_dir"
        ),
    ):
        _build(tmp_path)


def test_beam_builds_the_same_files(tmp_path):
    plain = _build(tmp_path / "plain", manual_dir=DUMMY)
    beam = _build(tmp_path / "beam", manual_dir=DUMMY, beam_options=PipelineOptions(["--runner=DirectRunner"]))
    testing.assert_same_examples(plain, beam)


def test_a_faulty_tree_leaves_nothing_built(tmp_path, tree):
    (tree / "eyth_dataset" / "masks" / "vid4" / "frame25").unlink()
    with pytest.raises(ValueError, match="names vid4/frame25, of which"):
        _build(tmp_path, manual_dir=tree)
    assert testing.nothing_was_built(tmp_path)


def test_a_bad_picture_is_named_and_leaves_nothing_built(tmp_path, tree):
    path = tree / "eyth_dataset" / "images" / "vid9" / "frame130.jpg"
    content = path.read_bytes()
    path.write_bytes(content[:1500])
    with pytest.raises(ValueError, match=r"vid9/frame130\.jpg cannot be decoded"):
        _build(tmp_path, manual_dir=tree)
    Image.new("RGB", (768, 432)).save(path)
    with pytest.raises(ValueError, match=r"vid9/frame130\.jpg has 768x432 pixels, not 384x216"):
        _build(tmp_path, manual_dir=tree)
    assert testing.nothing_was_built(tmp_path)
    path.write_bytes(content)
    assert _build(tmp_path, manual_dir=tree).info.splits.total_num_examples == 9


if __name__ == "__main__":
    tfds.testing.test_main()
