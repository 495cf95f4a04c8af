"""Tests of reading LabelMe's XML and of drawing outlines; the drawn mask equals that of the library."""

import numpy as np
import pytest
from etils import epath

from refinenet_jax.data import polygons
from tfds_builders.outlines import draw, read_labelme

SQUARE = [(10.9, 20.2), (12.1, 20.2), (12.1, 21.9), (10.9, 21.9)]


def xml(*objects, size=None):
    """LabelMe's XML of (label, attributes, points, deleted)."""
    text = "".join(
        f"<object><name>\n{label}\n</name><deleted>{deleted}</deleted><attributes>{attributes}</attributes><polygon>"
        "<username>a</username>"
        + "".join(f"<pt><x>\n{x}\n</x><y>{y}</y></pt>" for x, y in points)
        + "</polygon></object>"
        for label, attributes, points, deleted in objects
    )
    size = f"<imagesize><nrows>{size[0]}</nrows><ncols>{size[1]}</ncols></imagesize>" if size else ""
    return f"<annotation><filename>a.jpg</filename>{text}{size}</annotation>"


def _read(tmp_path, text):
    path = epath.Path(tmp_path / "a.xml")
    path.write_text(text)
    return read_labelme(path)


def test_reads_size_and_objects_but_no_deleted_ones(tmp_path):
    size, outlines = _read(
        tmp_path, xml(("left hand", "", SQUARE, 0), ("b", "", SQUARE[:2], 1), ("c", "x,y", SQUARE, 0), size=(30, 40))
    )
    assert size == (30, 40)
    assert [(o.label, o.attributes) for o in outlines] == [("left hand", ""), ("c", "x,y")]
    np.testing.assert_array_equal(outlines[0].points, SQUARE)
    assert _read(tmp_path, xml())[0] is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<annotation>",
        "<html></html>",
        '<!DOCTYPE a [<!ENTITY b "c">]><annotation/>',
        xml(size=("many", 3)),
        xml(("hand", "", SQUARE[:2], 0)),
        xml(("hand", "", [*SQUARE, (float("nan"), 1)], 0)),
        xml(("hand", "", [*SQUARE, (1, 9e9)], 0)),
        xml(("hand", "", [*SQUARE, ("x", 1)], 0)),
        "<annotation><object><name>hand</name></object></annotation>",
    ],
)
def test_faulty_files_are_named(tmp_path, text):
    with pytest.raises(ValueError, match=r"a\.xml(: object 0 \('hand'\)| cannot be read)"):
        _read(tmp_path, text)


def test_a_corner_fills_its_pixel_and_later_outlines_are_on_top():
    assert np.argwhere(draw(30, 40, [(SQUARE, 1)])).tolist() == [[y, x] for y in (20, 21) for x in (10, 11, 12)]
    assert (draw(30, 40, [([(0, 0), (40, 0), (40, 30), (0, 30)], 4)]) == 4).all()
    shapes = [([(5, 5), (9, 5), (9, 9), (5, 9)], 1), ([(7, 5), (12, 5), (12, 9), (7, 9)], 4)]
    assert draw(30, 40, shapes)[7, 4:14].tolist() == [0, 1, 1, 4, 4, 4, 4, 4, 4, 0]


def test_draws_the_same_as_the_library():
    rng = np.random.default_rng(0)
    shapes = [(rng.uniform(-20, 80, (rng.integers(3, 9), 2)), value) for value in range(1, 20)]
    np.testing.assert_array_equal(draw(50, 60, shapes), polygons.draw(50, 60, shapes))
