"""Tests of the splits, of reading pictures, masks and outlines, and of what is refused; faults are planted into dummy data."""

import functools
import io
import pathlib
import shutil

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from tfds_builders import testing
from tfds_builders.hof import hof_dataset_builder, splits
from tfds_builders.hof.hand_over_face import read_original, read_resized
from tfds_builders.outlines_test import xml
from tfds_builders.pictures import read_binary

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
NUMBERS = [1, 2, 3, 4, 5, 9, 10, 100, 216, 221, 225, 300]
SPLITS = {"train": {2, 5, 100, 300}, "validation": {1, 3, 221}, "test": {4, 9, 10, 216, 225}}
BOX = np.array([[30, 30], [60, 30], [60, 50]])


class HofTest(tfds.testing.DatasetBuilderTestCase):
    """Tests for the hof dataset."""

    DATASET_CLASS = hof_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["resized", "original", "left_right"]  # noqa: RUF012
    SPLITS = {split: len(numbers) for split, numbers in SPLITS.items()}  # noqa: RUF012


_build = functools.partial(testing.build, hof_dataset_builder.Builder)


@pytest.fixture
def tree(tmp_path):
    """A manual folder with a copy of the dummy tree, to damage."""
    return epath.Path(shutil.copytree(DUMMY, tmp_path / "manual")) / "hand_over_face"


@pytest.fixture(scope="module")
def pictures():
    return {p.number: p.image for p in read_resized(epath.Path(DUMMY) / "hand_over_face")}


def _ids(builder, split):
    return {int(key) for key in testing.masks_of(builder, split)}


def _hands(tree, number=9):
    return {picture.number: picture.hands for picture in read_original(tree)}[number]


def test_masks_of_the_labelings(tmp_path):
    resized, original, left_right = (_build(tmp_path, c, DUMMY) for c in ("resized", "original", "left_right"))
    for split, numbers in SPLITS.items():
        assert _ids(resized, split) == _ids(left_right, split) == numbers
    tree = tfds.core.Path(DUMMY / "hand_over_face")
    resized, original, left_right = map(testing.masks_of, (resized, original, left_right))
    for picture in read_original(tree):
        key = str(picture.number)
        np.testing.assert_array_equal(resized[key], read_binary(tree / f"masks/{key}.png")[0])
        assert original[key].shape == (picture.height, picture.width)
        np.testing.assert_array_equal(original[key], left_right[key] > 0)
        assert {*np.unique(left_right[key])} == {0} | {{"left": 1, "right": 2}[hand.side] for hand in picture.hands}
        # Drawn where the hand is: shrunk to 384x216 it is the official mask, but for the edges.
        shrunk = cv2.resize(original[key], (384, 216), interpolation=cv2.INTER_NEAREST) & 1
        assert (shrunk & resized[key]).sum() / (shrunk | resized[key]).sum() > 0.93


def test_the_fixed_split_never_changes():
    divided = splits.divide(range(1, 301), splits.FIXED_TEST)
    assert [len(numbers) for numbers in divided.values()] == [160, 40, 100]
    assert sorted(number for numbers in divided.values() for number in numbers) == [*range(1, 301)]
    assert [sum(numbers) for numbers in divided.values()] == [24703, 5230, 15217]
    assert divided["test"][:5] == [4, 8, 9, 10, 13]
    part = splits.divide(range(1, 301, 7), splits.FIXED_TEST)
    assert all({*part[split]} <= {*divided[split]} for split in divided)


def test_the_list_is_the_test_split_of_its_own_config_only(tmp_path, tree):
    (tree.parent / splits.LIST).write_text("1.jpg\n3.jpg\n300.jpg\n")
    assert _ids(_build(tmp_path, "paper", tree.parent), "test") == {1, 3, 300}
    assert _ids(_build(tmp_path, "resized", tree.parent), "test") == SPLITS["test"]


def test_the_owners_pictures_are_the_test_split(tmp_path, tree):
    with testing.refused(tmp_path, r"neither test\.txt nor hand_over_face_test/"):
        _build(tmp_path, "paper", tree.parent)
    shutil.copytree(tree / "images_original_size", tree.parent / "hand_over_face_test" / "test")
    for number in (4, 5, 216):
        (tree.parent / "hand_over_face_test" / "test" / f"{number}.jpg").unlink()
    assert _ids(_build(tmp_path, "paper", tree.parent), "test") == {*NUMBERS} - {4, 5, 216}


@pytest.mark.parametrize(
    "content",
    [b"9\n4\n", b"\xef\xbb\xbf4\r\n\r\n9.jpg\r\n", b"hand_over_face/images_resized/9.jpg\nC:\\test\\4.png\n9\n"],
)
def test_a_list_of_numbers_or_files_is_read(tmp_path, content, pictures):
    (tmp_path / "test.txt").write_bytes(content)
    assert splits.read_test(epath.Path(tmp_path), pictures) == {4, 9}


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"\n \n", "names no picture"),
        (b"4\nnine\n", "line 2: 'nine'"),
        (b"4 9\n", "line 1"),
        (b"0\n", "line 1"),
        (b"4\n77\n301.jpg\n", "77, 301"),
        (b"\xff\xfe4\0\n\0", "cannot be read as text"),
    ],
)
def test_a_faulty_list_is_refused(tmp_path, content, fact, pictures):
    (tmp_path / "test.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"test\.txt.*{fact}"):
        splits.read_test(epath.Path(tmp_path), pictures)


@pytest.mark.parametrize("name", ["2.jpg", "hand.jpg"])
def test_renumbered_test_pictures_are_refused_and_masks_are_skipped(tmp_path, name, pictures):
    folder = tmp_path / splits.TEST_FOLDER / "images"
    (folder.parent / "masks").mkdir(parents=True)
    folder.mkdir()
    for number in (4, 9, 216):
        shutil.copy(DUMMY / "hand_over_face" / "images_original_size" / f"{number}.jpg", folder)
        with Image.open(DUMMY / "hand_over_face" / "masks" / f"{number}.png") as mask:
            mask.save(folder.parent / "masks" / f"{number}.jpg")
    (folder / "._4.jpg").write_bytes(b"\0")
    assert splits.read_test(epath.Path(tmp_path), pictures) == {4, 9, 216}
    (folder / "9.jpg").rename(folder / name)
    (folder.parent / "masks" / "9.jpg").unlink()
    with pytest.raises(ValueError, match=rf"images/{name}.*test\.txt"):
        splits.read_test(epath.Path(tmp_path), pictures)


def test_each_size_needs_its_own_folders_only_and_others_are_counted(tree, caplog):
    assert [p.number for p in read_original(tree)] == [p.number for p in read_resized(tree)] == NUMBERS
    assert "has 12 pictures; the official number is 300. Missing: 6, 7, 8, 11" in caplog.text
    (tree / "annotations").rmtree()
    assert len(read_resized(tree)) == 12
    with pytest.raises(ValueError, match="has no folder annotations"):
        read_original(tree)


@pytest.mark.parametrize(
    ("config", "path", "fault", "fact"),
    [
        ("resized", "masks/9.png", pathlib.Path.unlink, r"masks has no 9\.png"),
        ("original", "annotations/9.xml", pathlib.Path.unlink, r"annotations has no 9\.xml"),
        ("resized", "images_resized/1.jpg", lambda p: shutil.copy(p, p.with_name("01.jpg")), r"01\.jpg"),
        ("resized", "images_resized/1.jpg", lambda p: shutil.copy(p, p.with_name("1.JPG")), "the same number"),
        ("resized", "masks/9.png", lambda p: Image.new("L", (216, 384)).save(p), "216x384 pixels, not 384x216"),
        ("resized", "masks/9.png", lambda p: Image.new("L", (384, 216), 38).save(p), "38 of 255"),
        ("original", "images_original_size/9.jpg", lambda p: p.write_bytes(p.read_bytes()[:900]), "cannot be decoded"),
        ("original", "annotations/9.xml", lambda p: p.write_text(xml(("body", "", BOX, 0))), r"9\.xml.*'body'"),
        (
            "original",
            "annotations/9.xml",
            lambda p: p.write_text(xml(("hand", "left,right", BOX, 0))),
            "left and right",
        ),
        ("original", "annotations/9.xml", lambda p: p.write_text(xml(("hand", "", BOX - 60, 0))), r"9\.xml.*leaves"),
        (
            "original",
            "annotations/10.xml",
            lambda p: p.write_text(xml(size=(640, 480))),
            r"10\.xml .*480x640.*corrected",
        ),
        ("left_right", "annotations/9.xml", lambda p: p.write_text(xml(("hand", "", BOX, 0))), r"1 of 12 .*\b9\b"),
    ],
)
def test_faulty_files_are_named_and_leave_nothing_built(tmp_path, tree, config, path, fault, fact):
    fault(pathlib.Path(tree / path))
    with testing.refused(tmp_path, fact):
        _build(tmp_path, config, tree.parent)


@pytest.mark.parametrize(
    ("objects", "side"),
    [
        (("left hand", "Left_Hand", "LEFT-HAND 2", "lhand", "Hand_Left", " left ", ("hand", "left")), "left"),
        (("Right  Hand", "R_hand", "rh", "hand right", ("hand", "right,holding,cards,other")), "right"),
        (("hand", "hands", "hand2", ("hand", "holding")), ""),
    ],
)
def test_sides_are_read_from_label_and_attributes(tree, objects, side):
    pairs = [(item, "") if isinstance(item, str) else item for item in objects]
    (tree / "annotations" / "9.xml").write_text(xml(*((*pair, BOX, 0) for pair in pairs)))
    hands = _hands(tree)
    assert [hand.side for hand in hands] == [side] * len(objects)
    np.testing.assert_array_equal(hands[0].points, BOX)


def test_the_official_faults_are_handled(tree, caplog):
    """GIFs, gray JPEGs, a body besides the hands, deleted objects, an outline that leaves its picture by a click."""

    def kind(path):
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            return f"{image.format} {image.mode}"

    kinds = {p.number: kind(p.image) for p in read_original(tree)}
    assert {n: k for n, k in kinds.items() if k != "JPEG RGB"} == {5: "JPEG L", 216: "GIF P", 221: "GIF P"}
    assert len(_hands(tree, 225)) == 1
    assert "225.xml: outline 1 ('body')" in caplog.text
    assert ((tree / "annotations" / "1.xml").read_text().count("<object>"), len(_hands(tree, 1))) == (3, 2)
    (tree / "annotations" / "9.xml").write_text(xml(("hand", "", np.array([[-15, -15], [20, -15], [20, 20]]), 0)))
    assert len(_hands(tree)) == 1
    (tree / "annotations" / "9.xml").write_text(xml())
    assert _hands(tree) == ()
    assert "no hand is outlined in 9." in caplog.text


if __name__ == "__main__":
    tfds.testing.test_main()
