"""Sizes of canvases, and the operations for exports compared with OpenCV's."""

import jax
import numpy as np
import pytest

from refinenet_jax.inference import fitting


@pytest.mark.parametrize(
    ("side", "padded"),
    [(1, 32), (32, 32), (33, 64), (252, 256), (256, 256), (257, 320), (448, 448), (513, 640), (720, 768), (1280, 1280)],
)
def test_sides_of_the_grid(side, padded):
    assert fitting.canvas_size((side, padded)) == (padded, padded)


def test_a_canvas_is_at_most_a_quarter_longer_than_its_image():
    for side in range(1, 5000):
        (padded, _) = fitting.canvas_size((side, 32))
        assert side <= padded <= max(1.25 * side, side + 31)


@pytest.mark.parametrize(
    ("size", "longest_side", "fitted"),
    [((720, 1280), 448, (252, 448)), ((1280, 720), 448, (448, 252)), ((3, 4000), 100, (1, 100)), ((7, 9), 0, (7, 9))],
)
def test_fitted_sizes(size, longest_side, fitted):
    assert fitting.fitted_size(size, longest_side) == fitted


@pytest.mark.parametrize(
    ("size", "longest_side"),
    [
        ((72, 128), 45),  # area
        ((72, 128), 64),
        ((60, 80), 20),
        ((1, 50), 45),
        ((30, 40), 124),  # bicubic
        ((37, 53), 54),
        ((40, 40), 40),
        ((40, 40), 0),
    ],
)
def test_operations_in_the_graph_equal_opencv(size, longest_side):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    fitted = fitting.fit(image, longest_side)
    assert fitted.shape[:2] == fitting.fitted_size(size, longest_side)
    found = np.asarray(jax.jit(lambda x: fitting.fit_in_graph(x, longest_side))(image[None]))[0]
    assert found.dtype == fitted.dtype == (np.float32 if longest_side else np.uint8)
    np.testing.assert_allclose(found, fitted, atol=0.002)
    np.testing.assert_array_equal(np.asarray(fitting.on_canvas_in_graph(fitted[None]))[0], fitting.on_canvas(fitted))
    scores = rng.random((*fitted.shape[:2], 2)).astype(np.float32)
    found = jax.jit(lambda x: fitting.resize_scores_in_graph(x, size))(scores[None])[0]
    np.testing.assert_allclose(found, fitting.resize_scores(scores, size), atol=1e-4)
