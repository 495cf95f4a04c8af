"""Tests of the builder: TFDS's own checks on dummy_data/, then where the data may come from and what is refused."""

import functools
import io
import os
import pathlib
import shutil
import zipfile
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions
from PIL import Image

from tfds_builders import testing
from tfds_builders.archives import UnsafeArchiveError
from tfds_builders.egohands import egohands_dataset_builder, labelled_samples, make_dummy_data

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
REAL = pathlib.Path(__file__).parents[3] / "shared" / "realdata" / "egohands"


class EgohandsTest(tfds.testing.DatasetBuilderTestCase):
    """Tests for the egohands dataset."""

    DATASET_CLASS = egohands_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["hands_available", "left_right_available", "identities_available"]  # noqa: RUF012
    SPLITS = {"train": 5, "validation": 2, "test": 2}  # noqa: RUF012


_build = functools.partial(testing.build, egohands_dataset_builder.Builder)


@pytest.fixture
def tree(tmp_path):
    """A copy of the dummy tree to do harm to."""
    return shutil.copytree(DUMMY, tmp_path / "tree")


def _zip_of(tree, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(tree.rglob("*")):
            archive.write(file, file.relative_to(tree))
    return path


def test_configs():
    configs = egohands_dataset_builder.Builder.builder_configs
    assert [*configs] == [n + a for a in ("", "_available") for n in ("hands", "left_right", "identities")]
    for config in configs.values():
        assert set(config.classes) == set(range(len(config.class_names)))
        for left, right in config.flip_pairs:
            assert config.class_names[left].replace("left", "right") == config.class_names[right]


def test_examples_of_the_three_configs(tmp_path):
    built = {c: _build(tmp_path, f"{c}_available", DUMMY) for c in ("hands", "left_right", "identities")}
    examples = {config: testing.examples_of(builder, "train") for config, builder in built.items()}
    assert built["left_right"].info.metadata == {
        "class_names": ["background", "left hand", "right hand"],
        "flip_pairs": [[1, 2]],
    }
    for key, example in examples["identities"].items():
        identities = example["mask"]
        assert identities.dtype == np.uint8
        np.testing.assert_array_equal(examples["hands"][key]["mask"], identities > 0)
        np.testing.assert_array_equal(examples["left_right"][key]["mask"], np.array([0, 1, 2, 1, 2])[identities])
    assert {key: np.unique(e["mask"]).tolist() for key, e in examples["identities"].items()} == {
        "CARDS_COURTYARD_H_S/frame_0003": [0, 1, 2, 3, 4],
        "CARDS_COURTYARD_H_S/frame_0040": [0, 4],
        "CARDS_COURTYARD_H_S/frame_2105": [0],
        "PUZZLE_OFFICE_T_S/frame_0000": [0, 1, 2, 3, 4],
        "PUZZLE_OFFICE_T_S/frame_0077": [0, 4],
    }
    example = examples["hands"]["CARDS_COURTYARD_H_S/frame_2105"]
    assert (example["video"], example["frame"]) == (b"CARDS_COURTYARD_H_S", 2105)


def test_the_jpeg_is_stored_byte_for_byte(tmp_path):
    for key, content in testing.stored_images(_build(tmp_path, "hands_available", DUMMY)).items():
        assert content == (DUMMY / labelled_samples.FOLDER / f"{key}.jpg").read_bytes()


@pytest.mark.parametrize("inside", [".", labelled_samples.FOLDER, "egohands_data"])
def test_takes_the_tree_from_each_place(tmp_path, tree, inside):
    if inside == "egohands_data":
        tree = tree.rename(tmp_path / "egohands_data").parent
        inside = "."
    assert _build(tmp_path, "hands_available", tree / inside).info.splits.total_num_examples == 9


def test_takes_the_zip_from_manual_dir_and_unpacks_it_once(tmp_path, tree):
    (tmp_path / "manual").mkdir()
    _zip_of(tree, tmp_path / "manual" / "egohands_data.zip")
    assert _build(tmp_path, "hands_available", tmp_path / "manual").info.splits["train"].num_examples == 5
    with mock.patch("tfds_builders.archives.safe_extract", side_effect=AssertionError("unpacked twice")):
        _build(tmp_path, "identities_available", tmp_path / "manual")


def test_beam_builds_the_same_files(tmp_path):
    plain = _build(tmp_path / "plain", "identities_available", DUMMY)
    options = PipelineOptions(["--runner=DirectRunner"])
    beam = _build(tmp_path / "beam", "identities_available", DUMMY, beam_options=options)
    testing.assert_same_examples(plain, beam)


def test_refuses_an_unsafe_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "egohands_data.zip", "w") as archive:
        archive.writestr("../escape.txt", "")
    with pytest.raises(UnsafeArchiveError, match=r"\.\./escape\.txt"):
        _build(tmp_path, "hands", tmp_path)


def test_downloads_without_manual_dir(tmp_path, tree):
    # What other data sets keep in TFDS's common manual folder is no reason not to download.
    (tmp_path / "data" / "downloads" / "manual").mkdir(parents=True)
    (tmp_path / "data" / "downloads" / "manual" / "other.zip").touch()
    path = tfds.core.Path(_zip_of(tree, tmp_path / "downloaded"))
    with mock.patch(testing.DOWNLOAD, return_value=path) as download:
        assert _build(tmp_path, "hands_available").info.splits.total_num_examples == 9
    download.assert_called_once_with("http://vision.soic.indiana.edu/egohands_files/egohands_data.zip")


def test_a_failed_download_says_what_to_do_by_hand(tmp_path):
    error = tfds.download.DownloadError("HTTP code: 404")
    with (
        mock.patch(testing.DOWNLOAD, side_effect=error),
        pytest.raises(RuntimeError, match=r"404(?s:.*)egohands_data\.zip into a folder(?s:.*)--manual_dir"),
    ):
        _build(tmp_path, "hands")


def test_a_manual_dir_without_the_data_is_an_error(tmp_path):
    (tmp_path / "manual").mkdir()
    with pytest.raises(AssertionError, match=r"manual does not exist or is empty(?s:.*)--manual_dir"):
        _build(tmp_path, "hands", tmp_path / "manual")
    (tmp_path / "manual" / "holiday.jpg").touch()
    with pytest.raises(FileNotFoundError, match=r"neither egohands_data\.zip nor(?s:.*)--manual_dir"):
        _build(tmp_path, "hands", tmp_path / "manual")


def test_missing_videos_are_listed(tmp_path, tree):
    (tree / labelled_samples.FOLDER / "PUZZLE_OFFICE_T_S").rename(tree / labelled_samples.FOLDER / "PUZZLE_OFICE_T_S")
    with pytest.raises(ValueError, match="45 of the 48 videos are missing") as error:
        _build(tmp_path, "left_right", tree)
    for word in ("PUZZLE_OFFICE_T_S", "no video of EgoHands: PUZZLE_OFICE_T_S", "--config=left_right_available"):
        assert word in str(error.value)
    assert "CARDS_OFFICE_S_B has 2 frames; the official video has 100" in str(error.value)
    assert not list((tmp_path / "data").rglob("*array_record*"))


def test_available_leaves_out_a_split_without_videos_but_needs_one(tmp_path, tree):
    videos = tree / labelled_samples.FOLDER
    shutil.rmtree(videos / "JENGA_COURTYARD_T_S")
    assert set(_build(tmp_path, "hands_available", tree).info.splits) == {"train", "test"}
    for video in make_dummy_data.VIDEOS:
        shutil.rmtree(videos / video, ignore_errors=True)
    with pytest.raises(ValueError, match="48 of the 48 videos are missing"):
        _build(tmp_path, "identities_available", tree)


def test_the_whole_tree_is_taken_and_one_frame_less_is_not(tmp_path):
    """48 videos of 100 frames, all links to one picture: nothing is generated, so it stays unread."""
    (tmp_path / "picture").write_bytes(b"")
    frame = {name: np.empty((0, 0)) for name in labelled_samples.IDENTITIES}
    make_dummy_data.write_polygons(tmp_path / "polygons", [frame] * 100)
    for video in labelled_samples.VIDEOS:
        folder = tmp_path / labelled_samples.FOLDER / video
        folder.mkdir(parents=True)
        os.link(tmp_path / "polygons", folder / "polygons.mat")
        for i in range(100):
            os.link(tmp_path / "picture", folder / f"frame_{27 * i:04d}.jpg")
    builder = egohands_dataset_builder.Builder(data_dir=tmp_path / "data")
    manager = tfds.download.DownloadManager(
        download_dir=tmp_path / "down",
        manual_dir=tmp_path,
        manual_dir_instructions=builder.MANUAL_DOWNLOAD_INSTRUCTIONS,
    )
    assert [*builder._split_generators(manager)] == ["train", "validation", "test"]
    (tmp_path / labelled_samples.FOLDER / "CARDS_OFFICE_B_S" / "frame_0027.jpg").unlink()
    for config in ("hands", "hands_available"):
        builder = egohands_dataset_builder.Builder(data_dir=tmp_path / "data", config=config)
        with pytest.raises(ValueError, match=r"CARDS_OFFICE_B_S has 99 frames, but polygons\.mat is for 100"):
            builder._split_generators(manager)


def test_a_bad_picture_is_named(tmp_path, tree):
    path = tree / labelled_samples.FOLDER / "CARDS_OFFICE_S_B" / "frame_1000.jpg"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"CARDS_OFFICE_S_B/frame_1000\.jpg is not a whole JPEG"):
        _build(tmp_path, "hands_available", tree)
    for size, form, found in (((640, 360), "jpeg", "JPEG RGB 640x360"), ((1280, 720), "png", "PNG RGB 1280x720")):
        content = io.BytesIO()
        Image.new("RGB", size).save(content, form)
        path.write_bytes(content.getvalue())
        with pytest.raises(ValueError, match=rf"frame_1000\.jpg is {found}; EgoHands is JPEG RGB 1280x720"):
            _build(tmp_path, "hands_available", tree)


@pytest.mark.skipif(not REAL.exists(), reason=f"no real EgoHands videos in {REAL}")
def test_real_video(tmp_path):
    """One real video, built; a few of its frames against the files themselves."""
    videos = tmp_path / labelled_samples.FOLDER
    videos.mkdir()
    (videos / "CARDS_OFFICE_S_B").symlink_to(REAL / labelled_samples.FOLDER / "CARDS_OFFICE_S_B")
    builder = _build(tmp_path, "identities_available", tmp_path)
    frames = labelled_samples.read_video(tfds.core.Path(videos / "CARDS_OFFICE_S_B"))
    order = {frame.number: frame for frame in frames}
    source = builder.as_data_source(split="test")
    assert len(source) == len(order) == 100
    for i in range(0, 100, 10):
        frame = order[source[i]["frame"]]
        with Image.open(frame.path) as image:
            np.testing.assert_array_equal(source[i]["image"], np.asarray(image))
        np.testing.assert_array_equal(source[i]["mask"][..., 0], labelled_samples.draw_identities(frame.polygons))


if __name__ == "__main__":
    tfds.testing.test_main()
