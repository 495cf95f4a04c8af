"""Tests of splits: no group in two splits, pictures that keep their split, and lists as people write them."""

import os
import unicodedata
from collections import Counter

import folders
import pytest

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders.dataset_yaml import Split
from refinenet_jax.data.folders.folder import read_folder
from refinenet_jax.data.folders.splitting import hash_split

CLASSES = "classes: [background, left hand, right hand]\n"


def _splits(root, yaml=""):
    folders.put(root / "dataset.yaml", CLASSES + yaml)
    return {split: [item.id for item in items] for split, items in read_folder(root).splits.items()}


def _videos(root, yaml=""):
    folders.put(root / "dataset.yaml", CLASSES + yaml)
    return {item.id: item.video for items in read_folder(root).splits.values() for item in items}


def _many(root, ids):
    for item_id in ids:
        folders.put(root / "images" / f"{item_id}.jpg", b"")
        folders.put(root / "masks" / f"{item_id}.png", b"")
    return root


def test_shares_are_kept_about():
    sides = Counter(hash_split([f"picture {i}" for i in range(10_000)], Split(0.1, 0.2, seed=3)))
    assert sides["validation"] == pytest.approx(1000, abs=100)
    assert sides["test"] == pytest.approx(2000, abs=150)
    assert sides.total() == 10_000


def test_the_side_is_that_of_the_group_and_the_seed_alone():
    groups = [f"video {i % 60}" for i in range(500)]
    split = Split(0.2, 0.2, seed=1)
    sides = dict(zip(groups, hash_split(groups, split), strict=True))
    assert hash_split(groups, split) == [sides[group] for group in groups]
    more = [*groups[::-1], *(f"new {i}" for i in range(100))]
    assert hash_split(more, split)[:500] == [sides[group] for group in groups[::-1]]
    assert hash_split(groups, Split(0.2, 0.2, seed=2)) != hash_split(groups, split)
    # Never changes: people compare results on these splits.
    sides = hash_split([f"{i}" for i in range(40)], Split())
    assert [i for i, side in enumerate(sides) if side == "validation"] == [7, 18, 20, 25, 36]
    assert [i for i, side in enumerate(sides) if side == "test"] == [15]


@pytest.mark.parametrize(
    "split",
    [Split(), Split(0.45, 0.45), Split(0.01, 0.01), Split(0.01, 0.98), Split(0.2, 0.8), Split(0, 0), Split(0, 1)],
)
def test_no_split_with_a_share_is_empty(split):
    shares = {"validation": split.validation, "test": split.test, "train": 1 - split.validation - split.test}
    for count in range(3, 30):
        for seed in range(5):
            sides = hash_split([f"group {i}" for i in range(count)], Split(split.validation, split.test, seed))
            assert set(sides) == {name for name, share in shares.items() if share > 1e-9}


def test_of_fewer_groups_than_splits_training_gets_the_first():
    for seed in range(20):
        assert hash_split(["a", "a"], Split(seed=seed)) == ["train", "train"]
        assert set(hash_split(["a", "b"], Split(seed=seed))) == {"train", "validation"}
        assert set(hash_split(["a", "b"], Split(0.3, 0, seed))) == {"train", "validation"}
        assert hash_split(["a"], Split(0.4, 0.6, seed)) == ["validation"]


def test_no_group_is_in_two_splits(tmp_path):
    ids = [f"day{i % 3}/vid{i % 20:02}_{i:03}" for i in range(200)]
    root = _many(tmp_path, ids)
    for yaml in ("", r"group: '(vid\d+)'", r"group: 'day\d/(vid\d+)_.*'"):
        videos, splits = _videos(root, yaml), _splits(root, yaml)
        assert set(splits) == {"train", "validation", "test"}
        assert sorted(i for part in splits.values() for i in part) == sorted(ids)
        sides = [{videos[item_id] for item_id in part} for part in splits.values()]
        assert sum(map(len, sides)) == len(set().union(*sides)) == (20 if yaml else 3)


@pytest.mark.parametrize("yaml", [r"group: '(vid\d+)_'", "group: '(x)?vid'", "group: '(a|office)'"])
def test_a_group_that_does_not_fit_all_ids_is_refused(tmp_path, yaml):
    root = _many(tmp_path, ["vid1_1", "vid1-2", "office/1"])
    with pytest.raises(DataError, match=r"dataset\.yaml: group .* captures nothing in \d of 3 ids"):
        _splits(root, yaml)


@pytest.mark.parametrize("place", ["splits/{}.txt", "{}.txt"])
@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "{}.png",
        "images/{}.png",
        "./images/{}",
        "images\\{}.png",
        "  {}  ",
    ],
)
def test_lines_are_ids_or_paths(tmp_path, place, line):
    root = folders.masks(tmp_path)
    train, test = ["office/frame.2 ü", "kitchen/001"], ["office/frame.1"]
    lines = [line.format(item_id) for item_id in train]
    folders.put(root / place.format("train"), "\ufeff" + "\r\n\r\n".join(lines) + "\r\n \r\n")
    folders.put(root / place.format("test"), line.format(test[0]))
    assert _splits(root) == {"train": train, "test": test}
    assert _videos(root)["kitchen/001"] == "kitchen"


def test_decomposed_names_are_the_same(tmp_path):
    root = folders.masks(tmp_path)
    folders.put(root / "train.txt", unicodedata.normalize("NFD", "office/frame.2 ü\r\nkitchen/001"))
    assert _splits(root) == {"train": ["office/frame.2 ü", "kitchen/001"]}


def test_names_that_are_no_utf8_are_split(tmp_path):
    root = _many(tmp_path, [os.fsdecode(b"caf\xe9 %d" % i) for i in range(30)])
    assert sum(map(len, _splits(root).values())) == 30


def test_a_list_that_is_a_dangling_link_is_named(tmp_path):
    root = folders.masks(tmp_path)
    (root / "train.txt").symlink_to(root / "gone.txt")
    with pytest.raises(DataError, match=r"train\.txt cannot be read") as error:
        _splits(root)
    assert error.value.fault == "missing"


def test_lists_of_voc(tmp_path):
    lists = {"train": ["kitchen/001"], "val": ["street/001"], "trainval": ["kitchen/001", "street/001"]}
    assert _splits(folders.voc(tmp_path / "a", lists)) == {"train": ["kitchen/001"], "validation": ["street/001"]}
    assert _splits(folders.voc(tmp_path / "b", {"trainval": ["kitchen/001"]})) == {"train": ["kitchen/001"]}


def test_pictures_in_no_list_are_reported(tmp_path, capsys):
    root = folders.masks(tmp_path)
    folders.put(root / "train.txt", "kitchen/001")
    _splits(root)
    assert "4 of 5 pictures are in no list: kitchen/002, office/frame.1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "message", "fault"),
    [
        (
            "kitchen/001\n\nkitchen/009\ncellar",
            r"names 2 pictures .*not in .*'kitchen/009' \(line 3\), 'cellar'",
            "missing",
        ),
        ("kitchen/001\nimages/kitchen/001.png", r"names 1 pictures twice: 'kitchen/001' \(lines 1 and 2\)", "unusable"),
        (b"kitchen/001\nk\xfcche/001", r"train\.txt is not UTF-8", "unusable"),
        ("kitchen/001".encode("utf-16"), r"train\.txt is not UTF-8", "unusable"),
    ],
)
def test_faulty_lists_are_refused(tmp_path, content, message, fault):
    root = folders.masks(tmp_path)
    folders.put(root / "train.txt", content)
    with pytest.raises(DataError, match=rf"train\.txt.*{message}" if fault != "unusable" else message) as error:
        _splits(root)
    assert error.value.fault == fault


def test_two_lists_of_one_split_are_refused(tmp_path):
    root = folders.masks(tmp_path)
    for name in ("val", "validation"):
        folders.put(root / f"{name}.txt", "kitchen/001")
    with pytest.raises(DataError, match=r"val\.txt and .*validation\.txt are lists of the same split"):
        _splits(root)


def test_folders_named_as_splits_are_splits(tmp_path):
    root = _many(tmp_path, ["train/vid1/1", "train/vid1/2", "val/vid2/1", "test/1"])
    assert _splits(root) == {
        "train": ["train/vid1/1", "train/vid1/2"],
        "validation": ["val/vid2/1"],
        "test": ["test/1"],
    }
    assert _videos(root) == {"train/vid1/1": "vid1", "train/vid1/2": "vid1", "val/vid2/1": "vid2", "test/1": ""}
    assert _videos(root, "group: '^(.)'")["train/vid1/1"] == "v"  # the folder of the split is no part of it


def test_other_folders_next_to_train_are_refused(tmp_path):
    root = _many(tmp_path, ["train/1", "test/1", "extra/1", "2"])
    with pytest.raises(DataError, match=r"images/train is named as a split, but .*images, .*images/extra are not"):
        _splits(root)
    folders.put(root / "train.txt", "train/1\n2")
    assert _splits(root) == {"train": ["train/1", "2"]}


@pytest.mark.parametrize("kind", ["lists", "folders"])
def test_shares_together_with_lists_or_folders_are_refused(tmp_path, kind):
    root = _many(tmp_path, ["train/1", "test/1"])
    if kind == "lists":
        folders.put(root / "train.txt", "train/1")
    with pytest.raises(DataError, match=r"has shares for split, but"):
        _splits(root, "split: {test: 0.5}")
