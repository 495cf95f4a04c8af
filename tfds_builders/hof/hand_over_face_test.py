"""Tests of reading the tree, the outlines and the masks; each fault is planted into a copy of dummy_data/."""

import io
import pathlib
import shutil

import numpy as np
import pytest
from etils import epath
from PIL import Image

from tfds_builders.hof import hand_over_face, make_dummy_data
from tfds_builders.hof.hand_over_face import read_original, read_resized

DUMMY = epath.Path(__file__).parent / "dummy_data" / hand_over_face.FOLDER
BOX = np.array([[30, 30], [60, 30], [60, 50]])


@pytest.fixture
def tree(tmp_path):
    """A copy of the dummy tree to do harm to."""
    return epath.Path(shutil.copytree(DUMMY, tmp_path / hand_over_face.FOLDER))


def _write_xml(tree, number, objects, size=None):
    make_dummy_data.write_annotation(pathlib.Path(tree / "annotations" / f"{number}.xml"), objects, size)


def _encode(image, form="PNG"):
    content = io.BytesIO()
    image.save(content, form)
    return content.getvalue()


def test_dummy_data_are_what_the_script_makes(tmp_path, monkeypatch):
    monkeypatch.setattr(make_dummy_data, "__file__", str(tmp_path / "make_dummy_data.py"))
    make_dummy_data.main()
    made, committed = (
        {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
        for root in (tmp_path / "dummy_data", pathlib.Path(DUMMY).parent)
    )
    assert made.keys() == committed.keys()
    for name, path in made.items():  # encoders differ between versions of PIL
        if path.suffix == ".xml":
            assert path.read_bytes() == committed[name].read_bytes()


def test_pictures_come_in_numeric_order_whatever_else_lies_about():
    assert [picture.number for picture in read_resized(DUMMY)] == [1, 2, 3, 4, 5, 9, 10, 100, 216, 221, 225, 300]
    assert [picture.number for picture in read_original(DUMMY)] == [1, 2, 3, 4, 5, 9, 10, 100, 216, 221, 225, 300]


def test_the_official_faults_are_in_the_dummy_data():
    def kind(path):
        with Image.open(path) as image:
            return f"{image.format} {image.mode}"

    originals = {p.number: kind(p.image) for p in read_original(DUMMY)}
    assert {n: k for n, k in originals.items() if k != "JPEG RGB"} == {5: "JPEG L", 216: "GIF P", 221: "GIF P"}
    assert {kind(p.mask) for p in read_resized(DUMMY)} == {"PNG L", "PNG RGB"}
    assert "<imagesize>" not in (DUMMY / "annotations" / "10.xml").read_text()


def test_a_size_that_the_annotation_lacks_is_that_of_the_picture():
    for picture in read_original(DUMMY):
        with Image.open(picture.image) as image:
            assert (picture.width, picture.height) == image.size


def test_resized_does_without_annotations_and_original_without_masks(tree):
    (tree / "annotations").rmtree()
    assert len(read_resized(tree)) == 12
    with pytest.raises(ValueError, match=r"has no folder annotations\. Unpack"):
        read_original(tree)


def test_the_official_number_is_told(tree, caplog):
    (tree / "masks" / "999.png").write_bytes((tree / "masks" / "9.png").read_bytes())
    (tree / "images_resized" / "999.jpg").write_bytes((tree / "images_resized" / "9.jpg").read_bytes())
    assert len(read_resized(tree)) == 13
    assert "has 13 pictures; the official number is 300. Missing: 6, 7, 8, 11" in caplog.text
    assert "Not in the official dataset: 999." in caplog.text


@pytest.mark.parametrize(
    ("read", "gone", "message"),
    [
        (read_resized, "masks/9.png", "masks has no 9.png, but the other folder"),
        (read_resized, "images_resized/9.jpg", "images_resized has no 9.jpg, but"),
        (read_original, "annotations/9.xml", "annotations has no 9.xml, but"),
        (read_original, "images_original_size/9.jpg", "images_original_size has no 9.jpg, but"),
    ],
)
def test_a_picture_without_labels_is_named_and_the_reverse(tree, read, gone, message):
    (tree / gone).unlink()
    (tree / gone).with_name(f"4{(tree / gone).suffix}").unlink()
    with pytest.raises(ValueError, match="is not HandOverFace as it is published") as error:
        read(tree)
    assert message in str(error.value)
    assert message.replace("9", "4") in str(error.value)  # all faults at once


@pytest.mark.parametrize(
    ("stray", "message"),
    [("1 (copy).jpg", r"1 \(copy\)\.jpg is no file"), ("01.jpg", "01.jpg is no file"), ("1.JPG", "the same number")],
)
def test_a_stray_picture_is_named(tree, stray, message):
    (tree / "images_resized" / stray).write_bytes((tree / "images_resized" / "1.jpg").read_bytes())
    with pytest.raises(ValueError, match=message):
        read_resized(tree)


def test_an_empty_tree_is_refused(tmp_path):
    for folder in ("images_resized", "masks"):
        (tmp_path / folder).mkdir()
    with pytest.raises(ValueError, match="There are no pictures"):
        read_resized(epath.Path(tmp_path))


@pytest.mark.parametrize("path", ["masks/9.png", "images_resized/9.jpg"])
def test_a_resized_file_of_another_size_is_named(tree, path):
    Image.new("L", (216, 384)).save(tree / path)
    with pytest.raises(ValueError, match=rf"{path} has 216x384 pixels, not 384x216"):
        read_resized(tree)


@pytest.mark.parametrize("path", ["masks/9.png", "images_resized/9.jpg"])
@pytest.mark.parametrize("content", [b"", b"<html>not a picture</html>"])
def test_a_file_that_is_no_picture_is_named(tree, path, content):
    (tree / path).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path} cannot be decoded"):
        read_resized(tree)


def test_a_picture_that_would_fill_memory_is_refused(tree):
    content = bytearray(_encode(Image.new("1", (8, 8))))
    content[16:24] = (20_000).to_bytes(4, "big") * 2  # PNG states its size here
    (tree / "images_original_size" / "9.jpg").write_bytes(content)
    with pytest.raises(ValueError, match=r"9\.jpg (has too many pixels|cannot be decoded)"):
        read_original(tree)


@pytest.mark.parametrize(
    ("label", "attributes", "side"),
    [
        *[(label, "", "left") for label in ("left hand", "Left_Hand", "LEFT-HAND 2", "lhand", "Hand_Left", " left ")],
        *[(label, "", "right") for label in ("right hand", "Right  Hand", "RightHand", "R_hand", "rh", "hand right")],
        *[(label, "", "") for label in ("hand", "Hand", "hands", "hand2")],
        ("hand", "left", "left"),
        ("hand", "right,holding,cards,other", "right"),
        ("hand", "holding", ""),
        ("right hand", "Right", "right"),
    ],
)
def test_sides_are_read_from_label_and_attributes(tree, label, attributes, side):
    _write_xml(tree, 9, [make_dummy_data.describe(label, attributes, BOX)])
    hands = {picture.number: picture.hands for picture in read_original(tree)}[9]
    assert [hand.side for hand in hands] == [side]
    np.testing.assert_array_equal(hands[0].points, BOX)


@pytest.mark.parametrize(("label", "attributes"), [("left hand", "right"), ("hand", "left,right")])
def test_a_hand_of_two_sides_is_refused(tree, label, attributes):
    _write_xml(tree, 9, [make_dummy_data.describe(label, attributes, BOX)])
    with pytest.raises(ValueError, match=rf"9\.xml: outline 0 \('{label}'\).* told to be left and right"):
        read_original(tree)


@pytest.mark.parametrize("label", ["body", "linke Hand", "", "handbag"])
def test_an_unknown_label_is_named_with_the_cure(tree, label):
    _write_xml(tree, 9, [make_dummy_data.describe(label, "", BOX)])
    with pytest.raises(ValueError, match=rf"9\.xml: outline 0 \('{label}'\): this label is not known") as error:
        read_original(tree)
    assert "add it to SPELLINGS in tfds_builders/hof/hand_over_face.py" in str(error.value)
    assert "lefthand" in str(error.value)


def test_the_body_in_225_is_left_out_and_told(caplog):
    hands = {picture.number: picture.hands for picture in read_original(DUMMY)}
    assert "<name>\nbody\n</name>" in (DUMMY / "annotations" / "225.xml").read_text()
    assert len(hands[225]) == 1
    assert "225.xml: outline 1 ('body') is no hand and left out" in caplog.text


def test_deleted_objects_are_left_out():
    xml = (DUMMY / "annotations" / "1.xml").read_text()
    hands = {picture.number: picture.hands for picture in read_original(DUMMY)}
    assert (xml.count("<object>"), len(hands[1])) == (3, 2)


def test_an_outline_may_leave_the_picture_by_a_click_but_no_more(tree):
    with Image.open(tree / "images_original_size" / "9.jpg") as image:
        width, height = image.size
    beyond = np.array([[-15, -15], [width + 15, -15], [width + 15, height + 15]])
    _write_xml(tree, 9, [make_dummy_data.describe("hand", "", beyond)])
    assert {picture.number: len(picture.hands) for picture in read_original(tree)}[9] == 1
    for points in (BOX - 60, BOX + np.array([width, 0]), BOX * 5):
        _write_xml(tree, 9, [make_dummy_data.describe("hand", "", points)])
        with pytest.raises(
            ValueError, match=rf"9\.xml: outline 0 .* 9\.jpg is {width}x{height}|is {width}x{height}: it was"
        ):
            read_original(tree)


def test_an_annotation_for_another_size_is_refused_and_for_10_with_its_history(tree):
    for number in (9, 10):
        _write_xml(tree, number, [make_dummy_data.describe("hand", "", BOX)], size=(640, 480))
    with pytest.raises(ValueError, match=r"9\.xml is for a picture of 640x480, but .*9\.jpg is ") as error:
        read_original(tree)
    of_9, of_10 = str(error.value).splitlines()[1:]
    assert "before the correction" not in of_9
    assert of_10.endswith("10.xml and 10.png belong to another picture: get the corrected one.")


def test_an_outline_of_two_points_is_refused(tree):
    _write_xml(tree, 9, [make_dummy_data.describe("hand", "", BOX[:2])])
    with pytest.raises(ValueError, match=r"9\.xml: object 0 \('hand'\) has an empty polygon \(2 points\)"):
        read_original(tree)


def test_a_picture_without_hands_is_told(tree, caplog):
    _write_xml(tree, 9, [])
    assert {picture.number: picture.hands for picture in read_original(tree)}[9] == ()
    assert "no hand is outlined in 9." in caplog.text
