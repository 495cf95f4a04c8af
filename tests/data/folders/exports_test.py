"""Tests of the layouts of other programs: the same masks, and faults that are named."""

import json

import folders
import pytest

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders.layouts import read_layout
from refinenet_jax.data.sources import open_source, splits


@pytest.mark.parametrize(
    "place", ["train: ../train/images", "train: ./train/images/", "path: .\ntrain: [train/images]", "train: a.txt"]
)
def test_the_places_that_yolo_names(tmp_path, place):
    for name in ("a", "b"):
        folders.put(tmp_path / "train" / "images" / f"{name}.png", folders.png(folders.image(name)))
    folders.put(tmp_path / "train" / "labels" / "a.txt", "0 0 0 0.5 0 0.5 0.5 0 0.5\n")
    folders.put(tmp_path / "a.txt", "./train/images/a.png\n./train/images/b.png\n")
    folders.put(tmp_path / "data.yaml", f"{place}\nnames: [hand]")
    examples = list(open_source(str(tmp_path), "train"))
    assert [example["mask"].any() for example in examples] == [True, False]
    assert splits(str(tmp_path)) == {"train": 2}


@pytest.mark.parametrize("make", [folders.yolo, folders.supervisely, folders.via])
def test_folders_named_as_splits_are_splits(tmp_path, make):
    root = make(tmp_path)
    if make is folders.yolo:
        (root / "data.yaml").write_text("val: images/train\nnames: [left hand, right hand]")
    elif make is folders.supervisely:
        (root / "ds").rename(root / "val")
    else:
        (root / "images").rename(root / "val")
        (root / "via_project.json").rename(root / "val" / "via_region_data.json")
    assert splits(str(root)) == {"validation": 5}


def test_a_hole_is_not_painted(tmp_path):
    points = {"exterior": [[2, 2], [20, 2], [20, 20], [2, 20]], "interior": [[[8, 8], [12, 8], [12, 12], [8, 12]]]}
    record = {
        "size": {"height": 24, "width": 32},
        "objects": [{"classTitle": "x", "geometryType": "polygon", "points": points}],
    }
    folders.put(tmp_path / "meta.json", "{}")
    folders.put(tmp_path / "ann" / "a.png.json", json.dumps(record))
    folders.put(tmp_path / "img" / "a.png", folders.png(folders.image("a")))
    mask = open_source(str(tmp_path), "train")[0]["mask"]
    assert (mask[10, 10], mask[5, 5], mask[15, 10]) == (0, 1, 1)


YOLO_BOX, YOLO_CLASS, YOLO_ODD = "0 0.5 0.5 0.2 0.2", "7 0 0 1 0 1 1", "0 0 0 1 0 1"
VIA_BOX = {"a": {"filename": "a.png", "regions": [{"shape_attributes": {"name": "rect"}, "region_attributes": {}}]}}
CVAT = '<annotations><image name="a.png" width="32" height="24">{}</image></annotations>'
MASK = '<mask label="x" rle="{}" left="0" top="0" width="2" height="2"/>'


@pytest.mark.parametrize(
    ("layout", "file", "content", "message"),
    [
        ("yolo", "labels/a.txt", YOLO_BOX, r"a\.txt, line 1, is a box"),
        ("yolo", "labels/a.txt", f"\n{YOLO_CLASS}", r"a\.txt, line 2, has the class '7'"),
        ("yolo", "labels/a.txt", YOLO_ODD, r"a\.txt, line 1"),
        ("yolo", "labels/a.txt", "0 0 0 1 0 nan 1", r"a\.txt, line 1, .*not finite"),
        ("yolo", "data.yaml", "names: [x]\ntrain: gone", "names gone"),
        ("yolo", "data.yaml", "names: [x]\ntrain: /etc/passwd", "names /etc/passwd"),
        ("yolo", "data.yaml", "names: 3\ntrain: images", "no list of class names"),
        ("cvat", "annotations.xml", CVAT.format('<box label="x" xtl="1"/>'), r"'a\.png', box \('x'\)"),
        ("cvat", "annotations.xml", CVAT.format(MASK.format("1, 2")), "run lengths for 3 pixels"),
        ("cvat", "annotations.xml", CVAT.format(MASK.format("5, -1")), "run lengths for 4 pixels"),
        ("cvat", "annotations.xml", CVAT.format(MASK.format("x")), "whole numbers"),
        ("cvat", "annotations.xml", '<annotations><track id="0"/></annotations>', "CVAT for images 1.1"),
        ("cvat", "annotations.xml", "<annotations>", "cannot be read as XML"),
        ("via", "via.json", json.dumps(VIA_BOX), r"via\.json: 'a\.png', region 0 is a rect"),
        ("via", "via.json", "[]", "via\\.json .*VIA"),
        ("via", "via.json", "{", "via\\.json .*JSON"),
        ("supervisely", "ann/a.png.json", "{}", r"a\.png\.json is .*Supervisely"),
        ("supervisely", "ann/gone.png.json", '{"size": {"height": 9, "width": 9}, "objects": []}', r"gone\.png"),
    ],
)
def test_faults_are_named_with_their_place(tmp_path, layout, file, content, message):
    folders.put(tmp_path / "images" / "a.png", folders.png(folders.image("a")))
    folders.put(tmp_path / "img" / "a.png", folders.png(folders.image("a")))
    folders.put(tmp_path / "meta.json", "{}")
    if layout == "yolo":
        folders.put(tmp_path / "data.yaml", "names: [x]\ntrain: images")
    folders.put(tmp_path / file, content)
    with pytest.raises(DataError, match=message) as error:
        read_layout(layout, tmp_path)
    assert error.value.fault in ("annotation", "missing")
