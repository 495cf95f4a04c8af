"""Tests of the three labellings and of what is said about doubtful labels."""

import logging
import shutil

import numpy as np
import pytest
from etils import epath
from PIL import Image

from tfds_builders.gtea import hand2k, make_dummy_data, masks

DUMMY = epath.Path(__file__).parent / "dummy_data"
NAME = "s1_cheese_0000000020"


@pytest.fixture
def tree(tmp_path):
    """A copy of the dummy GTEA to do harm to."""
    return epath.Path(shutil.copytree(DUMMY / "GTEA", tmp_path / "GTEA"))


def _frames(tree, labels="Masks"):
    return hand2k.read_frames(tree / "Images", [tree / labels], 0)


def _square(left, top, right, bottom):
    return np.array([(left, top), (right, top), (right, bottom), (left, bottom)])


def _write(path, *objects):
    path.write_text(make_dummy_data.xml(path.stem, objects))


@pytest.mark.parametrize(
    ("name", "side"),
    [
        *[
            (name, "left")
            for name in ("Left hand", "left_hand", "LEFT-HAND 2", "lefthand", "lef hand", "hand (left)", "lfet")
        ],
        *[
            (name, "right")
            for name in ("Right hand", "right_hand", "RightHand", "rigth_hand", "righ hand", "hand right")
        ],
        *[(name, None) for name in ("hand", "", "left and right hand", "intersection", "cup", "l", "arm")],
    ],
)
def test_sides_are_told_by_name(name, side):
    assert masks.side_of(name) == masks.SIDES.get(side)


def test_the_later_outline_is_on_top(tmp_path):
    path = epath.Path(tmp_path / "a.xml")
    squares = ("Right hand", _square(10, 10, 19, 19), 0), ("Left hand", _square(15, 10, 24, 19), 0)
    for objects, row in ((squares, [2] * 5 + [1] * 10), (squares[::-1], [2] * 10 + [1] * 5)):
        _write(path, *objects, ("Left hand", _square(0, 0, 719, 404), 1))
        mask = masks.read_left_right(path)
        assert (mask.shape, mask.dtype) == ((405, 720), np.uint8)
        assert mask[12, 9:26].tolist() == [0, *row, 0]


def test_a_name_without_a_side_is_an_error_naming_file_and_name(tree):
    _write(tree / "Annotations" / f"{NAME}.xml", ("Hand", _square(1, 1, 9, 9), 0))
    with pytest.raises(ValueError, match=rf"{NAME}\.xml: the object 'Hand' is neither .* Correct the name"):
        masks.check(_frames(tree, "Annotations"), masks.read_left_right)


def test_a_faulty_outline_is_named(tree):
    _write(tree / "Annotations" / f"{NAME}.xml", ("left", _square(1, 1, 9, 9 * 10**9), 0))
    (tree / "Annotations" / "s2_tea_0000000060.xml").write_text("<annotation>")
    with pytest.raises(
        ValueError, match=rf"{NAME}\.xml: polygon 0 has a corner(?s:.*)s2_tea_0000000060\.xml cannot be read"
    ):
        masks.check(_frames(tree, "Annotations"), masks.read_left_right)


def test_a_mask_of_another_size_is_an_error_by_name(tree):
    Image.new("L", (719, 405)).save(tree / "Masks" / f"{NAME}.png")
    with pytest.raises(ValueError, match=rf"{NAME}\.png has 719x405 pixels, not 720x405"):
        masks.check(_frames(tree), masks.read_arm)


def test_all_that_is_not_black_is_arm():
    label = DUMMY / "GTEA" / "Masks" / f"{NAME}.png"
    with Image.open(label) as image:
        grey = np.asarray(image)
    assert set(np.unique(grey)) <= {0, make_dummy_data.LEFT, make_dummy_data.RIGHT, make_dummy_data.BOTH}
    np.testing.assert_array_equal(masks.read_arm(label), grey > 0)


def test_the_outlines_draw_what_the_masks_show():
    """Left and right of the dummy masks, up to where one is on top of the other."""
    for frame in _frames(DUMMY / "GTEA", "Annotations"):
        grey = np.asarray(Image.open(DUMMY / "GTEA" / "Masks" / f"{frame.name}.png"))
        drawn = masks.read_left_right(frame.label)
        single = grey != make_dummy_data.BOTH
        expected = np.select([grey == make_dummy_data.LEFT, grey == make_dummy_data.RIGHT], [1, 2])
        np.testing.assert_array_equal(drawn[single], expected[single])
        assert (drawn[~single] > 0).all()


def test_a_wrist_mask_is_cut_at_128():
    label = DUMMY / "gtea_cropped" / "gtea_train_cropped" / f"{NAME}.jpg"
    grey = np.asarray(Image.open(label))
    assert ((grey > 0) & (grey < 255)).any()
    np.testing.assert_array_equal(masks.read_wrist(label), grey >= 128)


def test_unexpected_greys_are_told(tree, caplog):
    with caplog.at_level(logging.WARNING, logger="absl"):
        masks.warn_of_greys(_frames(tree))
        assert "greys besides" not in caplog.text
        grey = np.zeros((405, 720), np.uint8)
        grey[0, :2] = 3, 170
        Image.fromarray(grey).save(tree / "Masks" / f"{NAME}.png")
        masks.warn_of_greys(_frames(tree))
    assert "hold 4 greys besides black" in caplog.messages[-1]
    assert "3 (1), 85 (8), 170 (9)" in caplog.messages[-1]


def test_outlines_apart_from_their_mask_are_told(tree, caplog):
    by_name = hand2k.index([tree / "Masks"])
    with caplog.at_level(logging.WARNING, logger="absl"):
        masks.warn_of_disagreement(_frames(tree, "Annotations"), by_name)
        assert "Outlines" not in caplog.text
        _write(tree / "Annotations" / f"{NAME}.xml", ("Left hand", _square(0, 0, 99, 99), 0))
        del by_name["s2_tea_0000000060"]
        masks.warn_of_disagreement(_frames(tree, "Annotations"), by_name)
    assert caplog.messages[-1].endswith(f"look at them (1 of 8 frames): {NAME} (IoU 0.00)")
