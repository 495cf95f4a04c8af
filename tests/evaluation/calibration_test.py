"""Reliability counts by hand and against a plain reference, on one device and on eight; what they are worth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refinenet_jax import parallel
from refinenet_jax.evaluation import calibration

VOID = 255
histogram = jax.jit(calibration.histogram)


def two_classes(hand: list) -> jax.Array:
    hand = jnp.asarray(hand, jnp.float32)
    return jnp.stack([1 - hand, hand], -1)


def column(counts: np.ndarray, name: str) -> np.ndarray:
    return np.asarray(counts, np.int64)[..., calibration.COLUMNS.index(name)]


def confidence(counts: np.ndarray) -> np.ndarray:
    return column(counts, "confidence") + column(counts, "confidence_rest") / 65536


def test_counts_by_hand_with_void():
    # Confidences 0.75, 0.75, 1, 0.625; the last is void. Of the others the first is wrong.
    probabilities = two_classes([[[0.75, 0.25], [1.0, 0.625]]])
    counts = histogram(probabilities, jnp.array([[[0, 0], [1, VOID]]], jnp.uint8))
    assert counts.dtype == jnp.int32
    assert counts.shape == (1, calibration.BINS, len(calibration.COLUMNS))
    expected = np.zeros((1, 15, 4), int)
    expected[0, 11] = 2, 1, 1, 65536 // 2  # 0.75 lies in (11 / 15, 12 / 15]; two of them sum to 1.5
    expected[0, 14] = 1, 1, 1, 0
    np.testing.assert_array_equal(counts, expected)


def test_edges_belong_to_the_bin_below():
    counts = histogram(two_classes([[[0.8, 0.8000001, 0.6, 0.6000001]]]), jnp.zeros((1, 1, 4), jnp.uint8))
    assert np.flatnonzero(column(counts[0], "count")).tolist() == [8, 9, 11, 12]


@pytest.mark.parametrize("mapped", [False, True])
def test_against_a_plain_reference(mapped):
    """Three classes, void, images of odd size; split over the devices, the last share filled up."""
    rng = np.random.default_rng(0)
    probabilities = np.asarray(jax.nn.softmax(rng.normal(size=(11, 37, 53, 3)).astype(np.float32) * 2))
    truth = rng.choice([0, 1, 2, VOID], (11, 37, 53), p=[0.5, 0.2, 0.2, 0.1]).astype(np.uint8)
    if mapped:
        counts = parallel.parallel_map(lambda _, pair: calibration.histogram(*pair))(
            np.zeros(1), (probabilities, truth)
        )
    else:
        counts = histogram(probabilities, truth)

    sure, found = probabilities.max(-1), probabilities.argmax(-1)
    for i in range(11):
        for b in range(15):
            inside = (truth[i] != VOID) & (sure[i] > np.float32(b / 15)) & (sure[i] <= np.float32((b + 1) / 15))
            assert column(counts, "count")[i, b] == inside.sum()
            assert column(counts, "correct")[i, b] == (inside & (found[i] == truth[i])).sum()
            exact = sum(round(float(s) * 65536) for s in sure[i][inside])
            assert round(confidence(counts)[i, b] * 65536) == exact
    assert column(counts, "count").sum() == (truth != VOID).sum()


def test_counts_beyond_the_exact_range_of_float32():
    shape = (1, 4099, 4101)  # an odd number of pixels above 2^24
    # One class is enough here, and half the memory.
    counts = histogram(jnp.full((*shape, 1), 0.7, jnp.float32), jnp.zeros(shape, jnp.uint8))[0]
    assert column(counts, "count").tolist() == column(counts, "correct").tolist() == [0] * 10 + [4099 * 4101] + [0] * 4
    assert confidence(counts)[10] == 4099 * 4101 * round(0.7 * 65536) / 65536


def test_figures_by_hand():
    counts = np.zeros((15, 4), np.int64)
    counts[8] = 10, 4, 5, 32768  # sure by 0.55, right in 0.4
    counts[14] = 30, 30, 29, 0  # sure by 0.967, always right
    figures = calibration.figures(counts)
    assert figures == pytest.approx({"ece": (1.5 + 1) / 40, "mce": 0.15, "accuracy": 34 / 40, "confidence": 34.5 / 40})
    curve = calibration.curve(counts)
    assert {len(values) for values in curve.values()} == {15}
    assert [curve[key][8] for key in ("low", "high", "confidence", "accuracy", "share")] == pytest.approx(
        [8 / 15, 9 / 15, 0.55, 0.4, 0.25]
    )
    assert np.isnan(curve["accuracy"][0])
    assert curve["share"].sum() == 1
    assert calibration.figures(counts * 2) == pytest.approx(figures)  # twice the same set


def test_over_and_underconfidence_do_not_cancel():
    counts = np.zeros((15, 4), np.int64)
    counts[8], counts[11] = (10, 4, 5, 32768), (10, 9, 7, 32768)
    figures = calibration.figures(counts)
    assert figures["ece"] == pytest.approx(0.15)
    assert figures["accuracy"] == pytest.approx(figures["confidence"])


def test_a_calibrated_network_has_a_small_error_and_a_sharpened_one_a_large():
    rng = np.random.default_rng(0)
    hand = rng.random((1, 400, 500)).astype(np.float32)
    truth = (rng.random(hand.shape) < hand).astype(np.uint8)
    sharp = hand**4 / (hand**4 + (1 - hand) ** 4)
    errors = [calibration.figures(histogram(two_classes(p), truth)[0])["ece"] for p in (hand, sharp)]
    assert errors[0] < 0.005
    assert errors[1] > 0.1


def test_nothing_but_void_has_no_figures():
    counts = histogram(two_classes(np.full((2, 3, 3), 0.9)), jnp.full((2, 3, 3), VOID, jnp.uint8))
    assert not counts.any()
    assert all(np.isnan(value) for value in calibration.figures(counts.sum(0)).values())
    assert np.isnan(calibration.curve(counts.sum(0))["share"]).all()
