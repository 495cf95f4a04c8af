"""Tests of the lists, of joining them with pictures and masks, and of what is refused."""

import functools
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from tfds_builders import testing
from tfds_builders.eyth import eyth_dataset_builder
from tfds_builders.eyth.eyth_dataset_builder import read_frames

DUMMY = pathlib.Path(__file__).parent / "dummy_data"


class EythTest(tfds.testing.DatasetBuilderTestCase):
    """Tests for the eyth dataset."""

    DATASET_CLASS = eyth_dataset_builder.Builder
    SPLITS = {"train": 5, "validation": 2, "test": 2}  # noqa: RUF012


_build = functools.partial(testing.build, eyth_dataset_builder.Builder, config="hands")


@pytest.fixture
def tree(tmp_path):
    """A copy of the dummy tree to damage."""
    return epath.Path(shutil.copytree(DUMMY / "eyth_dataset", tmp_path / "tree"))


def test_examples(tmp_path):
    examples = testing.examples_of(_build(tmp_path, manual_dir=DUMMY))
    for key, example in examples.items():
        mask = example["mask"][..., 0]
        # The hands of the dummy pictures are by far the brightest thing in them; one has none.
        assert np.mean(mask != (example["image"][..., 0] > 140)) < 0.01
        assert np.unique(mask).tolist() == ([0] if key == "vid9/frame125" else [0, 1])
    assert (examples["vid9/frame120"]["video"], examples["vid9/frame120"]["frame"]) == (b"vid9", 120)


def test_frames_are_joined_with_masks_of_any_ending_and_oddities_are_logged(tree, caplog):
    splits = read_frames(tree)
    assert {split: [frame.name for frame in frames] for split, frames in splits.items()} == {
        "train": ["vid4/frame25", "vid4/frame30", "vid6/frame5", "vid9/frame120", "vid9/frame125"],
        "validation": ["vid6/frame10", "vid9/frame130"],
        "test": ["vid4/frame35", "vid6/frame15"],
    }
    assert [frame.mask.name for frame in splits["train"][:3]] == ["frame25", "frame30", "frame5.png"]
    assert "train 5 of 774, validation 2 of 258, test 2 of 258" in caplog.text
    assert "skipped (1): vid6/frame20" in caplog.text
    # A lossless mask is preferred to an old JPEG.
    shutil.copy(tree / "masks" / "vid6" / "frame15.png", tree / "masks" / "vid6" / "frame5.jpg")
    assert read_frames(tree)["train"][2].mask.name == "frame5.png"


@pytest.mark.parametrize(
    "line", ["./vid4/frame35.png", "images/vid4/frame35.jpg", "\\vid4\\frame35", "../x/vid4/frame35"]
)
def test_a_line_may_be_written_in_many_ways(tree, line):
    (tree / "train-val-test-split" / "test.txt").write_text(f"\ufeff\r\n{line}\r\n", "utf-8")
    assert read_frames(tree)["test"][0].image == tree / "images" / "vid4" / "frame35.jpg"


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"vid4/frame26.jpg", "names vid4/frame26"),
        (b"vid4/frame35\nvid4/frame35.jpg", r"test\.txt both name vid4/frame35"),
        (b"vid4/frame25.jpg", r"train\.txt both name vid4/frame25"),
        (b"\r\n \n", "names no picture"),
        ("vid4/frame35".encode("utf-16"), "cannot be read"),
        (b"vid4/frame35.jpg\nvid4/../../etc/passwd", "line 2"),
        (b"frame35.jpg", "line 1"),
    ],
    ids=["absent", "twice", "two lists", "empty", "utf-16", "outside", "no video"],
)
def test_a_faulty_list_is_named(tree, content, fact):
    (tree / "train-val-test-split" / "test.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"test\.txt.*{fact}"):
        read_frames(tree)


def test_all_faults_are_named_at_once(tmp_path, tree):
    (tree / "train-val-test-split" / "val.txt").unlink()
    (tree / "masks" / "vid4" / "frame25").unlink()
    (tree / "images" / "vid9" / "frame120.jpg").unlink()
    facts = r"frame25, .* no mask(?s:.*)frame120, .* no image(?s:.*)val\.txt"
    with testing.refused(tmp_path, facts):
        _build(tmp_path, manual_dir=tree)


if __name__ == "__main__":
    tfds.testing.test_main()
