"""The three protocols on tables small enough to work out by hand: where they differ, and each quirk of the scripts."""

import numpy as np
import pytest

from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import protocols
from refinenet_jax.evaluation.analysis import calibration
from refinenet_jax.evaluation.scores import Scores

# Confusions [[true negative, false positive], [false negative, true positive]] of 100 pixels each.
GOOD = [[80, 4], [4, 12]]  # IoU 12/20 = 0.6, precision 12/16 = 0.75, recall 12/16 = 0.75
FAIR = [[90, 0], [6, 4]]  # IoU 4/10 = 0.4, precision 1, recall 0.4
EMPTY = [[100, 0], [0, 0]]  # no hand, none found
INVENTED = [[95, 5], [0, 0]]  # no hand, one found
MISSED = [[90, 0], [10, 0]]  # a hand, none found
ALL = [GOOD, FAIR, EMPTY, INVENTED, MISSED]


def scores(counts, names=("background", "hand"), **more):
    counts = np.array(counts, np.int64)
    n = len(counts)
    outlines = np.tile(np.array([10, 8, 12, 9, 5, 20]), (n, 1))
    return Scores(names, tuple(map(str, range(n))), ("",) * n, counts, outlines, **more)


def test_strict_leaves_the_image_without_hands_apart():
    figures = protocols.strict(scores(ALL))
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
    assert figures["missing_predictions"] == 0


def test_strict_does_not_count_an_absent_class_as_found():
    counts = [[[90, 5, 0], [0, 5, 0], [0, 0, 0]]]
    figures = protocols.strict(scores(counts, ("background", "left", "right")))
    assert figures["absent_classes"] == ["right"]
    assert figures["iou"]["right"] is None
    assert figures["mean_iou"] == pytest.approx((90 / 95 + 5 / 10) / 2)


def test_sums_beyond_32_bits():
    big = [[2**31, 2**30], [2**30, 2**31]]  # IoU 2^31 / 2^32 = 1/2
    figures = protocols.strict(scores([big] * 5))
    assert figures["hand_iou"] == figures["mean_iou"] == 0.5
    assert protocols.seed(scores([big] * 5))["mean_iou"] == 0.5
    assert protocols.cvpr18(scores([big] * 5), "mine")["per_image_iou"] == 0.5


def test_cvpr18_counts_the_image_without_hands_as_0():
    """`getIOU.m`: IoU, precision and recall stay 0 unless a pixel is right."""
    assert protocols.cvpr18(scores([EMPTY]), "mine") == {
        "per_image_iou": 0,
        "per_image_precision": 0,
        "per_image_recall": 0,
        "images": 1,
        "divided_by": 1,
    }
    figures = protocols.cvpr18(scores(ALL), "mine")
    assert figures["per_image_iou"] == pytest.approx((0.6 + 0.4) / 5)
    assert figures["per_image_precision"] == pytest.approx((0.75 + 1) / 5)
    assert figures["per_image_recall"] == pytest.approx((0.75 + 0.4) / 5)
    assert figures["divided_by"] == 5


@pytest.mark.parametrize("name", ["egohands", "egohands/hands", "egohands/left_right:1.0.0", "EgoHands"])
def test_cvpr18_divides_egohands_by_800(name):
    figures = protocols.cvpr18(scores(ALL), name)
    assert figures["per_image_iou"] == pytest.approx(1.0 / 800)
    assert (figures["images"], figures["divided_by"]) == (5, 800)


def test_cvpr18_of_the_whole_of_egohands_is_the_mean():
    figures = protocols.cvpr18(scores([GOOD, FAIR] * 400), "egohands/hands")
    assert figures["per_image_iou"] == pytest.approx(0.5)


def test_cvpr18_drops_the_zeros_of_eyth_from_the_denominator():
    """258 images: 200 with IoU 0.6, 58 of the three kinds with IoU 0. (200 * 0.6) / (258 - 58) = 0.6."""
    counts = [GOOD] * 200 + [EMPTY] * 20 + [INVENTED] * 20 + [MISSED] * 18
    figures = protocols.cvpr18(scores(counts), "eyth/hands")
    assert figures["divided_by"] == 200
    assert figures["per_image_iou"] == pytest.approx(0.6)
    assert figures["per_image_precision"] == pytest.approx(0.75)  # by the same number
    assert protocols.cvpr18(scores(counts), "mine")["per_image_iou"] == pytest.approx(120 / 258)


def test_cvpr18_keeps_missing_predictions_in_the_denominator_of_eyth():
    """The script goes on to the next image before it lowers the number."""
    counts = [GOOD] * 200 + [MISSED] * 58
    found = np.array([True] * 200 + [True] * 8 + [False] * 50)
    figures = protocols.cvpr18(scores(counts, found=found), "eyth")
    assert figures["divided_by"] == 258 - 8
    assert figures["per_image_iou"] == pytest.approx(120 / 250)


def test_cvpr18_of_eyth_without_any_hit_has_no_figure():
    figures = protocols.cvpr18(scores([MISSED] * 258), "eyth")
    assert figures["divided_by"] == 0
    assert figures["per_image_iou"] is None


@pytest.mark.parametrize("name", ["gtea/wrist", "hof/resized"])
def test_cvpr18_divides_gtea_and_hof_by_the_predictions_that_exist(name):
    found = np.array([True, True, True, False, False])
    figures = protocols.cvpr18(scores([GOOD, FAIR, EMPTY, MISSED, MISSED], found=found), name)
    assert figures["divided_by"] == 3
    assert figures["per_image_iou"] == pytest.approx(1.0 / 3)
    other = protocols.cvpr18(scores([GOOD, FAIR, EMPTY, MISSED, MISSED], found=found), "mine")
    assert other["per_image_iou"] == pytest.approx(1.0 / 5)


def test_cvpr18_takes_all_that_is_not_background_for_hand():
    """Left for right is a hit: 7 right, 1 too many, 2 missed."""
    counts = [[[90, 1, 0], [1, 0, 4], [1, 3, 0]]]
    figures = protocols.cvpr18(scores(counts, ("background", "left", "right")), "mine")
    assert figures["per_image_iou"] == pytest.approx(7 / 10)


def test_cvpr18_prefers_what_its_own_pass_counted():
    published = np.array([GOOD], np.int64)
    assert protocols.cvpr18(scores([FAIR], cvpr18=published), "mine")["per_image_iou"] == pytest.approx(0.6)
    assert protocols.strict(scores([FAIR], cvpr18=published))["per_image_iou"] == pytest.approx(0.4)


def test_seed_is_the_mean_of_background_and_hand_over_all_pixels():
    figures = protocols.seed(scores(ALL))
    assert figures["hand_iou"] == pytest.approx(16 / 45)
    assert figures["background_iou"] == pytest.approx(455 / 484)
    assert figures["mean_iou"] == pytest.approx((16 / 45 + 455 / 484) / 2)


def test_seed_merges_the_hands_of_which_strict_makes_two_classes():
    """Left and right exchanged: strict has three IoUs of 1, 0, 0; seed has two of 1."""
    exchanged = scores([[[90, 0, 0], [0, 0, 5], [0, 5, 0]]], ("background", "left", "right"))
    assert protocols.strict(exchanged)["mean_iou"] == pytest.approx(1 / 3)
    assert protocols.seed(exchanged)["mean_iou"] == 1


def test_seed_without_hands_has_no_figure():
    assert protocols.seed(scores([EMPTY])) == {"mean_iou": None, "background_iou": 1, "hand_iou": None}


def test_missing_predictions_are_counted_by_strict():
    assert protocols.strict(scores([MISSED, GOOD], found=np.array([False, True])))["missing_predictions"] == 1


def test_figures_are_of_the_protocols_asked_for_and_of_what_is_known():
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
    ("asked", "says"),
    [((), "name one or more"), ("strict", "name one or more"), (("strikt",), "did you mean 'strict'")],
)
def test_unknown_protocols_are_refused(asked, says):
    with pytest.raises(UsageError, match=says):
        protocols.check(asked)
