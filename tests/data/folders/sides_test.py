"""Tests of recognizing left and right in names of classes."""

import pytest

from refinenet_jax.data.folders.sides import left_right_pairs


@pytest.mark.parametrize(
    "names",
    [
        "left hand, right hand",
        "HandLeft, HandRight",
        "lefthand, righthand",
        "LH, RH",
        "L, R",
        "lhand, rhand",
        "LHand, RHand",
        "hand_L, hand_R",
        "handl, handr",
        "hand (l), hand (r)",
    ],
)
def test_names_that_differ_by_the_side_are_a_pair(names):
    left, right = names.split(", ")
    assert left_right_pairs(["background", left, "arm", right]) == ((1, 3),)
    assert left_right_pairs(["background", right, left]) == ((2, 1),)


def test_several_pairs_are_found():
    names = ["background", "own_l", "other_r", "own_r", "other_l", "hand 1 lh", "hand 2 lh", "hand 2 rh", "hand 1 rh"]
    assert left_right_pairs(names) == ((1, 3), (4, 2), (5, 8), (6, 7))


@pytest.mark.parametrize(
    "names",
    ["left hand, right foot", "hand, class 2", "lake, rake", "light, right", "led, red", "ball, barr", "hand0, hand1"],
)
def test_other_names_are_none(names):
    assert left_right_pairs(["background", *names.split(", ")]) == ()
