"""Tests of painting polygons."""

import numpy as np
import pytest

from refinenet_jax.data import polygons


def _square(left, top, right, bottom):
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def test_a_corner_fills_the_pixel_it_lies_in():
    mask = polygons.draw(30, 40, [(_square(10.9, 20.2, 12.1, 21.9), 3)])
    assert mask.shape == (30, 40)
    assert mask.dtype == np.uint8
    assert np.argwhere(mask).tolist() == [[y, x] for y in (20, 21) for x in (10, 11, 12)]
    assert np.unique(mask).tolist() == [0, 3]


def test_later_is_painted_over_earlier():
    mask = polygons.draw(12, 16, [(_square(5, 5, 9, 9), 1), (_square(7, 5, 12, 9), 255), (_square(8, 5, 8, 9), 0)])
    assert mask[7].tolist() == [0, 0, 0, 0, 0, 1, 1, 255, 0, 255, 255, 255, 255, 0, 0, 0]


def test_what_leaves_the_picture_is_cut_off():
    assert (polygons.draw(4, 4, [(_square(-1e6, -50, 1e6, 50), 1)]) == 1).all()
    assert not polygons.draw(4, 4, [(_square(-3, -3, -0.5, -0.5), 1)]).any()


@pytest.mark.parametrize(
    "points", [[], [[0, 0], [1, 1]], [0, 1, 2, 3, 4, 5], [[0, 0], [1, np.nan], [2, 0]], [[0, 0], [1e9, 1], [2, 0]]]
)
def test_what_is_no_polygon_is_refused_with_its_place(points):
    with pytest.raises(ValueError, match="polygon 1 has"):
        polygons.draw(9, 9, [(_square(0, 0, 1, 1), 1), (np.array(points), 1)])
