"""Tests of finding the pictures that annotation files name."""

import unicodedata

import folders
import pytest

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders.pictures import PictureFinder

NFC, NFD = (unicodedata.normalize(form, "Hände.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a.jpg", "a.jpg"),
        ("images/sub/b.jpg", "images/sub/b.jpg"),
        ("sub\\b.jpg", "images/sub/b.jpg"),
        ("../images/sub/b.jpg", "images/sub/b.jpg"),
        ("/home/me/data/sub/b.jpg", "images/sub/b.jpg"),
        ("C:\\data\\sub\\b.jpg", "images/sub/b.jpg"),
        ("https://labels.example/data/upload/1/a.jpg", "a.jpg"),
        ("/data/local-files/?d=hands/a.jpg", "a.jpg"),
        ("100%20.jpg", "images/100%20.jpg"),
        ("A.JPG", "a.jpg"),
        ("x/SUB/B.jpg", "images/sub/b.jpg"),
        (NFC, f"images/{NFD}"),
        ("c.jpg", "images/train/c.jpg"),
    ],
)
def test_a_picture_is_found_by_what_can_only_mean_it(tmp_path, name, file):
    for path in ("a.jpg", "images/sub/b.jpg", "images/100%20.jpg", f"images/{NFD}", "images/train/c.jpg"):
        folders.put(tmp_path / path, b"")
    assert PictureFinder(tmp_path).find(tmp_path / "x.json", ["train"], name)[0] == tmp_path / file


@pytest.mark.parametrize("name", ["b.jpg", "../../etc/passwd", "/etc/passwd", "sub", "https://a.b", "", "."])
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
    finder = PictureFinder(tmp_path)
    assert finder.find(tmp_path / "x.json", [], "A.JPG")[0] == tmp_path / "images" / "A.JPG"
    with pytest.raises(DataError, match=r"A\.JPG, .*a\.jpg"):
        finder.find(tmp_path / "x.json", [], "a.JPG")
