"""Frames are compared in the order of their numbers, whatever that of the split; masks that were stored come back."""

import math

import cv2
import numpy as np
import tiny

from refinenet_jax.evaluation.analysis import flicker
from refinenet_jax.evaluation.mask_store import MaskStore
from refinenet_jax.evaluation.scores import Collector, Scores

# Shuffled, as built datasets are; 40 is alone, 'c' is no video's.
FRAMES = [("b", 3), ("a", 12), ("a", 40), ("b", 1), ("a", 10), ("", -1), ("a", 17)]


def _examples():
    """A textured square that moves a pixel a frame to the right, before a textured wall."""
    texture = np.random.default_rng(0).integers(0, 255, (2, 96, 160), np.uint8)
    wall, hand = (cv2.GaussianBlur(layer, (0, 0), 1.5) for layer in texture)
    examples = []
    for index, (video, frame) in enumerate(FRAMES):
        left = 40 + max(frame, 0)
        image, mask = wall.copy(), np.zeros((96, 160), np.uint8)
        image[30:70, left : left + 40] = hand[:40, :40]
        mask[30:70, left : left + 40] = 1
        example = {"image": cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), "mask": mask, "id": f"{video}/{index}"}
        examples.append({**example, "video": video, "frame": frame} if video else example)
    return examples


class Frames(list):
    info = tiny.DatasetInfo("frames", ("background", "hand"))


def _scores(source) -> Scores:
    with Collector(source.info, len(source)) as collector:
        for index, example in enumerate(source):
            collector.add(index, example, example["mask"])
        return collector.scores()


def test_neighbors_are_put_in_order():
    scores = _scores(Frames(_examples()))
    assert scores.frames.tolist() == [3, 12, 40, 1, 10, -1, 17]
    assert flicker.neighbors(scores) == [4, 1, 6, 3, 0]
    assert flicker.neighbors(scores.subset([0, 2, 4, 5])) == []


def test_of_one_frame_number_the_first_image_counts():
    n = 3
    table = Scores(
        ("background", "hand"),
        ("0", "1", "2"),
        ("v",) * n,
        np.zeros((n, 2, 2)),
        np.zeros((n, 6)),
        frames=np.array([5, 4, 5]),
    )
    assert flicker.neighbors(table) == [1, 0]


def test_predicted_masks_are_measured_beside_the_true_ones():
    source = Frames(_examples())
    scores = _scores(source)
    steady = flicker.measure(scores, source, lambda example: example["mask"])
    assert list(steady.predicted) == ["a", "b"]
    assert steady.predicted["a"]["frames"].tolist() == [12, 17]
    told = steady.figures()
    assert told["predicted"] == told["true"] < 0.1
    assert (told["videos"], told["pairs"]) == (2, 3)

    def blinking(example):
        return example["mask"] * (example["frame"] != 12)

    shown = flicker.measure(scores, source, blinking)
    assert shown.predicted["a"]["mean"] == 1  # there, gone, and there again
    assert shown.predicted["b"]["mean"] == steady.true["b"]["mean"]
    assert shown.figures()["true"] == told["true"]
    nothing = flicker.measure(scores, source, lambda example: 0 * example["mask"])
    assert math.isnan(nothing.predicted["a"]["mean"])
    assert nothing.figures()["predicted"] is None


def test_without_neighbors_there_is_nothing_to_measure():
    source = Frames(_examples()[:3])
    assert flicker.measure(_scores(source), source, lambda example: example["mask"]) is None


def test_frames_of_different_sizes_are_told(capsys):
    examples = _examples()
    examples[1] |= {"image": examples[1]["image"][:64], "mask": examples[1]["mask"][:64]}
    source = Frames(examples)
    assert flicker.measure(_scores(source), source, lambda example: example["mask"]) is None
    assert "Flicker is not measured: Frames of a video must have one size" in capsys.readouterr().err


def test_stored_masks_come_back():
    store = MaskStore()
    masks = [np.random.default_rng(i).integers(0, 5, (17 + i, 30), np.uint8) for i in range(3)]
    for i, mask in enumerate(masks):
        store.add(f"video/{i}", mask)
    store.gather()
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(store.mask({"id": f"video/{i}"}), mask)
