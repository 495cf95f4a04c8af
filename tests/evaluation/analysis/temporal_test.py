"""Flicker of masks that move with the picture, that do not, and of true masks of real videos."""

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from refinenet_jax.evaluation.analysis import temporal

EGOHANDS = Path(__file__).parents[4] / "shared" / "realdata" / "egohands" / "_LABELLED_SAMPLES"


def frame(left: int, top: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """A textured square of 60 pixels before a textured wall, 160 x 240, and its mask."""
    texture = np.random.default_rng(0).integers(0, 255, (2, 240, 240), np.uint8)
    wall, hand = (cv2.GaussianBlur(layer, (0, 0), 1.5) for layer in texture)
    image, mask = wall[:160].copy(), np.zeros((160, 240), np.uint8)
    image[top : top + 60, left : left + 60] = hand[:60, :60]
    mask[top : top + 60, left : left + 60] = 1
    return cv2.cvtColor(cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX), cv2.COLOR_GRAY2RGB), mask


def test_a_mask_that_moves_with_the_picture_is_steady():
    (before, previous), (after, mask) = frame(80), frame(86, 63)
    flicker, compared = temporal.flicker(before, after, previous, mask)
    assert flicker < 0.05
    assert compared > 0.8
    # Without flow it would be taken for a change by a fifth.
    assert 1 - (previous & mask).sum() / (previous | mask).sum() > 0.2
    # One that stays behind flickers, though where the square went, and left, there is nothing to compare.
    assert temporal.flicker(before, after, previous, previous)[0] > 3 * flicker


def test_a_moving_camera_is_no_flicker():
    image, mask = frame(80)
    move = np.float32([[1, 0, 7], [0, 1, -4]])
    moved = cv2.warpAffine(image, move, (240, 160), borderMode=cv2.BORDER_REFLECT)
    carried = cv2.warpAffine(mask, move, (240, 160), flags=cv2.INTER_NEAREST)
    assert temporal.flicker(image, moved, mask, carried)[0] < 0.03


def test_masks_that_change_in_a_still_scene_flicker_by_what_changes():
    image, mask = frame(80)
    half, nothing = mask.copy(), np.zeros_like(mask)
    half[:, 110:] = 0
    assert temporal.flicker(image, image, mask, mask) == (0.0, 1.0)
    assert temporal.flicker(image, image, mask, half) == (0.5, 1.0)
    assert temporal.flicker(image, image, half, mask) == (0.5, 1.0)
    assert temporal.flicker(image, image, mask, nothing) == (1.0, 1.0)
    assert temporal.flicker(image, image, nothing, mask) == (1.0, 1.0)
    # Left or right does not matter.
    assert temporal.flicker(image, image, mask, mask * 2) == (0.0, 1.0)


def test_without_hands_there_is_none():
    image, mask = frame(80)
    assert np.isnan(temporal.flicker(image, image, mask * 0, mask * 0)).all()


def test_void_is_not_compared():
    image, mask = frame(80)
    void = mask.copy()
    void[:, 110:] = 255
    assert temporal.flicker(image, image, void, mask)[0] == temporal.flicker(image, image, mask, void)[0] == 0.0
    assert np.isnan(temporal.flicker(image, image, np.full_like(mask, 255), np.full_like(mask, 255))).all()


def test_a_cut_is_not_told_as_flicker():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 255, (2, 160, 240, 3), np.uint8)
    mask = frame(80)[1]
    flicker, compared = temporal.flicker(*images, mask, mask)
    assert np.isnan(flicker)
    assert compared < temporal.MIN_COMPARED


def test_large_frames_are_reduced_and_tiny_ones_are_no_error():
    image, mask = frame(80)
    big = [cv2.resize(array, (1440, 960), interpolation=cv2.INTER_NEAREST) for array in (image, mask, frame(110)[1])]
    assert temporal.flicker(big[0], big[0], big[1], big[2])[0] == pytest.approx(2 * 30 / 90, abs=0.01)
    for height, width in ((1, 1), (5, 3), (15, 40), (9, 700)):
        ones = np.ones((height, width), np.uint8)
        picture = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
        assert temporal.flicker(picture, picture, ones, ones) == (0.0, 1.0)


def test_pairs_are_neighbors_of_one_video():
    image, mask = frame(80)
    nothing = mask * 0
    frames = [("a", 3, mask), ("a", 4, mask), ("a", 6, nothing), ("a", 7, nothing), ("a", 18, mask), ("b", 19, mask)]
    frames += [("b", 21, mask), ("b", 31, mask), ("b", 42, mask)]
    examples = [{"video": v, "frame": np.int32(f), "image": image, "mask": m} for v, f, m in frames]
    pairs = list(temporal.flickers(examples))
    numbers = [(pair.video, pair.previous_frame, pair.frame) for pair in pairs]
    assert numbers == [("a", 3, 4), ("a", 4, 6), ("a", 6, 7), ("b", 19, 21), ("b", 21, 31)]
    np.testing.assert_array_equal([pair.flicker for pair in pairs], [0, 1, np.nan, 0, 0])
    assert len(list(temporal.flickers(examples, max_gap=1))) == 2

    curves = temporal.by_video(pairs)
    assert list(curves) == ["a", "b"]
    assert curves["a"]["mean"] == 0.5
    assert curves["a"]["frames"].tolist() == [4, 6, 7]
    np.testing.assert_array_equal(curves["a"]["flicker"], [0, 1, np.nan])
    assert np.isnan(temporal.by_video(pairs[2:3])["a"]["mean"])


def test_only_two_frames_are_held():
    image, mask = frame(80)
    endless = ({"video": "clip", "frame": i, "image": image, "mask": mask} for i in itertools.count())
    pairs = temporal.flickers(endless)
    assert [next(pairs).frame for _ in range(3)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([("a", 2), ("a", 1)], "1 came after 2"),
        ([("a", 2), ("a", 2)], "2 came after 2"),
        ([("a", 1), ("b", 1), ("a", 2)], "one after another"),
    ],
)
def test_frames_out_of_order_are_refused(order, message):
    image, mask = frame(80)
    with pytest.raises(ValueError, match=message):
        list(temporal.flickers({"video": v, "frame": f, "image": image, "mask": mask} for v, f in order))


def test_frames_of_two_sizes_are_refused():
    image, mask = frame(80)
    with pytest.raises(ValueError, match="one size"):
        temporal.flicker(image, image[:100], mask, mask[:100])
    examples = [
        {"video": "a", "frame": i, "image": image[:end], "mask": mask[:end]} for i, end in enumerate((160, 150))
    ]
    with pytest.raises(ValueError, match="one size"):
        list(temporal.flickers(examples))


def test_true_masks_of_real_videos_flicker_less_than_disturbed_ones_and_less_than_without_flow():
    if not EGOHANDS.is_dir():
        pytest.skip("the real frames (../shared/realdata/egohands) are not on this machine")
    steady, disturbed, still = [], [], []
    for video, numbers in (("CARDS_LIVINGROOM_B_T", (1768, 1769, 1770)), ("CHESS_COURTYARD_B_T", (1038, 1039))):
        files = sorted((EGOHANDS / video).glob("*.jpg"))
        polygons = scipy.io.loadmat(EGOHANDS / video / "polygons.mat")["polygons"][0]
        examples = []
        for number in numbers:
            index = [file.name for file in files].index(f"frame_{number:04d}.jpg")
            mask = np.zeros((720, 1280), np.uint8)
            hands = [np.round(polygons[index][hand]).astype(np.int32) for hand in polygons.dtype.names]
            for hand in hands:
                if hand.size:
                    cv2.fillPoly(mask, [hand], 1)
            image = cv2.cvtColor(cv2.imread(str(files[index])), cv2.COLOR_BGR2RGB)
            examples.append({"video": video, "frame": number, "image": image, "mask": mask})
        steady += [pair.flicker for pair in temporal.flickers(examples)]
        masks = [example["mask"] for example in examples]
        still += [1 - (a & b).sum() / (a | b).sum() for a, b in itertools.pairwise(masks)]
        for example in examples[1::2]:
            example["mask"] = cv2.erode(example["mask"], np.ones((31, 31), np.uint8))
        disturbed += [pair.flicker for pair in temporal.flickers(examples)]
    assert len(steady) == 3
    assert max(steady) < 0.2 < min(still)  # drawn by hand, frame by frame: not 0
    assert all(a + 0.1 < b for a, b in zip(steady, disturbed, strict=True))
