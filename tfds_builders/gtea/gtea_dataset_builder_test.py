"""Tests of joining frames and labels, of the split by subject and video, of both labelings, and of what is refused."""

import functools
import pathlib
import shutil
import zipfile
from collections import Counter

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from tfds_builders import testing
from tfds_builders.gtea import gtea_dataset_builder, hand2k
from tfds_builders.pictures import read_binary

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
REAL = pathlib.Path(__file__).parents[3] / "shared" / "realdata" / "gtea" / "gtea_cropped.zip"
CONFIGS = ["wrist", "arm"]
NAME = "s1_cheese_0000000020"
# In the dummy data one frame has no wrist mask, one no mask of hand2K, and one label no frame.
WITHOUT_WRIST, WITHOUT_ARM, WITHOUT_FRAME = "s3_cofhoney_0000000300", "s4_peanut_0000000340", "s4_tea_0000000020"

# Frames with a wrist mask of each video, from the names in the official zip.
COUNTS = {
    "s1": {"cheese": 24, "cofhoney": 31, "hotdog": 18, "pealate": 35, "tea": 3},
    "s2": {"cheese": 16, "coffee": 45, "cofhoney": 21, "hotdog": 20, "pealate": 30, "peanut": 37, "tea": 35},
    "s3": {"cheese": 23, "coffee": 30, "cofhoney": 21, "hotdog": 22, "pealate": 29, "peanut": 24, "tea": 34},
    "s4": {"cheese": 20, "coffee": 24, "cofhoney": 22, "hotdog": 16, "pealate": 31, "peanut": 22, "tea": 29},
}
VIDEOS = {f"{subject}_{activity}": n for subject, counts in COUNTS.items() for activity, n in counts.items()}


class GteaTest(tfds.testing.DatasetBuilderTestCase):
    """Tests for the gtea dataset."""

    DATASET_CLASS = gtea_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = CONFIGS
    SPLITS = {"train": 4, "validation": 3, "test": 2}  # noqa: RUF012


_build = functools.partial(testing.build, gtea_dataset_builder.Builder)


@pytest.fixture
def tree(tmp_path):
    """A copy of the dummy tree to damage."""
    return epath.Path(shutil.copytree(DUMMY, tmp_path / "tree"))


def test_masks_of_both_labelings(tmp_path):
    wrist, arm = (testing.masks_of(_build(tmp_path, config, DUMMY)) for config in CONFIGS)
    assert wrist.keys() ^ arm.keys() == {WITHOUT_WRIST, WITHOUT_ARM}
    for key in wrist.keys() & arm.keys():
        assert np.unique(wrist[key]).tolist() == [0, 1]
        assert (wrist[key] > arm[key]).mean() < 0.001  # JPEG moves the edges a little
        # Left, right and both are of different gray.
        np.testing.assert_array_equal(arm[key], np.asarray(Image.open(DUMMY / "GTEA" / "Masks" / f"{key}.png")) > 0)
    gray = np.asarray(Image.open(DUMMY / "gtea_cropped" / "gtea_train_cropped" / f"{NAME}.jpg"))
    assert ((gray > 0) & (gray < 255)).any()
    np.testing.assert_array_equal(wrist[NAME], gray >= 128)


def test_the_split_is_by_video_with_92_frames_for_validation():
    splits = {video: hand2k.Frame(None, None, "", video, 0).split for video in VIDEOS}
    counts = Counter()
    for video, split in splits.items():
        counts[split] += VIDEOS[video]
    assert counts == {"train": 366, "validation": 92, "test": 204}
    assert {video for video, split in splits.items() if split == "test"} == {v for v in VIDEOS if v.startswith("s2")}


def test_only_what_has_a_frame_and_a_label_is_taken(caplog):
    folder = epath.Path(DUMMY) / "GTEA"
    frames = hand2k.read_frames(folder / "Images", [folder / "Masks"], 663)
    assert len(frames) == 9
    assert not {frame.name for frame in frames} & {WITHOUT_FRAME, WITHOUT_ARM}
    assert all(frame.image.stem == frame.label.stem == frame.name for frame in frames)
    assert (frames[1].video, frames[1].number, frames[1].split) == ("s1_tea", 140, "train")
    for fact in (f"skipped (1): {WITHOUT_ARM}", f"skipped (1): {WITHOUT_FRAME}", "9 of the 663 frames"):
        assert fact in caplog.text


def test_nothing_that_joins_twice_the_same_or_no_folder_is_an_error(tree):
    gtea = tree / "GTEA"
    shutil.copy(gtea / "Masks" / f"{NAME}.png", gtea / "Masks" / f"{NAME}.jpg")
    with pytest.raises(ValueError, match=rf"{NAME}\.png and .*{NAME}\.jpg"):
        hand2k.index([gtea / "Masks"])
    with pytest.raises(ValueError, match="nowhere does not exist"):
        hand2k.index([gtea / "nowhere"])
    for path in (gtea / "Masks").iterdir():
        path.rename(path.with_name("x" + path.name))
    with pytest.raises(ValueError, match=r"No frame of .*Images has a label in .*Masks"):
        hand2k.read_frames(gtea / "Images", [gtea / "Masks"], 663)


@pytest.mark.parametrize(
    ("config", "path"),
    [("wrist", "gtea_cropped/gtea_train_cropped/{}.jpg"), ("arm", "GTEA/Masks/{}.png"), ("arm", "GTEA/Images/{}.jpg")],
)
def test_faulty_files_are_named_and_leave_nothing_built(tmp_path, tree, config, path):
    path = tree / path.format(NAME)
    Image.new("L", (96, 72)).save(path)
    with testing.refused(tmp_path, rf"{path.name} has 96x72 pixels, not 720x405"):
        _build(tmp_path, config, tree)


@pytest.mark.skipif(not REAL.exists(), reason=f"no real GTEA masks at {REAL}")
def test_real_wrist_masks(tmp_path, caplog):
    """All 662 masks of the paper with a frame each, links to one picture: they join, and none is empty."""
    with zipfile.ZipFile(REAL) as archive:
        archive.extractall(tmp_path)
    parts = [epath.Path(tmp_path) / "gtea_cropped" / part for part in hand2k.CROPPED_PARTS]
    Image.new("RGB", (720, 405)).save(tmp_path / "frame.jpg")
    images = epath.Path(tmp_path / "GTEA" / "Images")
    images.mkdir(parents=True)
    for path in (path for part in parts for path in part.iterdir()):
        pathlib.Path(images / path.name).hardlink_to(tmp_path / "frame.jpg")
    frames = hand2k.read_frames(images, parts, 662)
    assert not caplog.messages
    assert Counter(frame.video for frame in frames) == VIDEOS
    # The paper keeps its training and test masks in two folders: subject 2 is the latter.
    assert all((frame.split == "test") == (frame.label.parent.name == "gtea_test_cropped") for frame in frames)
    foreground = np.array([read_binary(frame.label, (405, 720)).mean() for frame in frames])
    assert foreground.min() > 0.003
    np.testing.assert_allclose(foreground.mean(), 0.0591, atol=0.0001)


if __name__ == "__main__":
    tfds.testing.test_main()
