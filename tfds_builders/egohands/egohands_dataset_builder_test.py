"""Tests of the official split, of reading polygons.mat, of the drawn masks, and of what is refused."""

import dataclasses
import functools
import os
import pathlib
import shutil
from collections import Counter

import numpy as np
import pytest
import scipy.io
import tensorflow_datasets as tfds
from etils import epath

from tfds_builders import testing
from tfds_builders.egohands import egohands_dataset_builder, labeled_samples
from tfds_builders.egohands.labeled_samples import IDENTITIES, draw_identities, read_polygons

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
REALDATA = pathlib.Path(__file__).parents[3] / "shared" / "realdata"
DUMMY_VIDEOS = ("CARDS_COURTYARD_H_S", "PUZZLE_OFFICE_T_S", "JENGA_COURTYARD_T_S", "CARDS_OFFICE_S_B")
VIDEO = DUMMY / labeled_samples.FOLDER / "CARDS_COURTYARD_H_S"
# The dummy data are four of the videos.
AVAILABLE = {
    name: dataclasses.replace(config, name=f"{name}_available")
    for name, config in egohands_dataset_builder.Builder.builder_configs.items()
    if name in ("left_right", "identities")
} | {"hands": "hands_available"}


class EgohandsTest(tfds.testing.DatasetBuilderTestCase):
    """Tests for the egohands dataset."""

    DATASET_CLASS = egohands_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["hands_available"]  # noqa: RUF012
    SPLITS = {"train": 5, "validation": 2, "test": 2}  # noqa: RUF012


_build = functools.partial(testing.build, egohands_dataset_builder.Builder)


@pytest.fixture
def tree(tmp_path):
    """A copy of the dummy tree to damage."""
    return shutil.copytree(DUMMY, tmp_path / "tree")


def write_polygons(path, frames):
    """Writes polygons.mat in the official form: a struct array [1, n] of the outlines of each frame."""
    polygons = np.empty((1, len(frames)), [(name, object) for name in IDENTITIES])
    for index, frame in enumerate(frames):
        polygons[0, index] = tuple(frame[name] for name in IDENTITIES)
    scipy.io.savemat(path, {"polygons": polygons}, appendmat=False, do_compression=True)


def _hands(**polygons):
    return {name: np.empty((0, 2)) for name in labeled_samples.IDENTITIES} | polygons


def _square(left, top, right, bottom):
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def test_official_split():
    assert [len(videos) for videos in labeled_samples.SPLITS.values()] == [36, 4, 8]
    assert len({*labeled_samples.VIDEOS}) == 48
    # README.txt: each of four people does each of four activities at each of three places.
    assert len({video.rpartition("_")[0] for video in labeled_samples.VIDEOS}) == 48


def test_masks_of_the_three_labelings(tmp_path):
    masks = {name: testing.masks_of(_build(tmp_path, config, DUMMY), "train") for name, config in AVAILABLE.items()}
    for key, identities in masks["identities"].items():
        np.testing.assert_array_equal(masks["hands"][key], identities > 0)
        np.testing.assert_array_equal(masks["left_right"][key], np.array([0, 1, 2, 1, 2])[identities])
    assert {key: np.unique(mask).tolist() for key, mask in masks["identities"].items()} == {
        "CARDS_COURTYARD_H_S/frame_0003": [0, 1, 2, 3, 4],
        "CARDS_COURTYARD_H_S/frame_0040": [0, 4],
        "CARDS_COURTYARD_H_S/frame_2105": [0],
        "PUZZLE_OFFICE_T_S/frame_0000": [0, 1, 2, 3, 4],
        "PUZZLE_OFFICE_T_S/frame_0077": [0, 4],
    }


def test_own_hands_are_painted_over_the_others():
    mask = draw_identities(_hands(**{name: _square(5, 5, 9, 9) for name in labeled_samples.IDENTITIES}))
    assert np.unique(mask[5:10, 5:10]).tolist() == [labeled_samples.IDENTITIES["myright"]]
    mask = draw_identities(_hands(myleft=_square(5, 5, 9, 9), yourright=_square(7, 5, 12, 9)))
    assert mask[7, 4:14].tolist() == [0, 1, 1, 1, 1, 1, 4, 4, 4, 0]


@pytest.mark.parametrize(
    "content",
    [
        {"polygons": np.zeros((1, 100))},
        {"other": np.zeros(3)},
        np.zeros((5, 3)),
        np.zeros((2, 2)),
        _square(0, 0, 1281, 5),
        np.full((5, 2), np.nan),
    ],
    ids=["numbers", "other", "three columns", "two corners", "outside", "nan"],
)
def test_bad_polygons_are_named(tmp_path, content):
    path = tmp_path / "polygons.mat"
    if isinstance(content, dict):
        scipy.io.savemat(path, content)
    else:
        write_polygons(path, [_hands(myleft=content)])
    with pytest.raises(ValueError, match=r"polygons\.mat(: myleft of frame 0| cannot be read| has no yourleft)"):
        read_polygons(epath.Path(path))


def test_missing_videos_are_listed(tmp_path, tree):
    (tree / labeled_samples.FOLDER / "PUZZLE_OFFICE_T_S").rename(tree / labeled_samples.FOLDER / "PUZZLE_OFICE_T_S")
    facts = r"CARDS_OFFICE_S_B has 2 frames(?s:.*)45 of the 48 .* PUZZLE_OFFICE_T_S\. .*_available"
    with testing.refused(tmp_path, facts):
        _build(tmp_path, "left_right", tree)


def test_available_skips_a_split_without_videos_but_needs_one(tmp_path, tree):
    videos = tree / labeled_samples.FOLDER
    shutil.rmtree(videos / "JENGA_COURTYARD_T_S")
    assert {*_build(tmp_path, "hands_available", tree).info.splits} == {"train", "test"}
    for video in DUMMY_VIDEOS:
        shutil.rmtree(videos / video, ignore_errors=True)
    shutil.copytree(VIDEO, videos / "CARDS_ATTIC_H_S")
    with pytest.raises(ValueError, match="48 of the 48 videos are missing"):
        _build(tmp_path / "none", "hands_available", tree)


@pytest.mark.parametrize(
    ("file", "fault", "fact"),
    [
        ("frame_0040.jpg", pathlib.Path.unlink, "has 2 frames, but .* 3"),
        ("polygons.mat", pathlib.Path.unlink, r"polygons\.mat cannot be read"),
        ("frame_0040.jpg", lambda path: shutil.copy(path, path.with_stem("frame_0001 (copy)")), r"\(copy\)\.jpg"),
        (
            "frame_0040.jpg",
            lambda path: path.write_bytes(path.read_bytes()[:3000]),
            r"frame_0040\.jpg cannot be decoded",
        ),
    ],
)
def test_a_fault_in_a_video_is_named(tmp_path, tree, file, fault, fact):
    fault(tree / labeled_samples.FOLDER / VIDEO.name / file)
    with testing.refused(tmp_path, fact):
        _build(tmp_path, "hands_available", tree)


def test_the_whole_tree_is_taken_and_one_frame_less_is_not(tmp_path):
    """48 videos of 100 frames, all links to one picture: nothing is generated, so it stays unread."""
    (tmp_path / "picture").write_bytes(b"")
    write_polygons(tmp_path / "polygons", [_hands()] * 100)
    for video in labeled_samples.VIDEOS:
        folder = tmp_path / labeled_samples.FOLDER / video
        folder.mkdir(parents=True)
        os.link(tmp_path / "polygons", folder / "polygons.mat")
        for i in range(100):
            os.link(tmp_path / "picture", folder / f"frame_{27 * i:04d}.jpg")
    builder = egohands_dataset_builder.Builder(data_dir=tmp_path / "data")
    manager = tfds.download.DownloadManager(
        download_dir=tmp_path / "down", manual_dir=tmp_path, manual_dir_instructions="none"
    )
    assert [*builder._split_generators(manager)] == ["train", "validation", "test"]
    (tmp_path / labeled_samples.FOLDER / "CARDS_OFFICE_B_S" / "frame_0027.jpg").unlink()
    with pytest.raises(ValueError, match=r"CARDS_OFFICE_B_S has 99 frames, but .* 100"):
        builder._split_generators(manager)


@pytest.mark.skipif(not (REALDATA / "egohands_annotations").exists(), reason=f"no real annotations in {REALDATA}")
def test_real_annotations():
    """All 48 real polygons.mat: README.txt's 15,053 hands, and the 13 frames known to show none."""
    hands, without = Counter(), []
    for video in labeled_samples.VIDEOS:
        folder = REALDATA / "egohands_annotations" / labeled_samples.FOLDER / video
        frames = read_polygons(epath.Path(folder / "polygons.mat"))
        assert len(frames) == 100
        for index, frame in enumerate(frames):
            seen = [name for name, polygon in frame.items() if len(polygon)]
            hands.update(seen)
            without += [] if seen else [(video, index)]
    assert hands == {"yourleft": 4567, "yourright": 4510, "myright": 3416, "myleft": 2560}
    assert without == [
        *(("JENGA_COURTYARD_S_T", i) for i in (0, 1)),
        *(("JENGA_LIVINGROOM_B_H", i) for i in (49, 97, 98, 99)),
        *(("JENGA_LIVINGROOM_H_B", 32), ("JENGA_OFFICE_S_B", 66), ("PUZZLE_COURTYARD_S_B", 93)),
        *(("PUZZLE_LIVINGROOM_H_S", i) for i in (0, 1, 46, 47)),
    ]


if __name__ == "__main__":
    tfds.testing.test_main()
