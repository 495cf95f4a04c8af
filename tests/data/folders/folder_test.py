"""Tests of folders as sources: every layout gives the same examples, and what is missing is named."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import folders
import numpy as np
import pytest

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders.layouts import layouts_in
from refinenet_jax.data.sources import check_masks, splits

NAMED = "classes: [background, left hand, right hand]\n"
LAYOUTS = [folders.masks, folders.voc, folders.labelme_xml, folders.labelme_json, folders.coco]


@pytest.mark.parametrize("make", [*LAYOUTS, folders.yolo])
def test_every_layout_gives_the_same_examples(tmp_path, make):
    root = make(tmp_path / "my hands")
    assert layouts_in(root) == [make.__name__.split("_")[0]]
    source = folders.open_all(root, NAMED)
    assert source.info.name == "my hands"
    assert source.info.class_names == folders.CLASSES
    assert source.info.flip_pairs == ((1, 2),)
    examples = {example["id"]: example for example in source}
    assert len(examples) == len(folders.PICTURES)
    for item_id in folders.PICTURES:
        example = examples[f"train/{item_id}" if make is folders.yolo else item_id]
        assert example["image"].dtype == example["mask"].dtype == np.uint8
        np.testing.assert_array_equal(example["image"], folders.image(item_id))
        np.testing.assert_array_equal(example["mask"], folders.mask(item_id))
        assert example["video"] == item_id.split("/")[0]
    check_masks(source)
    for index in (-1, 5):
        for read in (source.__getitem__, source.encoded):
            with pytest.raises(IndexError):
                read(index)


@pytest.mark.parametrize("make", LAYOUTS)
def test_classes_are_inferred(tmp_path, make, capsys):
    root = make(tmp_path / "my_hands")
    names = ("background", "hand", "class 2") if make in (folders.masks, folders.voc) else folders.CLASSES
    assert folders.open_all(root).info.class_names == folders.open_all(root).info.class_names == names
    printed = capsys.readouterr().err
    assert printed.count(f"{root / 'dataset.yaml'}:\n  classes: [{', '.join(names)}]") == 1


def test_splits_and_their_slices(tmp_path):
    root = folders.masks(tmp_path)
    folders.put(root / "train.txt", "\n".join(list(folders.PICTURES)[:4]))
    folders.put(root / "val.txt", "street/001")
    assert splits(str(root)) == {"train": 4, "validation": 1}
    ids = list(folders.PICTURES)
    for split, expected in [
        ("train", ids[:4]),
        ("train[:50%]", ids[:2]),
        ("train[-1:]+validation", [ids[3], ids[4]]),
        ("validation+train[1:2]", [ids[4], ids[1]]),
    ]:
        assert [example["id"] for example in folders.open_all(root, NAMED, split)] == expected
    for split, message in [
        ("val", r"'val'.* train \(4\), validation \(1\)"),
        ("train[", r"'train\['"),
        ("train[:0]", r"'train\[:0\]' of .* is empty"),
        ("train[:9]", "train"),
    ]:
        with pytest.raises(DataError, match=message):
            folders.open_all(root, NAMED, split)


def test_coco_files_for_each_split(tmp_path):
    ids = list(folders.PICTURES)
    for name, part in {"train2017": ids[:3], "val2017": ids[3:]}.items():
        folders.coco(tmp_path, f"annotations/instances_{name}.json", part)
    folders.put(tmp_path / "annotations" / "captions_train2017.json", '{"info": {}, "images": []}')
    for item_id in ids[:3]:  # of this split, in a separate folder
        (tmp_path / "images" / "train2017" / item_id).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / f"{item_id}.png").rename(tmp_path / "images" / "train2017" / f"{item_id}.png")
    train, validation = folders.open_all(tmp_path, NAMED, "train"), folders.open_all(tmp_path, NAMED, "validation")
    assert [example["id"] for example in train] == [f"train2017/{item_id}" for item_id in ids[:3]]
    assert [example["id"] for example in validation] == ids[3:]
    assert train[0]["video"] == "kitchen"
    np.testing.assert_array_equal(train[0]["mask"], folders.mask(ids[0]))


def test_coco_files_as_roboflow_writes_them(tmp_path):
    for name, item_id in {"train": "kitchen/001", "valid": "kitchen/002"}.items():
        folders.coco(tmp_path / name, "_annotations.coco.json", [item_id])
        (tmp_path / name / "images").rename(tmp_path / name / "kitchen_")
        (tmp_path / name / "kitchen_" / "kitchen").rename(tmp_path / name / "kitchen")
    assert splits(str(tmp_path)) == {"train": 1, "validation": 1}
    example = folders.open_all(tmp_path, NAMED, "validation")[0]
    assert (example["id"], example["video"]) == ("valid/kitchen/002", "kitchen")


def test_pictures_in_no_coco_file_are_reported_or_background(tmp_path, capsys):
    root = folders.coco(tmp_path, ids=["kitchen/001"])
    assert splits(str(root)) == {"train": 1}
    assert f"{tmp_path}/images/kitchen/002" in capsys.readouterr().err
    examples = {example["id"]: example for example in folders.open_all(root, "unannotated: background")}
    assert examples.keys() == {"kitchen/001", "kitchen/002"}
    assert not examples["kitchen/002"]["mask"].any()


@pytest.mark.parametrize("make", LAYOUTS)
def test_a_pickled_copy_reads_the_same(tmp_path, make):
    source = folders.open_all(make(tmp_path), NAMED + "group: '(.)'")
    copy = pickle.loads(pickle.dumps(source))
    assert (copy.info, repr(copy), copy.directory) == (source.info, repr(source), tmp_path)
    with ThreadPoolExecutor(4) as pool:
        for index, (mine, other) in enumerate(zip(source, pool.map(copy.__getitem__, range(5)), strict=True)):
            assert mine["id"] == other["id"]
            np.testing.assert_array_equal(mine["mask"], other["mask"])
            content, path = source.encoded(index)
            assert content == (tmp_path / path).read_bytes()
            assert path.endswith(f"{mine['id']}.png")


def test_flip_pairs_of_inferred_classes(tmp_path):
    root = folders.masks(tmp_path)
    assert folders.open_all(root).info.flip_pairs == ()
    assert folders.open_all(root).info.unpaired == ("hand", "class 2")
    info = folders.open_all(root, "flip_pairs: [[hand, class 2]]").info
    assert (info.flip_pairs, info.unpaired) == (((1, 2),), ())
    assert folders.open_all(root, "flip_pairs: []").info.unpaired == ()
    with pytest.raises(DataError, match=r"dataset\.yaml.*'clas 2'; did you mean 'class 2'"):
        folders.open_all(root, "flip_pairs: [[hand, clas 2]]")


@pytest.mark.parametrize("make", LAYOUTS)
@pytest.mark.parametrize("kind", ["dangling", "circle"])
def test_links_that_lead_nowhere_are_named(tmp_path, make, kind):
    root = make(tmp_path)
    path = next(
        p
        for p in sorted(root.rglob("*"))
        if (p.is_file() and {"images", "JPEGImages"}.isdisjoint(p.parts[:-1])) or (p.suffix == ".json")
    )
    path.unlink()
    path.symlink_to(path if kind == "circle" else root / "gone")
    with pytest.raises(DataError) as error:
        [example["id"] for example in folders.open_all(root)]
    assert error.value.fault == "missing"
    assert str(path) in str(error.value)
