"""Flicker of masks that move with the picture, and of masks that do not."""

import math

import cv2
import numpy as np
import pytest
import tiny

from refinenet_jax.evaluation.analysis import flicker
from refinenet_jax.evaluation.mask_store import MaskStore
from refinenet_jax.evaluation.scores import Prediction, Scores, gather, measure

# Shuffled, as built datasets are; 40 has no neighbor, and one image has no video.
FRAMES = [("b", 3), ("a", 12), ("a", 40), ("b", 1), ("a", 10), ("", -1), ("a", 17)]


def frame(left: int, top: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A textured square of 60 pixels in front of a textured wall, 160 x 240, and its mask."""
    texture = np.random.default_rng(0).integers(0, 255, (2, 240, 240), np.uint8)
    wall, hand = (cv2.GaussianBlur(layer, (0, 0), 1.5) for layer in texture)
    image, mask = wall[:160].copy(), np.zeros((160, 240), np.uint8)
    image[top : top + 60, left : left + 60] = hand[:60, :60]
    mask[top : top + 60, left : left + 60] = 1
    return cv2.cvtColor(cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX), cv2.COLOR_GRAY2RGB), mask


def test_a_mask_that_moves_with_the_picture_is_steady():
    (before, previous), (after, mask) = frame(80), frame(86, 63)
    moving = flicker.flicker(before, after, previous, mask)
    assert moving < 0.05
    assert 1 - (previous & mask).sum() / (previous | mask).sum() > 0.2  # without flow
    assert flicker.flicker(before, after, previous, previous) > 3 * moving


def test_a_moving_camera_is_no_flicker():
    image, mask = frame(80)
    move = np.float32([[1, 0, 7], [0, 1, -4]])
    moved = cv2.warpAffine(image, move, (240, 160), borderMode=cv2.BORDER_REFLECT)
    moved_mask = cv2.warpAffine(mask, move, (240, 160), flags=cv2.INTER_NEAREST)
    assert flicker.flicker(image, moved, mask, moved_mask) < 0.03


def test_changes_in_a_still_scene():
    image, mask = frame(80)
    half, void = mask.copy(), mask.copy()
    half[:, 110:], void[:, 110:] = 0, 255
    expected = [(mask, mask, 0), (mask, half, 0.5), (half, mask, 0.5), (mask, mask * 0, 1), (mask * 0, mask, 1)]
    expected += [(mask, mask * 2, 0), (void, mask, 0), (mask, void, 0)]  # left or right does not matter
    for before, after, value in expected:
        assert flicker.flicker(image, image, before, after) == value
    for nothing in (mask * 0, np.full_like(mask, 255)):
        assert math.isnan(flicker.flicker(image, image, nothing, nothing))
    cut = np.random.default_rng(1).integers(0, 255, (2, *image.shape), np.uint8)
    assert math.isnan(flicker.flicker(*cut, mask, mask))  # too little can be compared


def test_large_and_tiny_frames():
    image, mask = frame(80)
    big = [cv2.resize(array, (1440, 960), interpolation=cv2.INTER_NEAREST) for array in (image, mask, frame(110)[1])]
    assert flicker.flicker(big[0], *big) == pytest.approx(2 * 30 / 90, abs=0.01)
    for height, width in ((1, 1), (15, 40), (9, 700)):
        ones = np.ones((height, width), np.uint8)
        picture = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
        assert flicker.flicker(picture, picture, ones, ones) == 0


class Frames(list):
    """A textured square that moves by a pixel per frame."""

    info = tiny.DatasetInfo("frames", ("background", "hand"))

    def __init__(self):
        for index, (video, number) in enumerate(FRAMES):
            image, mask = frame(80 + max(number, 0))
            example = {"image": image, "mask": mask, "id": f"{video}/{index}"}
            self.append({**example, "video": video, "frame": number} if video else example)

    def scores(self) -> Scores:
        rows = measure((Prediction(i, example, example["mask"]) for i, example in enumerate(self)), self.info)
        return gather(rows, self.info, len(self))


def test_neighbors_are_sorted():
    scores = Frames().scores()
    assert flicker.neighbors(scores) == [(4, 1), (1, 6), (3, 0)]
    assert flicker.neighbors(scores.subset([0, 2, 4, 5])) == []
    names, frames = ("background", "hand"), np.array([5, 4, 5])  # of two images with one frame number, the first counts
    assert flicker.neighbors(Scores(names, ("0", "1", "2"), ("v",) * 3, None, None, frames=frames)) == [(1, 0)]


def test_predicted_and_true_masks_are_measured(capsys):
    source = Frames()
    scores = source.scores()
    steady = flicker.measure(scores, source, lambda example: example["mask"])
    assert list(steady.predicted) == ["a", "b"]
    figures = steady.figures()
    assert figures["predicted"] == figures["true"] < 0.1
    assert (figures["videos"], figures["pairs"]) == (2, 3)

    blinking = flicker.measure(scores, source, lambda example: example["mask"] * (example["frame"] != 12))
    assert blinking.predicted["a"] == 1
    assert blinking.predicted["b"] == steady.true["b"]
    assert blinking.figures()["true"] == figures["true"]
    nothing = flicker.measure(scores, source, lambda example: 0 * example["mask"])
    assert math.isnan(nothing.predicted["a"])
    assert nothing.figures()["predicted"] is None

    assert flicker.measure(scores.subset([0, 2]), source, None) is None
    source[1] |= {"image": source[1]["image"][:64], "mask": source[1]["mask"][:64]}
    assert flicker.measure(scores, source, lambda example: example["mask"]) is None
    assert "differ in size" in capsys.readouterr().err


def test_stored_masks():
    store = MaskStore()
    masks = [np.random.default_rng(i).integers(0, 5, (17 + i, 30), np.uint8) for i in range(3)]
    for i, mask in enumerate(masks):
        store.add(f"video/{i}", mask)
    store.gather()
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(store.mask({"id": f"video/{i}"}), mask)
