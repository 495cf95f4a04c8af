"""Tests of joining frames and labels by name, and of the split by subject and video."""

import logging
import pathlib
import shutil
import zipfile
from collections import Counter

import numpy as np
import pytest
from etils import epath
from PIL import Image

from tfds_builders.gtea import hand2k, make_dummy_data, masks

DUMMY = epath.Path(__file__).parent / "dummy_data"
REAL = pathlib.Path(__file__).parents[3] / "shared" / "realdata" / "gtea" / "gtea_cropped.zip"

# Frames with a wrist mask of each video, from the names in the official zip.
COUNTS = {
    "s1": {"cheese": 24, "cofhoney": 31, "hotdog": 18, "pealate": 35, "tea": 3},
    "s2": {"cheese": 16, "coffee": 45, "cofhoney": 21, "hotdog": 20, "pealate": 30, "peanut": 37, "tea": 35},
    "s3": {"cheese": 23, "coffee": 30, "cofhoney": 21, "hotdog": 22, "pealate": 29, "peanut": 24, "tea": 34},
    "s4": {"cheese": 20, "coffee": 24, "cofhoney": 22, "hotdog": 16, "pealate": 31, "peanut": 22, "tea": 29},
}
VIDEOS = {f"{subject}_{activity}": n for subject, counts in COUNTS.items() for activity, n in counts.items()}


@pytest.fixture
def tree(tmp_path):
    """A copy of the dummy GTEA to do harm to."""
    return epath.Path(shutil.copytree(DUMMY / "GTEA", tmp_path / "GTEA"))


def _splits(frames):
    return {split: {frame.video for frame in frames if frame.split == split} for split in hand2k.SPLITS}


def test_the_split_is_by_video_with_92_frames_to_validate():
    frame = [hand2k.Frame(DUMMY, DUMMY, "", video, 0) for video in VIDEOS]
    splits = _splits(frame)
    assert sum(VIDEOS.values()) == 662
    assert {split: sum(VIDEOS[video] for video in videos) for split, videos in splits.items()} == {
        "train": 366,
        "validation": 92,
        "test": 204,
    }
    assert splits["validation"] == set(hand2k.VALIDATION_VIDEOS)
    assert {video[:2] for video in splits["test"]} == {"s2"}
    activities = {split: {video[3:] for video in videos} for split, videos in splits.items()}
    assert activities["validation"] < activities["train"] == activities["test"]


def test_only_what_has_a_frame_and_a_label_is_taken(caplog):
    images, labels = DUMMY / "GTEA" / "Images", DUMMY / "GTEA" / "Masks"
    with caplog.at_level(logging.WARNING, logger="absl"):
        frames = hand2k.read_frames(images, [labels], 663)
    left_out = {make_dummy_data.WITHOUT_FRAME, make_dummy_data.WITHOUT_ARM}
    assert [frame.name for frame in frames] == sorted(set(make_dummy_data.NAMES) - left_out)
    for frame in frames:
        assert (frame.image, frame.label) == (images / f"{frame.name}.jpg", labels / f"{frame.name}.png")
    assert (frames[1].video, frames[1].number, frames[1].split) == ("s1_tea", 140, "train")
    assert [message.replace(str(DUMMY), "") for message in caplog.messages] == [
        "/GTEA/Images: frames without a label in /GTEA/Masks, left out (1): s4_peanut_0000000340",
        "/GTEA/Masks: labels without a frame in /GTEA/Images, left out (1): s4_tea_0000000020",
        "9 of the 663 frames of GTEA are there with their label.",
    ]


def test_nothing_that_joins_is_an_error(tree):
    for path in (tree / "Masks").iterdir():
        path.rename(path.with_name("x" + path.name))
    with pytest.raises(ValueError, match=r"No frame of .*Images has a label in .*Masks\. .*s1_cheese_.*there: none"):
        hand2k.read_frames(tree / "Images", [tree / "Masks"], 663)


def test_strangers_are_told_and_hidden_files_are_not(tree, caplog):
    for name in ("s1_cheese_0000000020 (copy).jpg", "s5_tea_0000000020.jpg", "s1_tea_20.jpg", "s1_tea_9999999999.jpg"):
        (tree / "Images" / name).touch()
    with caplog.at_level(logging.WARNING, logger="absl"):
        assert len(hand2k.index([tree / "Images"])) == 10
    (message,) = caplog.messages
    assert "none of GTEA's (4): s1_cheese_0000000020 (copy).jpg, s1_tea_20.jpg" in message


def test_two_files_for_a_frame_and_a_missing_folder_are_errors(tree):
    shutil.copy(tree / "Masks" / "s1_tea_0000000140.png", tree / "Masks" / "s1_tea_0000000140.jpg")
    with pytest.raises(ValueError, match=r"140\.png and .*140\.jpg are for the same frame"):
        hand2k.index([tree / "Masks"])
    with pytest.raises(ValueError, match=r"nowhere is not there\. Unpack"):
        hand2k.index([tree / "nowhere"])


@pytest.mark.parametrize("inside", [".", "GTEA"])
def test_finds_gtea(tmp_path, inside):
    assert hand2k.find(DUMMY / inside).name == "GTEA"
    shutil.copytree(DUMMY / "GTEA", tmp_path / "hand2K_dataset" / "GTEA")
    assert hand2k.find(epath.Path(tmp_path)) == epath.Path(tmp_path / "hand2K_dataset" / "GTEA")
    assert hand2k.find(DUMMY / "gtea_cropped") is None
    assert hand2k.find_cropped(DUMMY) == hand2k.find_cropped(DUMMY / "gtea_cropped") == DUMMY / "gtea_cropped"
    assert hand2k.find_cropped(DUMMY / "GTEA") is None


@pytest.mark.skipif(not REAL.exists(), reason=f"no real GTEA masks at {REAL}")
def test_real_wrist_masks(tmp_path, caplog):
    """All 662 masks of the paper with a frame each, links to one picture: they join, and none is empty."""
    with zipfile.ZipFile(REAL) as archive:
        archive.extractall(tmp_path)
    cropped = hand2k.find_cropped(epath.Path(tmp_path))
    parts = [cropped / part for part in hand2k.CROPPED_PARTS]
    Image.new("RGB", (720, 405)).save(tmp_path / "frame.jpg")
    images = epath.Path(tmp_path / "GTEA" / "Images")
    images.mkdir(parents=True)
    for part in parts:
        for path in part.iterdir():
            pathlib.Path(images / path.name).hardlink_to(tmp_path / "frame.jpg")
    with caplog.at_level(logging.WARNING, logger="absl"):
        frames = hand2k.read_frames(images, parts, 662)
    assert not caplog.messages
    assert Counter(frame.video for frame in frames) == VIDEOS
    assert Counter(frame.split for frame in frames) == {"train": 366, "validation": 92, "test": 204}
    # The paper keeps its training and test masks in two folders: subject 2 is the latter.
    assert {(frame.split == "test", frame.label.parent.name) for frame in frames} == {
        (False, "gtea_train_cropped"),
        (True, "gtea_test_cropped"),
    }
    foreground = np.array([masks.read_wrist(frame.label).mean() for frame in frames])
    assert foreground.min() > 0.003
    np.testing.assert_allclose(foreground.mean(), 0.0591, atol=0.0001)
    for split in ("train", "validation"):
        held = foreground[[frame.split == split for frame in frames]]
        np.testing.assert_allclose(held.mean(), 0.053, atol=0.001)
