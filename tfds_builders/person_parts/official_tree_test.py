"""Tests of finding the trees and of the splits: nothing in two of them, nothing lost."""

import pathlib
import shutil

import pytest
from etils import epath

from tfds_builders.person_parts import official_tree

DUMMY = epath.Path(__file__).parent / "dummy_data"
TRAIN = ["1999_000001", "1999_000002", "1999_000003"]
VALIDATION = ["1999_000010", "1999_000011"]


@pytest.fixture
def lists(tmp_path):
    source = DUMMY / "pascal_person_part" / official_tree.LISTS
    return epath.Path(shutil.copytree(pathlib.Path(source), tmp_path / official_tree.LISTS))


def test_finds_each_tree_in_each_place():
    voc = DUMMY / "VOCdevkit" / "VOC2010"
    for folder in (DUMMY, DUMMY / "VOCdevkit", voc):
        assert official_tree.find_voc(folder) == voc
    for folder in (DUMMY, DUMMY / "pascal_person_part"):
        assert official_tree.find_person_part(folder) == DUMMY / "pascal_person_part"
    for folder in (DUMMY, DUMMY / "trainval"):
        assert official_tree.find_annotations(folder) == DUMMY / "trainval" / "Annotations_Part"
    for find in (official_tree.find_voc, official_tree.find_person_part, official_tree.find_annotations):
        assert find(DUMMY / "nowhere") is None


def test_stray_files_do_not_matter():
    folder = DUMMY / "VOCdevkit" / "VOC2010" / "JPEGImages"
    assert (folder / "._1999_000001.jpg").exists()
    assert [*official_tree.list_files(folder, ".jpg")] == [*TRAIN, *VALIDATION, "1999_000020", "1999_000021"]
    assert not official_tree.list_files(folder, ".png")


def test_both_kinds_of_lists_say_the_same(lists):
    expected = {"train": TRAIN, "validation": VALIDATION}
    assert official_tree.read_lists(lists) == expected
    (lists / "train_id.txt").unlink()
    assert official_tree.read_lists(lists) == expected
    (lists / "train.txt").unlink()
    with pytest.raises(ValueError, match="trainval_list has neither train_id"):
        official_tree.read_lists(lists)
    assert official_tree.read_lists(lists / "nowhere") is None


def test_lists_may_end_lines_as_they_like_and_be_unsorted(lists):
    (lists / "train_id.txt").write_bytes(b"1999_000003\r\n\r\n1999_000001 \r\n1999_000002")
    assert official_tree.read_lists(lists)["train"] == TRAIN


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"1999_000001\n1999_000010\n", r"1999_000010 in both lists"),
        (b"1999_000001\n1999_000001\n", r"train_id\.txt has a picture twice"),
        (b"\n", r"train_id\.txt is empty"),
        (b"1999_000001\n\nperson 7\n", r"train_id\.txt, line 3: 'person 7' names no picture"),
        (b"../../etc/passwd", r"line 1: '../../etc/passwd' names no picture"),
        (b"\xff\xfe\x00", r"line 1: .* names no picture"),
    ],
)
def test_bad_lists_are_named(lists, content, match):
    (lists / "train_id.txt").write_bytes(content)
    with pytest.raises(ValueError, match=match):
        official_tree.read_lists(lists)


def test_split_by_lists_takes_what_is_there_and_refuses_strangers():
    lists = {"train": ["1999_000001", "1999_000002"], "validation": ["1999_000003"]}
    split = official_tree.split_by_lists(["1999_000003", "1999_000001"], lists, DUMMY)
    assert split == {"train": ["1999_000001"], "validation": ["1999_000003"]}
    with pytest.raises(ValueError, match="no list with 1999_000009"):
        official_tree.split_by_lists(["1999_000001", "1999_000009"], lists, DUMMY)


def test_split_by_hash_never_changes():
    ids = [f"2008_{number:06}" for number in range(1000)]
    split = official_tree.split_by_hash(ids)
    assert sorted(split["train"] + split["validation"]) == ids
    # The first byte of `printf 2008_000000 | sha256sum` and so on is e3 a5 e4 77 05 2a 0f bb.
    assert split["train"][:4] == ["2008_000003", "2008_000004", "2008_000005", "2008_000006"]
    assert official_tree.split_by_hash(ids[::-1]) == split
    assert official_tree.split_by_hash(ids[:4])["train"] == split["train"][:1]
    assert 450 < len(split["train"]) < 550
