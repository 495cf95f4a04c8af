"""Tests of finding the pictures that annotation files name."""

import unicodedata

import folders
import pytest

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders.pictures import PictureFinder

NFD = unicodedata.normalize("NFD", "Hände.jpg")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.jpg", "a.jpg"),
        ("images/sub/b.jpg", "images/sub/b.jpg"),
        ("sub\\b.jpg", "images/sub/b.jpg"),
        ("../images/sub/b.jpg", "images/sub/b.jpg"),
        ("/home/me/data/sub/b.jpg", "images/sub/b.jpg"),
        ("C:\\data\\sub\\b.jpg", "images/sub/b.jpg"),
        ("file:///data/a.jpg", "a.jpg"),
        ("https://labels.example/data/upload/1/a.jpg", "a.jpg"),
        ("https://labels.example/up/a%20b.jpg?token=x#y", "images/a b.jpg"),
        ("/data/local-files/?d=hands/a%20b.jpg", "images/a b.jpg"),
        ("100%20.jpg", "images/100%20.jpg"),
        ("A.JPG", "a.jpg"),
        ("SUB/B.jpeg.JPG", "images/sub/b.jpeg.jpg"),
        (unicodedata.normalize("NFC", NFD), f"images/{NFD}"),
        ("c.jpg", "images/train/c.jpg"),
    ],
)
def test_a_picture_is_found_by_what_can_only_mean_it(tmp_path, name, file):
    files = (
        "a.jpg",
        "images/sub/b.jpg",
        "images/sub/b.jpeg.jpg",
        "images/a b.jpg",
        "images/100%20.jpg",
        f"images/{NFD}",
    )
    for path in (*files, "images/train/c.jpg"):
        folders.put(tmp_path / path, b"")
    assert PictureFinder(tmp_path).find(tmp_path / "x.json", ["train"], name)[0] == tmp_path / file


@pytest.mark.parametrize("name", ["b.jpg", "../../etc/passwd", "sub", "https://a.b", "", "."])
def test_other_names_find_no_picture(tmp_path, name):
    folders.put(tmp_path / "images" / "sub" / "b.jpg", b"")
    with pytest.raises(DataError) as error:
        PictureFinder(tmp_path).find(tmp_path / "x.json", [], name)
    assert error.value.fault == "missing"
    assert "x.json" in str(error.value)
    assert repr(name) in str(error.value)


def test_of_two_that_differ_by_case_none_is_taken(tmp_path):
    for path in ("images/a.jpg", "images/A.JPG"):
        folders.put(tmp_path / path, b"")
    with pytest.raises(DataError, match=r"A\.JPG, .*a\.jpg"):
        PictureFinder(tmp_path).find(tmp_path / "x.json", [], "a.JPG")
