"""Tests of the splits, of pictures with masks or outlines, and of what is refused; faults are planted into dummy data."""

import functools
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
from tfds_builders.hof.hand_over_face import ORIGINAL, RESIZED, draw_outlines, list_pictures
from tfds_builders.pictures import read_binary

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
NUMBERS = [1, 2, 3, 4, 5, 9, 10, 100, 216, 221, 225, 300]
SPLITS = {"train": {2, 5, 100, 300}, "validation": {1, 3, 221}, "test": {4, 9, 10, 216, 225}}
BOX = np.array([[30, 30], [60, 30], [60, 50]])
OTHER_SIZE = "<imagesize><nrows>3</nrows><ncols>4</ncols></imagesize>"


class HofTest(tfds.testing.DatasetBuilderTestCase):
    """Tests for the hof dataset."""

    DATASET_CLASS = hof_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["resized"]  # noqa: RUF012
    SPLITS = {split: len(numbers) for split, numbers in SPLITS.items()}  # noqa: RUF012


_build = functools.partial(testing.build, hof_dataset_builder.Builder)


@pytest.fixture
def tree(tmp_path):
    """A manual folder with a copy of the dummy tree, to damage."""
    return epath.Path(shutil.copytree(DUMMY, tmp_path / "manual")) / "hand_over_face"


def xml(*objects):
    """LabelMe's XML of (label, points)."""
    text = "".join(
        f"<object><name>\n{label}\n</name><deleted>0</deleted><polygon><username>a</username>"
        + "".join(f"<pt><x>\n{x}\n</x><y>{y}</y></pt>" for x, y in points)
        + "</polygon></object>"
        for label, points in objects
    )
    return f"<annotation><filename>a.jpg</filename>{text}</annotation>"


def _ids(builder, split):
    return {int(key) for key in testing.masks_of(builder, split)}


def test_masks_of_both_sizes(tmp_path):
    resized, original = (_build(tmp_path, config, DUMMY) for config in ("resized", "original"))
    for split, numbers in SPLITS.items():
        assert _ids(resized, split) == _ids(original, split) == numbers
    tree = tfds.core.Path(DUMMY / "hand_over_face")
    resized, original = map(testing.masks_of, (resized, original))
    for picture in list_pictures(tree, *ORIGINAL).values():
        key = str(picture.number)
        np.testing.assert_array_equal(resized[key], read_binary(tree / f"masks/{key}.png"))
        with Image.open(picture.image) as image:
            assert original[key].shape == (image.height, image.width)
        # Drawn where the hand is: shrunk to 384x216 it is the official mask, but for the edges.
        shrunk = cv2.resize(original[key], (384, 216), interpolation=cv2.INTER_NEAREST)
        assert (shrunk & resized[key]).sum() / (shrunk | resized[key]).sum() > 0.93


def test_the_fixed_split_never_changes():
    divided = splits.divide(range(1, 301), splits.FIXED_TEST)
    assert [len(numbers) for numbers in divided.values()] == [160, 40, 100]
    assert sorted(number for numbers in divided.values() for number in numbers) == [*range(1, 301)]
    assert [sum(numbers) for numbers in divided.values()] == [24703, 5230, 15217]
    part = splits.divide(range(1, 301, 7), splits.FIXED_TEST)
    assert all({*part[split]} <= {*divided[split]} for split in divided)


def test_the_list_is_the_test_split_of_its_own_config_only(tmp_path, tree):
    with testing.refused(tmp_path, r"test\.txt does not exist"):
        _build(tmp_path, "paper", tree.parent)
    (tree.parent / splits.LIST).write_bytes(b"\xef\xbb\xbf1\r\n\r\n77.jpg\n")
    with testing.refused(tmp_path, r"test\.txt names missing pictures: 77"):
        _build(tmp_path, "paper", tree.parent)
    (tree.parent / splits.LIST).write_text("1\n3.jpg\nC:\\test\\300.jpg\n")
    assert _ids(_build(tmp_path, "paper", tree.parent), "test") == {1, 3, 300}
    assert _ids(_build(tmp_path, "resized", tree.parent), "test") == SPLITS["test"]


def test_each_size_needs_its_own_folders_only_and_missing_pictures_are_named(tree, caplog):
    assert [*list_pictures(tree, *ORIGINAL)] == [*list_pictures(tree, *RESIZED)] == NUMBERS
    assert "has 12 pictures; the official number is 300. Missing: 6, 7, 8, 11" in caplog.text
    (tree / "annotations").rmtree()
    assert len(list_pictures(tree, *RESIZED)) == 12
    with pytest.raises(ValueError, match="has no folder annotations"):
        list_pictures(tree, *ORIGINAL)


@pytest.mark.parametrize(
    ("config", "path", "fault", "fact"),
    [
        ("resized", "masks/9.png", pathlib.Path.unlink, r"only one has the pictures 9\."),
        ("original", "annotations/9.xml", pathlib.Path.unlink, r"only one has the pictures 9\."),
        ("resized", "images_resized/1.jpg", lambda p: shutil.copy(p, p.with_name("01.jpg")), r": 01\.jpg"),
        ("resized", "masks/9.png", lambda p: Image.new("L", (216, 384)).save(p), r"9\.png has 216x384 pixels"),
        ("original", "images_original_size/9.jpg", lambda p: p.write_bytes(p.read_bytes()[:900]), r"9\.jpg cannot be"),
        ("original", "annotations/9.xml", lambda p: p.write_text(xml(("body", BOX))), r"9\.xml.*'body'"),
    ],
)
def test_faulty_files_are_named_and_leave_nothing_built(tmp_path, tree, config, path, fault, fact):
    fault(pathlib.Path(tree / path))
    with testing.refused(tmp_path, fact):
        _build(tmp_path, config, tree.parent)


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("", "no element"),
        ("<annotation>", "no element"),
        ("<html></html>", "<html>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation/>', "DOCTYPE"),
        (xml(("hand", BOX[:2])), "object 0 has 2 points"),
        ("<annotation><object><name>hand</name></object></annotation>", "object 0 has 0 points"),
        (xml(("hand", [*BOX, (float("nan"), 1)])), "object 0 leaves"),
        (xml(("hand", BOX), ("hand", BOX - 60)), "object 1 leaves"),
        (xml(("hand", [*BOX, ("x", 1)])), "could not convert"),
        (xml(("left foot", BOX)), "'left foot'"),
        (xml(("hand", BOX)).replace("<object>", f"{OTHER_SIZE}<object>"), "a picture of 4x3, not"),
    ],
)
def test_faulty_annotations_are_named(tree, text, fact):
    (tree / "annotations" / "9.xml").write_text(text)
    with pytest.raises(ValueError, match=rf"9\.xml does not fit .*{fact}"):
        draw_outlines(list_pictures(tree, *ORIGINAL)[9])


def test_the_official_faults_are_handled(tree, caplog):
    """Deleted objects, an outline that leaves its picture by a click."""
    pictures = list_pictures(tree, *ORIGINAL)

    def draw(number, text):
        pictures[number].label.write_text(text)
        return draw_outlines(pictures[number])

    assert (
        draw(9, xml(*((name, BOX) for name in ("Left_Hand 2", "RIGHT-HAND", " left ", "lhand", "hands")))).sum() > 100
    )
    deleted = xml(("body", BOX)).replace("<deleted>0", "<deleted>1")
    assert not draw(9, deleted).any()
    assert "9.xml: no hand is outlined" in caplog.text
    two = xml(("hand", BOX), ("hand", BOX + 20))
    one_object = two[: two.index("</object>")] + two[two.rindex("<polygon>") :]
    np.testing.assert_array_equal(draw(9, one_object), draw(9, two))
    assert draw(9, xml(("hand", np.array([[-15, -15], [20, -15], [20, 20]])))).any()


if __name__ == "__main__":
    tfds.testing.test_main()
