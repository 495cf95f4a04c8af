"""Reliability counts computed by hand and by a plain reference, and the figures from them."""

import numpy as np
import pytest

from refinenet_jax.evaluation.analysis import calibration

VOID = 255


def two_classes(hand: list) -> np.ndarray:
    hand = np.asarray(hand, np.float32)
    return np.stack([1 - hand, hand], -1)


def column(counts: np.ndarray, name: str) -> np.ndarray:
    return counts[..., calibration.COLUMNS.index(name)]


def test_counts_by_hand_with_void():
    # Confidences 0.75, 0.75, 1, 0.625; the last is void. Of the others the first is wrong.
    probabilities = two_classes([[0.75, 0.25], [1.0, 0.625]])
    counts = calibration.histogram(probabilities, np.array([[0, 0], [1, VOID]], np.uint8))
    assert counts.dtype == np.int64
    expected = np.zeros((15, 3), int)
    expected[11] = 2, 1, 1.5 * 65536  # 0.75 lies in (11 / 15, 12 / 15]
    expected[14] = 1, 1, 65536
    np.testing.assert_array_equal(counts, expected)
    edges = calibration.histogram(two_classes([[0.8, 0.8000001, 0.6, 0.6000001]]), np.zeros((1, 4), np.uint8))
    assert np.flatnonzero(column(edges, "count")).tolist() == [8, 9, 11, 12]  # edges belong to the lower bin


def test_against_a_plain_reference():
    """Three classes, void, an odd size."""
    rng = np.random.default_rng(0)
    odds = np.exp(2 * rng.normal(size=(37, 53, 3)).astype(np.float32))
    probabilities = odds / odds.sum(-1, keepdims=True)
    truth = rng.choice([0, 1, 2, VOID], (37, 53), p=[0.5, 0.2, 0.2, 0.1]).astype(np.uint8)
    counts = calibration.histogram(probabilities, truth)
    sure, found = probabilities.max(-1), probabilities.argmax(-1)
    for b in range(15):
        inside = (truth != VOID) & (sure > np.float32(b / 15)) & (sure <= np.float32((b + 1) / 15))
        exact = sum(round(float(s) * 65536) for s in sure[inside])
        assert counts[b].tolist() == [inside.sum(), (inside & (found == truth)).sum(), exact]
    assert column(counts, "count").sum() == (truth != VOID).sum()


def test_figures_by_hand():
    counts = np.zeros((15, 3), np.int64)
    counts[8] = 10, 4, 5.5 * 65536  # confident by 0.55, right in 0.4
    counts[14] = 30, 30, 29 * 65536  # confident by 0.967, always right
    figures = calibration.figures(counts)
    assert figures == pytest.approx({"ece": (1.5 + 1) / 40, "accuracy": 34 / 40, "confidence": 34.5 / 40})
    curve = calibration.curve(counts)
    assert {len(values) for values in curve.values()} == {15}
    values = [curve[key][8] for key in ("confidence", "accuracy", "share")]
    assert values == pytest.approx([0.55, 0.4, 0.25])
    assert np.isnan(curve["accuracy"][0])
    assert curve["share"].sum() == 1
    assert calibration.figures(counts * 2) == pytest.approx(figures)  # the same set twice
    counts[8], counts[14] = (10, 4, 5.5 * 65536), (10, 9, 7.5 * 65536)
    figures = calibration.figures(counts)
    assert figures["ece"] == pytest.approx(0.15)  # over- and underconfidence do not cancel
    assert figures["accuracy"] == pytest.approx(figures["confidence"])


def test_only_void():
    counts = calibration.histogram(two_classes(np.full((3, 3), 0.9)), np.full((3, 3), VOID, np.uint8))
    assert not counts.any()
    assert all(np.isnan(value) for value in calibration.figures(counts).values())
    assert np.isnan(calibration.curve(counts)["share"]).all()
