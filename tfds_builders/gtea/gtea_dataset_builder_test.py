"""Tests of the builder: TFDS's own checks on dummy_data/, then where the data may come from and what is refused."""

import functools
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
from tfds_builders.gtea import gtea_dataset_builder, make_dummy_data

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
CONFIGS = ["wrist", "arm", "left_right"]
URL = "https://www.dropbox.com/s/k2g06apgx1u8p17/hand2K_dataset.zip?dl=1"
CROPPED_URL = "https://github.com/aurooj/Hand-Segmentation-in-the-Wild/raw/master/data/gtea_cropped.zip"


class GteaTest(tfds.testing.DatasetBuilderTestCase):
    """Tests for the gtea dataset."""

    DATASET_CLASS = gtea_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = CONFIGS
    SPLITS = {"train": 4, "validation": 3, "test": 2}  # noqa: RUF012


_build = functools.partial(testing.build, gtea_dataset_builder.Builder)


@pytest.fixture
def tree(tmp_path):
    """A copy of the dummy tree to do harm to."""
    return shutil.copytree(DUMMY, tmp_path / "tree")


@pytest.fixture
def archives(tmp_path):
    """The dummy tree as the two official archives, by address."""
    paths = {}
    for url, folders in ((URL, ("GTEA", "GTEA_GAZE_PLUS")), (CROPPED_URL, ("gtea_cropped",))):
        paths[url] = tfds.core.Path(tmp_path / f"downloaded_{folders[0]}")
        with zipfile.ZipFile(paths[url], "w") as archive:
            for file in (file for folder in folders for file in sorted((DUMMY / folder).rglob("*"))):
                archive.write(file, file.relative_to(DUMMY))
    return paths


def test_examples_of_the_three_configs(tmp_path):
    built = {config: _build(tmp_path, config, DUMMY) for config in CONFIGS}
    assert {config: builder.info.metadata for config, builder in built.items()} == {
        "wrist": {"class_names": ["background", "hand"], "flip_pairs": []},
        "arm": {"class_names": ["background", "hand and arm"], "flip_pairs": []},
        "left_right": {"class_names": ["background", "left hand", "right hand"], "flip_pairs": [[1, 2]]},
    }
    wrist, arm, left_right = (testing.examples_of(builder) for builder in built.values())
    assert wrist.keys() ^ arm.keys() == {make_dummy_data.WITHOUT_WRIST, make_dummy_data.WITHOUT_ARM}
    assert arm.keys() == left_right.keys()
    for key in wrist.keys() & arm.keys():
        hand, whole = wrist[key]["mask"], arm[key]["mask"]
        assert (hand.shape, hand.dtype, np.unique(hand).tolist()) == ((405, 720, 1), np.uint8, [0, 1])
        assert (hand > whole).mean() < 0.001  # JPEG moves the edges a little
        np.testing.assert_array_equal(left_right[key]["mask"] > 0, whole)
        assert np.unique(left_right[key]["mask"]).tolist() == [0, 1, 2]
        assert (wrist[key]["video"].decode(), wrist[key]["frame"]) == (key[:-11], int(key[-10:]))


def test_the_jpeg_is_stored_byte_for_byte(tmp_path):
    for key, content in testing.stored_images(_build(tmp_path, "wrist", DUMMY)).items():
        assert content == (DUMMY / "GTEA" / "Images" / f"{key}.jpg").read_bytes()


def test_takes_both_zips_from_manual_dir(tmp_path, archives):
    (tmp_path / "manual").mkdir()
    archives[URL].rename(tmp_path / "manual" / "hand2K_dataset.zip")
    assert _build(tmp_path, "arm", tmp_path / "manual").info.splits.total_num_examples == 9
    with pytest.raises(FileNotFoundError, match=r"neither gtea_cropped\.zip nor(?s:.*)--manual_dir"):
        _build(tmp_path, "wrist", tmp_path / "manual")
    archives[CROPPED_URL].rename(tmp_path / "manual" / "gtea_cropped.zip")
    assert _build(tmp_path, "wrist", tmp_path / "manual").info.splits.total_num_examples == 9


def test_downloads_what_the_config_needs(tmp_path, archives):
    for config, urls in (("left_right", [URL]), ("wrist", [URL, CROPPED_URL])):
        with mock.patch(testing.DOWNLOAD, side_effect=archives.__getitem__) as download:
            assert _build(tmp_path, config).info.splits.total_num_examples == 9
        assert [call.args[0] for call in download.call_args_list] == urls


def test_the_masks_of_the_paper_have_a_checksum():
    """As published; TFDS compares. Of hand2K the size is not known to the byte."""
    (info,) = gtea_dataset_builder.Builder.url_infos.items()
    assert info[0] == CROPPED_URL
    assert (info[1].size, info[1].checksum[:8], info[1].filename) == (2839272, "2c231efa", "gtea_cropped.zip")


def test_a_web_page_instead_of_the_archive_is_told(tmp_path):
    path = tfds.core.Path(tmp_path / "hand2K_dataset.zip")
    path.write_text("<!DOCTYPE html><html><head><title>Dropbox - 404</title></head></html>")
    with (
        mock.patch(testing.DOWNLOAD, return_value=path),
        pytest.raises(
            UnsafeArchiveError, match=r"hand2K_dataset\.zip is a web page(?s:.*)dl=1 \(250 MB(?s:.*)--manual_dir"
        ),
    ):
        _build(tmp_path, "arm")


def test_a_failed_download_says_what_to_do_by_hand(tmp_path):
    with (
        mock.patch(testing.DOWNLOAD, side_effect=tfds.download.DownloadError("HTTP code: 404")),
        pytest.raises(
            RuntimeError, match=r"404(?s:.*)dl=1 \(250 MB(?s:.*)gtea_cropped\.zip into a folder(?s:.*)--manual_dir"
        ),
    ):
        _build(tmp_path, "wrist")


def test_beam_builds_the_same_files(tmp_path):
    plain = _build(tmp_path / "plain", "left_right", DUMMY)
    options = PipelineOptions(["--runner=DirectRunner"])
    beam = _build(tmp_path / "beam", "left_right", DUMMY, beam_options=options)
    testing.assert_same_examples(plain, beam)


def test_a_split_without_frames_is_left_out(tmp_path, tree):
    for path in (tree / "GTEA" / "Images").glob("s2_*"):
        path.unlink()
    assert set(_build(tmp_path, "arm", tree).info.splits) == {"train", "validation"}


def test_faulty_labels_leave_nothing_built(tmp_path, tree):
    Image.new("L", (96, 72)).save(tree / "gtea_cropped" / "gtea_test_cropped" / "s2_tea_0000000060.jpg")
    (tree / "GTEA" / "Annotations" / "s2_tea_0000000060.xml").write_text("<annotation>")
    with pytest.raises(ValueError, match=r"s2_tea_0000000060\.jpg has 96x72 pixels, not 720x405"):
        _build(tmp_path, "wrist", tree)
    with pytest.raises(ValueError, match=r"s2_tea_0000000060\.xml cannot be read"):
        _build(tmp_path, "left_right", tree)
    assert testing.nothing_was_built(tmp_path)


def test_a_bad_frame_is_named_and_leaves_nothing_built(tmp_path, tree):
    path = tree / "GTEA" / "Images" / "s2_tea_0000000060.jpg"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"s2_tea_0000000060\.jpg cannot be decoded"):
        _build(tmp_path, "arm", tree)
    Image.new("RGB", (960, 720)).save(path)
    with pytest.raises(ValueError, match=r"s2_tea_0000000060\.jpg has 960x720 pixels, not 720x405"):
        _build(tmp_path, "arm", tree)
    assert testing.nothing_was_built(tmp_path)


if __name__ == "__main__":
    tfds.testing.test_main()
