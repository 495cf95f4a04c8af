"""Tests of outlines of YOLO segmentation: the places that data.yaml names, and faults that are named."""

import folders
import pytest

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders.layouts import read_layout
from refinenet_jax.data.sources import open_source, splits


@pytest.mark.parametrize("place", ["train: ../train/images", "val: ./train/images/", "path: .\nval: [train/images]"])
def test_the_places_that_yolo_names(tmp_path, place):
    for name in ("a", "b"):
        folders.put(tmp_path / "train" / "images" / f"{name}.png", folders.png(folders.image(name)))
    folders.put(tmp_path / "train" / "labels" / "a.txt", "0 0 0 0.5 0 0.5 0.5 0 0.5\n")
    folders.put(tmp_path / "data.yaml", f"{place}\nnames: [hand]")
    split = "validation" if "val:" in place else "train"
    assert splits(str(tmp_path)) == {split: 2}
    assert [example["mask"].any() for example in open_source(str(tmp_path), split)] == [True, False]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("labels/a.txt", "0 0.5 0.5 0.2 0.2", r"a\.txt, line 1, is a box"),
        ("labels/a.txt", "\n7 0 0 1 0 1 1", r"a\.txt, line 2, has the class '7'"),
        ("labels/a.txt", "0 0 0 1 0 1", r"a\.txt, line 1"),
        ("labels/a.txt", "0 0 0 1 0 1 1 1", r"a\.txt, line 1, .*not two numbers"),
        ("labels/a.txt", "0 0 0 1 0 nan 1", r"a\.txt, line 1, .*not finite"),
        ("data.yaml", "names: [x]\ntrain: gone", "names gone"),
        ("data.yaml", "names: [x]\ntrain: /etc", "names /etc"),
        ("data.yaml", "names: 3\ntrain: images", "no list of class names"),
    ],
)
def test_faults_are_named_with_their_place(tmp_path, file, content, message):
    folders.put(tmp_path / "images" / "a.png", folders.png(folders.image("a")))
    folders.put(tmp_path / "data.yaml", "names: [x]\ntrain: images")
    folders.put(tmp_path / file, content)
    with pytest.raises(DataError, match=message) as error:
        read_layout("yolo", tmp_path)
    assert error.value.fault in ("annotation", "missing")
