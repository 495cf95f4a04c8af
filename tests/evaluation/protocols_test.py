"""The three protocols on small tables, with every peculiarity of the published scripts."""

import numpy as np
import pytest
from tiny import scores

from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import protocols
from refinenet_jax.evaluation.analysis import calibration

# Confusions [[true negative, false positive], [false negative, true positive]] of 100 pixels each.
GOOD = [[80, 4], [4, 12]]  # IoU 12/20 = 0.6, precision 12/16 = 0.75, recall 12/16 = 0.75
FAIR = [[90, 0], [6, 4]]  # IoU 4/10 = 0.4, precision 1, recall 0.4
EMPTY = [[100, 0], [0, 0]]  # no hand, none found
FALSE = [[95, 5], [0, 0]]  # no hand, one found
MISSED = [[90, 0], [10, 0]]  # a hand, none found
ALL = [GOOD, FAIR, EMPTY, FALSE, MISSED]


def test_strict_excludes_images_without_hands_from_the_means():
    figures = protocols.strict(scores(ALL, found=np.arange(5) < 4))
    assert figures["images"] == 5
    assert figures["empty_images"] == 1
    assert figures["per_image_iou"] == pytest.approx((0.6 + 0.4 + 0 + 0) / 4)
    assert figures["per_image_precision"] == pytest.approx((0.75 + 1 + 0) / 3)  # only where something is predicted
    assert figures["per_image_recall"] == pytest.approx((0.75 + 0.4 + 0) / 3)  # only where there is a hand
    # All pixels: 16 right, 9 too many, 20 missed.
    assert figures["hand_iou"] == pytest.approx(16 / 45)
    assert figures["hand_precision"] == pytest.approx(16 / 25)
    assert figures["hand_recall"] == pytest.approx(16 / 36)
    assert figures["iou"]["background"] == pytest.approx(455 / (455 + 9 + 20))
    assert figures["mean_iou"] == pytest.approx((16 / 45 + 455 / 484) / 2)
    assert figures["missing_predictions"] == 1


def test_cvpr18_counts_images_without_hands_as_0():
    """`getIOU.m`: IoU, precision and recall stay 0 unless a pixel is right."""
    figures = protocols.cvpr18(scores(ALL), "mine")
    assert figures["per_image_iou"] == pytest.approx((0.6 + 0.4) / 5)
    assert figures["per_image_precision"] == pytest.approx((0.75 + 1) / 5)
    assert figures["per_image_recall"] == pytest.approx((0.75 + 0.4) / 5)
    assert figures["divided_by"] == 5
    # Left for right is a hit: 7 right, 1 too many, 2 missed. Counts of the second pass replace those of the first.
    counts = scores([[[90, 1, 0], [1, 0, 4], [1, 3, 0]]], ("background", "left", "right"))
    assert protocols.cvpr18(counts, "mine")["per_image_iou"] == pytest.approx(7 / 10)
    both = scores([FAIR], cvpr18=np.array([GOOD]))
    assert protocols.cvpr18(both, "mine")["per_image_iou"] == pytest.approx(0.6)
    assert protocols.strict(both)["per_image_iou"] == pytest.approx(0.4)


@pytest.mark.parametrize("name", ["egohands", "egohands/hands", "egohands/left_right:1.0.0", "EgoHands"])
def test_cvpr18_divides_egohands_by_800(name):
    figures = protocols.cvpr18(scores(ALL), name)
    assert figures["per_image_iou"] == pytest.approx(1.0 / 800)
    assert (figures["images"], figures["divided_by"]) == (5, 800)


def test_cvpr18_subtracts_zeros_from_the_divisor_of_eyth():
    """258 images: 200 with IoU 0.6, 58 of the three kinds with IoU 0. (200 * 0.6) / (258 - 58) = 0.6."""
    counts = [GOOD] * 200 + [EMPTY] * 20 + [FALSE] * 20 + [MISSED] * 18
    figures = protocols.cvpr18(scores(counts), "eyth/hands")
    assert figures["divided_by"] == 200
    assert figures["per_image_iou"] == pytest.approx(0.6)
    assert figures["per_image_precision"] == pytest.approx(0.75)  # by the same number
    assert protocols.cvpr18(scores(counts), "mine")["per_image_iou"] == pytest.approx(120 / 258)
    # The script skips missing predictions before it subtracts.
    counts = scores([GOOD] * 200 + [MISSED] * 58, found=np.arange(258) < 208)
    figures = protocols.cvpr18(counts, "eyth")
    assert figures["divided_by"] == 258 - 8
    assert figures["per_image_iou"] == pytest.approx(120 / 250)
    assert protocols.cvpr18(scores([MISSED] * 258), "eyth")["per_image_iou"] is None


@pytest.mark.parametrize("name", ["gtea/wrist", "hof/resized"])
def test_cvpr18_divides_gtea_and_hof_by_the_predictions_that_exist(name):
    found = np.array([True, True, True, False, False])
    figures = protocols.cvpr18(scores([GOOD, FAIR, EMPTY, MISSED, MISSED], found=found), name)
    assert figures["divided_by"] == 3
    assert figures["per_image_iou"] == pytest.approx(1.0 / 3)
    other = protocols.cvpr18(scores([GOOD, FAIR, EMPTY, MISSED, MISSED], found=found), "mine")
    assert other["per_image_iou"] == pytest.approx(1.0 / 5)


def test_seed_is_the_mean_of_background_and_hand_over_all_pixels():
    figures = protocols.seed(scores(ALL))
    assert figures["hand_iou"] == pytest.approx(16 / 45)
    assert figures["background_iou"] == pytest.approx(455 / 484)
    assert figures["mean_iou"] == pytest.approx((16 / 45 + 455 / 484) / 2)
    assert protocols.seed(scores([EMPTY])) == {"mean_iou": None, "background_iou": 1, "hand_iou": None}
    # Left and right exchanged: strict has three IoUs of 1, 0, 0; seed has two of 1.
    exchanged = scores([[[90, 0, 0], [0, 0, 5], [0, 5, 0]]], ("background", "left", "right"))
    assert protocols.strict(exchanged)["mean_iou"] == pytest.approx(1 / 3)
    assert protocols.seed(exchanged)["mean_iou"] == 1


def test_figures_of_the_requested_protocols():
    table = scores(ALL)
    assert protocols.figures(table, "mine", ("seed",)).keys() == {"seed"}
    histogram = np.zeros((calibration.BINS, len(calibration.COLUMNS)), np.int64)
    known = scores(ALL, calibration=histogram)
    figures = protocols.figures(known, "mine", ("seed", "strict", "cvpr18"))
    assert list(figures) == ["strict", "cvpr18", "seed", "intervals", "calibration"]
    assert figures["calibration"]["ece"] is None  # JSON has no NaN
    low, high = figures["intervals"]["per_image_iou"]
    assert low <= figures["strict"]["per_image_iou"] <= high


@pytest.mark.parametrize(
    ("requested", "fact"), [((), "protocols is"), ("strict", "protocols is"), (("strikt",), "'strict'")]
)
def test_unknown_protocols_are_refused(requested, fact):
    with pytest.raises(UsageError, match=fact):
        protocols.check(requested)
