"""Tests of the builder: TFDS's own checks on dummy_data/, what the configs hold, and what is refused."""

import functools
import io
import logging
import pathlib
import shutil
import tarfile
from unittest import mock

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from refinenet_jax.data.sources import open_source
from tfds_builders import testing
from tfds_builders.archives import UnsafeArchiveError
from tfds_builders.hof import hand_over_face, hof_dataset_builder, make_dummy_data, splits
from tfds_builders.pictures import read_binary

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
URL = "https://drive.google.com/uc?export=download&id=1hHUvINGICvOGcaDgA5zMbzAIUv7ewDd3"
SPLITS = {"train": {2, 5, 100, 300}, "validation": {1, 3, 221}, "test": {4, 9, 10, 216, 225}}


class HofTest(tfds.testing.DatasetBuilderTestCase):
    """Tests for the hof dataset."""

    DATASET_CLASS = hof_dataset_builder.Builder
    SPLITS = {split: len(numbers) for split, numbers in SPLITS.items()}  # noqa: RUF012


_build = functools.partial(testing.build, hof_dataset_builder.Builder)


def _examples(builder, *splits):
    return {int(key): example for key, example in testing.examples_of(builder, *splits).items()}


@pytest.fixture
def tree(tmp_path):
    """A manual folder with a copy of the dummy tree, to do harm to."""
    return shutil.copytree(DUMMY, tmp_path / "manual") / hand_over_face.FOLDER


def _tar_of(tree, path):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(tree, hand_over_face.FOLDER)
    return path


def test_configs():
    configs = hof_dataset_builder.Builder.builder_configs
    assert [*configs] == ["resized", "original", "left_right"]
    assert configs["left_right"].class_names == ("background", "left hand", "right hand")
    assert configs["left_right"].flip_pairs == ((1, 2),)
    for name in ("resized", "original"):
        assert (configs[name].class_names, configs[name].flip_pairs) == (("background", "hand"), ())


def test_examples_of_the_three_configs(tmp_path):
    built = {config: _build(tmp_path, config, DUMMY) for config in ("resized", "original", "left_right")}
    examples = {config: _examples(builder) for config, builder in built.items()}
    tree = tfds.core.Path(DUMMY / hand_over_face.FOLDER)
    for picture in hand_over_face.read_original(tree):
        number = picture.number
        resized, original, left_right = (examples[config][number] for config in built)
        assert resized["image"].shape == (216, 384, 3)
        np.testing.assert_array_equal(resized["mask"][..., 0], read_binary(tree / f"masks/{number}.png")[0])
        assert original["image"].shape == (picture.height, picture.width, 3)
        np.testing.assert_array_equal(original["image"], left_right["image"])
        np.testing.assert_array_equal(original["mask"], left_right["mask"] > 0)
        assert set(np.unique(left_right["mask"])) == {0} | {{"left": 1, "right": 2}[h.side] for h in picture.hands}
        # Drawn where the hand is: shrunk to 384x216 it is the official mask, but for the edges.
        shrunk = cv2.resize(original["mask"], (384, 216), interpolation=cv2.INTER_NEAREST) > 0
        mask = resized["mask"][..., 0] > 0
        assert (shrunk & mask).sum() / (shrunk | mask).sum() > 0.93
    for split, numbers in SPLITS.items():
        assert set(_examples(built["left_right"], split)) == numbers
    assert built["left_right"].info.metadata == {
        "class_names": ["background", "left hand", "right hand"],
        "flip_pairs": [[1, 2]],
    }


def test_tensorflow_tfds_and_this_library_decode_the_same(tmp_path):
    """Grey pictures and the PNGs in place of GIFs included."""
    builder = _build(tmp_path, "original", DUMMY)
    by_tensorflow = builder.info.features["image"].decode_example
    for split in SPLITS:
        source, ours = builder.as_data_source(split=split), open_source("hof/original", split, tmp_path / "data")
        for index in range(len(ours)):
            theirs, example = source[index], ours[index]
            assert theirs["id"].decode() == example["id"]
            np.testing.assert_array_equal(theirs["image"], example["image"])
            np.testing.assert_array_equal(theirs["mask"][..., 0], example["mask"])
            difference = by_tensorflow(ours.encoded(index)[0]).numpy().astype(int) - example["image"]
            assert np.abs(difference).max() <= 4  # JPEG decoders round differently


@pytest.mark.parametrize("config", ["resized", "original"])
def test_jpegs_are_stored_byte_for_byte(tmp_path, config):
    builder = _build(tmp_path, config, DUMMY)
    folder = DUMMY / hand_over_face.FOLDER / {"resized": "images_resized", "original": "images_original_size"}[config]
    others = set()
    for key, stored in testing.stored_images(builder).items():
        content = (folder / f"{key}.jpg").read_bytes()
        if stored != content:
            assert (stored[:4], content[:4]) == (b"\x89PNG", b"GIF8")
            others.add(int(key))
    assert others == (make_dummy_data.GIFS if config == "original" else set())


def test_beam_builds_the_same_files(tmp_path):
    plain = _build(tmp_path / "plain", "left_right", DUMMY)
    beam = _build(tmp_path / "beam", "left_right", DUMMY, beam_options=PipelineOptions(["--runner=DirectRunner"]))
    testing.assert_same_examples(plain, beam)


@pytest.mark.parametrize("inside", [".", "hand_over_face", "hand_over_face_corrected"])
def test_takes_the_tree_from_each_place(tmp_path, tree, inside):
    if inside == "hand_over_face_corrected":
        shutil.move(tree, tree.parent / inside / tree.name)
        inside = "."
    assert _build(tmp_path, "resized", tree.parent / inside).info.splits.total_num_examples == 12


@pytest.mark.parametrize("name", ["hand_over_face_corrected.tar.gz", "hand_over_face.tar.gz"])
def test_takes_the_archive_from_manual_dir(tmp_path, tree, name):
    (tmp_path / "archives").mkdir()
    _tar_of(tree, tmp_path / "archives" / name)
    assert _build(tmp_path, "resized", tmp_path / "archives").info.splits["train"].num_examples == 4


def test_downloads_without_manual_dir(tmp_path, tree, caplog):
    path = tfds.core.Path(_tar_of(tree, tmp_path / "downloaded"))
    # What other data sets keep in TFDS's common manual folder is no list of test pictures.
    (tmp_path / "data" / "downloads" / "manual").mkdir(parents=True)
    (tmp_path / "data" / "downloads" / "manual" / "test.txt").write_text("1")
    with mock.patch(testing.DOWNLOAD, return_value=path) as download:
        assert set(_examples(_build(tmp_path, "original"), "test")) == SPLITS["test"]
    download.assert_called_once_with(URL)
    assert "split by this library" in caplog.text


def test_a_web_page_in_place_of_the_archive_is_explained(tmp_path):
    page = tfds.core.Path(tmp_path / "uc_export_download")
    page.write_text("<!DOCTYPE html><html><head><title>Google Drive - Quota exceeded</title></head></html>")
    with (
        mock.patch(testing.DOWNLOAD, return_value=page),
        pytest.raises(UnsafeArchiveError, match=r"is a web page(?s:.*)id=1hHUv\w+ in a browser(?s:.*)--manual_dir"),
    ):
        _build(tmp_path, "resized")
    assert testing.nothing_was_built(tmp_path)


def test_a_failed_download_says_what_to_do_by_hand(tmp_path):
    error = tfds.download.DownloadError("HTTP code: 404")
    with (
        mock.patch(testing.DOWNLOAD, side_effect=error),
        pytest.raises(RuntimeError, match=r"404(?s:.*)hand_over_face_corrected\.tar\.gz into a folder(?s:.*)test\.txt"),
    ):
        _build(tmp_path, "resized")


def test_the_list_in_the_manual_folder_is_the_test_split(tmp_path, tree, caplog):
    (tree.parent / splits.LIST).write_text("1.jpg\n3.jpg\n300.jpg\n")
    with caplog.at_level(logging.INFO, "absl"):
        builder = _build(tmp_path, "resized", tree.parent)
    assert set(_examples(builder, "test")) == {1, 3, 300}
    assert "The 3 test pictures are those of the manual folder" in caplog.text


def test_the_owners_test_pictures_are_the_test_split(tmp_path, tree):
    shutil.copytree(tree / "images_original_size", tree.parent / "hand_over_face_test" / "test")
    for number in (4, 5, 216):
        (tree.parent / "hand_over_face_test" / "test" / f"{number}.jpg").unlink()
    builder = _build(tmp_path, "resized", tree.parent)
    assert set(_examples(builder, "test")) == set(make_dummy_data.NUMBERS) - {4, 5, 216}
    assert "validation" in builder.info.splits or "train" in builder.info.splits


def test_a_list_of_pictures_that_are_not_there_is_refused(tmp_path, tree):
    (tree.parent / splits.LIST).write_text("1\n7\n")
    with pytest.raises(ValueError, match=r"test\.txt names pictures that are not there: 7\."):
        _build(tmp_path, "left_right", tree.parent)
    assert testing.nothing_was_built(tmp_path)


def test_left_right_refuses_hands_of_no_side_and_original_does_not_mind(tmp_path, tree):
    for number in (9, 300):
        xml = tree / "annotations" / f"{number}.xml"
        points = np.array([[30, 30], [60, 30], [60, 50]])
        make_dummy_data.write_annotation(xml, [make_dummy_data.describe("hand", "", points)], None)
    with pytest.raises(
        ValueError, match=r"left_right cannot be built: .* 2 of 12 annotations, 9, 300\. .*--config=original"
    ):
        _build(tmp_path, "left_right", tree.parent)
    assert testing.nothing_was_built(tmp_path)
    assert np.unique(_examples(_build(tmp_path, "original", tree.parent))[9]["mask"]).tolist() == [0, 1]


def test_a_faulty_tree_is_refused_before_anything_is_written(tmp_path, tree):
    (tree / "masks" / "9.png").unlink()
    with pytest.raises(ValueError, match=r"masks has no 9\.png"):
        _build(tmp_path, "resized", tree.parent)
    assert testing.nothing_was_built(tmp_path)


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        ("resized", "masks/9.png", "9.png is no mask of black and white: its brightest pixel has 38"),
        ("resized", "images_resized/9.jpg", "9.jpg cannot be decoded"),
        ("original", "images_original_size/9.jpg", "9.jpg cannot be decoded"),
    ],
)
def test_faulty_pixels_leave_no_half_built_dataset(tmp_path, tree, config, path, message):
    if path.startswith("masks"):
        Image.fromarray(np.full((216, 384), 38, np.uint8)).save(tree / path)
    else:
        with Image.open(tree / path) as image:
            content = io.BytesIO()
            image.save(content, "JPEG")
        (tree / path).write_bytes(content.getvalue()[: len(content.getvalue()) * 3 // 4])
    with pytest.raises(ValueError, match=message):
        _build(tmp_path, config, tree.parent)
    assert testing.nothing_was_built(tmp_path)


if __name__ == "__main__":
    tfds.testing.test_main()
