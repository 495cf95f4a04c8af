"""Tests of reading the lists and joining them with pictures and masks."""

import logging
import pathlib
import shutil

import pytest
from etils import epath
from PIL import Image

from tfds_builders.eyth import official_tree
from tfds_builders.eyth.official_tree import read_frames

DUMMY = pathlib.Path(__file__).parent / "dummy_data" / official_tree.FOLDER


@pytest.fixture
def tree(tmp_path):
    """A copy of the dummy tree to do harm to."""
    return epath.Path(shutil.copytree(DUMMY, tmp_path / "tree"))


def _names(splits):
    return {split: [frame.name for frame in frames] for split, frames in splits.items()}


def test_the_official_split_has_1290_frames():
    assert {split: count for split, (_, count) in official_tree.SPLITS.items()} == {
        "train": 774,
        "validation": 258,
        "test": 258,
    }


def test_frames_are_joined_with_masks_of_any_ending():
    splits = read_frames(epath.Path(DUMMY))
    assert _names(splits) == {
        "train": ["vid4/frame25", "vid4/frame30", "vid6/frame5", "vid9/frame120", "vid9/frame125"],
        "validation": ["vid6/frame10", "vid9/frame130"],
        "test": ["vid4/frame35", "vid6/frame15"],
    }
    first = splits["train"][0]
    assert (first.image.name, first.mask.name, first.video, first.number) == ("frame25.jpg", "frame25", "vid4", 25)
    assert splits["train"][2].mask.name == "frame5.png"


def test_odd_but_usable_things_are_told(caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        read_frames(epath.Path(DUMMY))
    assert len(caplog.messages) == 3
    assert "name 9 frames, the official ones 1290 (train 5 of 774, validation 2 of 258, test 2 of 258)" in caplog.text
    assert "pictures in no list, left out (1): vid6/frame20" in caplog.text
    assert "masks with grey between black and white" in caplog.messages[2]
    assert caplog.messages[2].endswith("cut at 128 (1): vid6/frame15")


def test_the_whole_dataset_is_silent(tmp_path, caplog):
    """1,290 frames, all links to one mask: pictures are not opened here."""
    Image.new("L", (384, 216)).save(tmp_path / "mask.png")
    tree = tmp_path / "eyth_dataset"
    (tree / "train-val-test-split").mkdir(parents=True)
    for folder in ("images", "masks"):
        (tree / folder / "vid4").mkdir(parents=True)
    numbers = iter(range(0, 9999, 5))
    for filename, count in official_tree.SPLITS.values():
        names = [f"vid4/frame{next(numbers)}" for _ in range(count)]
        (tree / "train-val-test-split" / filename).write_text("\n".join(f"{name}.jpg" for name in names))
        for name in names:
            (tree / "images" / f"{name}.jpg").touch()
            (tree / "masks" / name).hardlink_to(tmp_path / "mask.png")
    with caplog.at_level(logging.WARNING, logger="absl"):
        splits = read_frames(official_tree.find(epath.Path(tmp_path)))
    assert [len(frames) for frames in splits.values()] == [774, 258, 258]
    assert not caplog.messages


@pytest.mark.parametrize(
    "line",
    ["vid4/frame35.jpg", "./vid4/frame35.png", "images/vid4/frame35.jpg", "\\vid4\\frame35", "../x/vid4/frame35"],
)
def test_a_line_may_be_written_in_many_ways(tree, line):
    (tree / "train-val-test-split" / "test.txt").write_text(f"\ufeff\r\n{line}\r\n", "utf-8")
    (frame,) = read_frames(tree)["test"]
    assert frame.image == tree / "images" / "vid4" / "frame35.jpg"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"vid4/frame26.jpg",
            r"test\.txt names vid4/frame26, which is not in .*images\. Unpack .* or take the line out",
        ),
        (b"vid4/frame35\nvid4/frame35.jpg", r"test\.txt names vid4/frame35 twice"),
        (b"vid4/frame25.jpg", r"test\.txt names vid4/frame25, and so does train\.txt"),
        (b"\r\n \n", r"test\.txt names no frame\. Unpack"),
        (b"\x1f\x8b\x08\0", r"test\.txt is no text .*Unpack"),
        ("vid4/frame35".encode("utf-16"), r"test\.txt is no text"),
        (b"vid4/frame35.jpg\nvid4/../../etc/passwd", r"test\.txt, line 2: 'vid4/\.\./\.\./etc/passwd' is no frame"),
        (b"frame35.jpg", r"line 1: 'frame35\.jpg' is no frame such as vid4/frame25\.jpg"),
    ],
    ids=["absent", "twice", "two lists", "empty", "bytes", "utf-16", "outside", "no video"],
)
def test_a_faulty_list_is_told_with_the_cure(tree, content, message):
    (tree / "train-val-test-split" / "test.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_frames(tree)


def test_all_faults_are_told_at_once(tree):
    (tree / "train-val-test-split" / "val.txt").unlink()
    (tree / "masks" / "vid4" / "frame25").unlink()
    (tree / "masks" / "vid4" / "frame30").write_bytes(b"\x89PNG\r\n\x1a\n")
    shutil.copy(tree / "images" / "vid9" / "frame120.jpg", tree / "images" / "vid9" / "frame120.png")
    with pytest.raises(ValueError, match="cannot be used as EYTH") as error:
        read_frames(tree)
    for words in (
        "val.txt is not there",
        "train.txt names vid4/frame25, of which",
        "frame30 cannot be decoded",
        "frame120.png and frame120.jpg are both the same frame",
    ):
        assert words in str(error.value)


def test_a_mask_without_loss_goes_before_an_old_jpeg(tree):
    shutil.copy(tree / "masks" / "vid6" / "frame15.png", tree / "masks" / "vid6" / "frame5.jpg")
    assert read_frames(tree)["train"][2].mask.name == "frame5.png"
