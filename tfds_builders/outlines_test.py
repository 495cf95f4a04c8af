"""Tests of drawing outlines; the drawn mask equals that of the library."""

import numpy as np

from refinenet_jax.data import polygons
from tfds_builders.outlines import draw

SQUARE = [(10.9, 20.2), (12.1, 20.2), (12.1, 21.9), (10.9, 21.9)]


def test_a_corner_fills_its_pixel_and_later_outlines_are_on_top():
    assert np.argwhere(draw(30, 40, [(SQUARE, 1)])).tolist() == [[y, x] for y in (20, 21) for x in (10, 11, 12)]
    assert (draw(30, 40, [([(0, 0), (40, 0), (40, 30), (0, 30)], 4)]) == 4).all()
    shapes = [([(5, 5), (9, 5), (9, 9), (5, 9)], 1), ([(7, 5), (12, 5), (12, 9), (7, 9)], 4)]
    assert draw(30, 40, shapes)[7, 4:14].tolist() == [0, 1, 1, 4, 4, 4, 4, 4, 4, 0]


def test_draws_the_same_as_the_library():
    rng = np.random.default_rng(0)
    shapes = [(rng.uniform(-20, 80, (rng.integers(3, 9), 2)), value) for value in range(1, 20)]
    np.testing.assert_array_equal(draw(50, 60, shapes), polygons.draw(50, 60, shapes))
