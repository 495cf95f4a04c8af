"""Counts and figures computed by hand, including absent classes and empty pictures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refinenet_jax.evaluation import metrics

NAMES = ("background", "left", "right")
# Three pictures: hands confused with each other and missed; no hand; a false hand.
CONFUSED = [[10, 2, 0], [1, 3, 2], [0, 0, 0]]
EMPTY = [[20, 0, 0], [0, 0, 0], [0, 0, 0]]
INVENTED = [[15, 5, 0], [0, 0, 0], [0, 0, 0]]
COUNTS = np.array([CONFUSED, EMPTY, INVENTED], np.int32)


def test_confusion_by_hand_with_void():
    truth = jnp.array([[[0, 0, 1], [1, 2, 255]], [[255, 255, 255], [2, 2, 255]]], jnp.uint8)
    prediction = jnp.array([[[0, 1, 1], [2, 2, 2]], [[0, 1, 2], [0, 2, 1]]])
    counts = jax.jit(metrics.confusion, static_argnums=2)(truth, prediction, 3)
    assert counts.dtype == jnp.int32
    assert counts.tolist() == [
        [[1, 1, 0], [0, 1, 1], [0, 0, 1]],
        [[0, 0, 0], [0, 0, 0], [1, 0, 1]],
    ]


def test_counts_beyond_the_exact_range_of_float32():
    shape = (1, 4099, 4101)  # an odd number of pixels above 2^24: float32 has no such number
    ones = np.ones(shape, np.uint8)
    counts = jax.jit(metrics.confusion, static_argnums=2)(ones, ones, 2)
    assert counts.tolist() == [[[0, 0], [0, 4099 * 4101]]]


def test_sums_of_counts_do_not_overflow_int32():
    counts = np.full((2, 2), 2**30, np.int32)
    np.testing.assert_allclose(metrics.iou(counts), [1 / 3, 1 / 3])
    assert metrics.foreground(counts).tolist() == [[2**30] * 2] * 2


def test_foreground_merges_left_and_right():
    """Left predicted as right is a hit of the hand."""
    assert metrics.foreground(np.array(CONFUSED)).tolist() == [[10, 2], [1, 5]]
    all_exchanged = np.array([[4, 0, 0], [0, 0, 3], [0, 5, 0]])
    assert metrics.hand_scores(all_exchanged)["iou"] == 1
    assert metrics.iou(all_exchanged).tolist() == [1, 0, 0]
    stacked = metrics.foreground(COUNTS)
    assert stacked.shape == (3, 2, 2)
    assert stacked[2].tolist() == [[15, 5], [0, 0]]


@pytest.mark.parametrize(
    ("counts", "iou", "precision", "recall"),
    [
        ([[10, 2], [1, 5]], 5 / 8, 5 / 7, 5 / 6),
        ([[10, 0], [0, 0]], np.nan, np.nan, np.nan),  # no hand, none found
        ([[10, 2], [0, 0]], 0, 0, np.nan),  # no hand
        ([[10, 0], [3, 0]], 0, np.nan, 0),  # none found
        ([[0, 0], [0, 0]], np.nan, np.nan, np.nan),  # all void
    ],
)
def test_hand_scores(counts, iou, precision, recall):
    scores = metrics.hand_scores(np.array(counts))
    assert {key: float(value) for key, value in scores.items()} == pytest.approx(
        {"iou": iou, "precision": precision, "recall": recall}, nan_ok=True
    )


def test_summary_by_hand():
    # Over all pixels: [[45, 7, 0], [1, 3, 2], [0, 0, 0]].
    expected = {
        "images": 3,
        "mean_iou": (45 / 53 + 3 / 13 + 0) / 3,
        "pixel_accuracy": 48 / 58,
        "hand_iou": 5 / 13,
        "hand_precision": 5 / 12,
        "hand_recall": 5 / 6,
        "per_image_iou": (5 / 8 + 0) / 2,  # the empty picture has none
        "per_image_precision": (5 / 7 + 0) / 2,
        "per_image_recall": 5 / 6,  # only the first has hands
        "empty_images": 1,
    }
    summary = metrics.summarize(COUNTS, NAMES)
    by_class, absent = summary.pop("iou"), summary.pop("absent_classes")
    assert by_class == pytest.approx({"background": 45 / 53, "left": 3 / 13, "right": 0.0})
    assert absent == []
    assert summary == pytest.approx(expected)


def test_absent_classes_are_excluded_from_the_mean():
    summary = metrics.summarize(np.array([[[6, 2, 0], [0, 2, 0], [0, 0, 0]]]), NAMES)
    assert summary["iou"] == {"background": 0.75, "left": 0.5, "right": None}
    assert summary["absent_classes"] == ["right"]
    assert summary["mean_iou"] == 0.625
    void = metrics.summarize(np.zeros((2, 2, 2), np.int64), ("background", "hand"))
    assert (void["empty_images"], void["mean_iou"], void["hand_iou"]) == (2, None, None)


def test_counts_on_the_host_and_on_the_device():
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array([0, 1, 2, 255], np.uint8), (40, 50))
    prediction = rng.integers(0, 3, (40, 50)).astype(np.uint8)
    counts = metrics.count(truth, prediction, 3)
    assert counts.dtype == np.int64
    assert counts.sum() == (truth != 255).sum()
    assert counts.tolist() == metrics.confusion(truth[None], prediction[None], 3)[0].tolist()
