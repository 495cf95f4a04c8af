"""The dense CRF compared with sums over all pairs of pixels."""

import cv2
import numpy as np
import pytest

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.crf import CrfParameters, _mean_field, crf, parse_parameters

SIZE = (24, 32)


def _exact(image, probabilities, parameters):
    """Mean field with sums over all pairs of pixels, in float64."""
    p, classes = parameters, probabilities.shape[-1]
    places = np.stack(np.mgrid[: image.shape[0], : image.shape[1]], -1).reshape(-1, 1, 2).astype(float)
    colors = image.reshape(-1, 1, 3).astype(float)
    distance = ((places - places.swapaxes(0, 1)) ** 2).sum(-1)
    difference = ((colors - colors.swapaxes(0, 1)) ** 2).sum(-1)
    bilateral = np.exp(
        -distance / (2 * p.bilateral_position_stddev**2) - difference / (2 * p.bilateral_color_stddev**2)
    )
    smoothness = np.exp(-distance / (2 * p.smoothness_stddev**2))
    kernel = 0
    for weight, k in ((p.bilateral_weight, bilateral), (p.smoothness_weight, smoothness)):
        root = k.sum(1) ** -0.5
        kernel = kernel + weight * root[:, None] * k * root
    prior = np.clip(probabilities.reshape(-1, classes).astype(float), 1e-5, 1)
    q = prior / prior.sum(-1, keepdims=True)
    for _ in range(p.iterations):
        q = prior * np.exp(kernel @ q)
        q /= q.sum(-1, keepdims=True)
    return q.reshape(probabilities.shape)


def _scene(classes=2, seed=0):
    """A shaded picture of one region for each class, with noise, and unsure scores that are off at the edges."""
    rng = np.random.default_rng(seed)
    fields = np.stack([cv2.GaussianBlur(rng.normal(size=SIZE), (0, 0), 4) for _ in range(classes)], -1)
    truth = fields.argmax(-1)
    colors = rng.integers(40, 216, (classes, 3))[truth] + 25 * (np.mgrid[: SIZE[0], : SIZE[1]][1] / SIZE[1])[..., None]
    image = (colors + rng.normal(0, 4, (*SIZE, 3))).clip(0, 255).astype(np.uint8)
    logits = 3 * cv2.GaussianBlur(np.eye(classes)[truth], (0, 0), 2) + rng.normal(0, 0.8, (*SIZE, classes))
    scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return image, scores.astype(np.float32), truth


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "parameters",
    [
        CrfParameters(),
        CrfParameters(bilateral_position_stddev=10, bilateral_color_stddev=13, iterations=5),
        CrfParameters(bilateral_weight=10, bilateral_position_stddev=80, bilateral_color_stddev=20, iterations=5),
    ],
)
def test_approximates_the_sums_over_all_pairs(classes, parameters):
    """Errors of the lattice: at most 1 % of the labels, and 0.01 of a probability in the mean (measured: 0.3 % and 0.002)."""
    image, scores, _ = _scene(classes)
    found, exact = crf(image, scores, parameters), _exact(image, scores, parameters)
    assert found.dtype == np.float32
    assert found.shape == scores.shape
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    assert np.mean(scores.argmax(-1) != exact.argmax(-1)) > 0.06  # the CRF changes labels
    assert np.mean(found.argmax(-1) != exact.argmax(-1)) <= 0.01
    assert np.abs(found - exact).mean() <= 0.01


@pytest.mark.parametrize("stddev", [0.5, 1.0, 2.0])
def test_smoothness_alone_is_exact(stddev):
    image, scores, _ = _scene(3)
    parameters = CrfParameters(bilateral_weight=0, smoothness_weight=2.5, smoothness_stddev=stddev, iterations=4)
    np.testing.assert_allclose(crf(image, scores, parameters), _exact(image, scores, parameters), atol=2e-4)


def test_by_hand():
    # All n pixels have the same color and nearly the same position: k is 1 everywhere, D = n, K = 1/n everywhere. Each gets
    # the message (0.8 + 0.4) / 2 = 0.6 for class 0 and 0.4 for class 1, and with weight 5 its odds grow by exp(5 * 0.2) = e.
    image = np.full((*SIZE, 3), 90, np.uint8)
    scores = np.full((*SIZE, 2), (0.8, 0.2), np.float32)
    scores[::2] = (0.4, 0.6)
    odds = np.full(SIZE, 0.8 / 0.2 * np.e)
    odds[::2] = 0.4 / 0.6 * np.e
    parameters = CrfParameters(5.0, 1e4, 3.0, smoothness_weight=0, iterations=1)
    np.testing.assert_allclose(crf(image, scores, parameters)[..., 0], odds / (1 + odds), rtol=1e-3)


def test_without_iterations_probabilities_are_clipped():
    image, scores, _ = _scene()
    scores[0, 0] = (0, 1)
    found = crf(image, scores, CrfParameters(iterations=0))
    np.testing.assert_allclose(found[1:], scores[1:], atol=1e-6)
    np.testing.assert_allclose(found[0, 0], (1e-5, 1), rtol=1e-3)


def test_other_parameters_compile_nothing():
    image, scores, _ = _scene()
    crf(image, scores)
    before = _mean_field._cache_size()
    crf(image, scores, CrfParameters(5, 40.5, 7, 1, 0.8, 3))
    assert _mean_field._cache_size() == before


@pytest.mark.parametrize(
    ("image", "scores", "fact"),
    [
        (np.zeros((4, 5), np.uint8), np.full((4, 5, 2), 0.5), r"\[4, 5\]"),
        (np.zeros((4, 5, 3), np.uint8), np.full((5, 4, 2), 0.5), r"\[5, 4, 2\]"),
        (np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 1), 0.5), r"\[4, 5, 1\]"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5, 2), np.uint8), "uint8"),
        (np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 2), -3.0), "softmax"),
        (np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 2), np.nan), "softmax"),
        (np.broadcast_to(np.uint8(0), (9000, 9000, 3)), np.broadcast_to(0.5, (9000, 9000, 2)), "34 megapixels"),
    ],
)
def test_wrong_arrays_are_refused(image, scores, fact):
    with pytest.raises(UsageError, match=fact):
        crf(image, scores)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bilateral_weight", -1),
        ("bilateral_color_stddev", 0),
        ("bilateral_position_stddev", float("nan")),
        ("smoothness_stddev", 17),
        ("smoothness_weight", "3"),
        ("iterations", 2.5),
        ("iterations", True),
    ],
)
def test_parameters_out_of_range_are_refused(name, value):
    with pytest.raises(UsageError, match=name):
        CrfParameters(**{name: value})


def test_parameters_from_text():
    assert parse_parameters("default") == CrfParameters()
    expected = CrfParameters(bilateral_weight=1.5, smoothness_stddev=2, iterations=4)
    assert parse_parameters("bilateral_weight=1.5, smoothness_stddev=2, iterations=4") == expected


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("bilateral_wieght=3", "'bilateral_weight'"),
        ("iterations=1e999", "iterations"),
        ("bilateral_weight", "bilateral_weight"),
        ("smoothness_weight=nan", "smoothness_weight"),
    ],
)
def test_wrong_text_is_refused(text, fact):
    with pytest.raises(UsageError, match=fact):
        parse_parameters(text)
