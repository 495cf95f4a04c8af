"""Outline counts computed by hand and by a plain reference, at the border of the image and in void.

Most images are 60 x 80, whose diagonal is 100: outlines may be ceil(0.8) = 1 pixel off, and bands are 2 pixels wide.
"""

import numpy as np
import pytest

from refinenet_jax.evaluation import boundary

SHAPE = (60, 80)
VOID = 255


def square(top: int, left: int, side: int = 20, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    mask = np.zeros(shape, np.uint8)
    mask[max(top, 0) : top + side, max(left, 0) : left + side] = 1
    return mask


def test_shifted_within_and_beyond_the_tolerance():
    truth = square(20, 20)
    # By 1 pixel: within the tolerance. Bands share 4 rows of 19 pixels, and in the 16 rows between them 1 pixel at each side.
    shared = 4 * 19 + 16 * 2
    assert boundary.counts(truth, square(20, 21)).tolist() == [80, 80, 80, 80, shared, 288 - shared]
    # By 2: of the upper and the lower edge of the rim all but the farthest corner, 20 pixels each, and of the near edge the 2
    # pixels below and above those. Bands share 4 rows of 18.
    counts = boundary.counts(truth, square(20, 22))
    assert counts.tolist() == [80, 42, 80, 42, 72, 288 - 72]
    scores = boundary.scores(counts)
    assert scores["boundary_f"] == scores["boundary_precision"] == scores["boundary_recall"] == 42 / 80
    assert scores["boundary_iou"] == 72 / 216


def test_distances_are_euclidean():
    """A diagonal neighbor is 1.41 pixels off: not near, where 1 is allowed."""
    diagonal, parallel = np.eye(9, dtype=np.uint8), np.eye(9, k=2, dtype=np.uint8)
    assert boundary._near(diagonal, parallel, 1).sum() == 0
    assert boundary._near(diagonal, parallel, 2).sum() == 9  # all 1.41 off, and 2 at one end
    for radius in (1, 2, 5, 12):
        point = np.zeros((31, 31), np.uint8)
        point[15, 15] = 1
        rows, columns = np.indices(point.shape) - 15
        np.testing.assert_array_equal(
            boundary._near(np.ones_like(point), point, radius), rows**2 + columns**2 <= radius**2
        )


def test_missed_and_false_hands():
    hand, nothing = square(20, 20), np.zeros(SHAPE, np.uint8)
    missed, invented = boundary.counts(hand, nothing), boundary.counts(nothing, hand)
    assert missed.tolist() == [0, 0, 80, 0, 0, 144]
    assert invented.tolist() == [80, 0, 0, 0, 0, 144]
    neither = boundary.counts(nothing, nothing)
    scores = boundary.scores(np.stack([missed, invented, neither]))
    np.testing.assert_array_equal(scores["boundary_f"], [0, 0, np.nan])
    np.testing.assert_array_equal(scores["boundary_precision"], [np.nan, 0, np.nan])
    np.testing.assert_array_equal(scores["boundary_recall"], [0, np.nan, np.nan])
    np.testing.assert_array_equal(scores["boundary_iou"], [0, 0, np.nan])


def test_the_border_is_no_outline_but_limits_the_band():
    """Of a square in the corner two edges are outlines (DAVIS), and all four are boundaries (Cheng et al. pad by one pixel)."""
    corner = square(0, 0)
    assert boundary.counts(corner, corner).tolist() == [39, 39, 39, 39, 144, 144]
    everywhere = np.ones(SHAPE, np.uint8)
    counts = boundary.counts(everywhere, everywhere)
    assert counts.tolist() == [0, 0, 0, 0, *[60 * 80 - 56 * 76] * 2]
    assert np.isnan(boundary.scores(counts)["boundary_f"])
    assert boundary.scores(counts)["boundary_iou"] == 1


def test_outlines_within_and_beyond_a_rim_of_void():
    """Truth as in PASCAL VOC: the outline is uncertain within a rim of void, here 3 pixels on either side."""
    truth = square(17, 17, 26) * np.uint8(VOID)
    truth[23:37, 23:37] = 1
    for side in range(16, 26, 2):
        counts = boundary.counts(truth, square(30 - side // 2, 30 - side // 2, side))
        assert counts[:4].tolist() == [0, 0, 0, 0]
        assert counts[4] == counts[5]
    # 2 pixels beyond the rim: no outline is near the edge of the void, which has the class of the prediction.
    counts = boundary.counts(truth, square(15, 15, 30))
    assert counts[:2].tolist() == [120, 0]
    assert boundary.scores(counts)["boundary_f"] == 0


@pytest.mark.parametrize("shape", [(24, 31), (8, 260), (150, 9), (1, 40), (1, 1)])
def test_against_a_plain_reference(shape):
    """Specks and regions of three classes, with and without void; long images have tolerances of 2 and 3, bands of 3 and 5."""
    rng = np.random.default_rng(0)
    for share in (0.02, 0.3, 0.8):
        truth, prediction = (np.kron(rng.random((2, *shape)), np.ones((1, 3, 4))) < share).astype(np.uint8)
        truth, prediction = truth[: shape[0], : shape[1]].copy(), prediction[: shape[0], : shape[1]].copy()
        prediction[rng.random(shape) < 0.05] = 2
        assert boundary.counts(truth, prediction).tolist() == _plain(truth, prediction)
        truth[rng.random(shape) < 0.1] = VOID
        prediction[rng.random(shape) < 0.05] = VOID
        assert boundary.counts(truth, prediction).tolist() == _plain(truth, prediction)


def _plain(truth: np.ndarray, prediction: np.ndarray) -> list[int]:
    """The definitions pixel by pixel."""
    height, width = truth.shape
    diagonal = (height**2 + width**2) ** 0.5
    counted = (truth != VOID) & (prediction != VOID)
    masks = []
    for mask, other in ((truth, prediction), (prediction, truth)):
        filled = np.where(mask == VOID, other, mask)
        masks.append((filled != 0) & (filled != VOID))

    def outline(mask):
        found = set()
        for y in range(height):
            for x in range(width):
                for dy, dx in ((0, 1), (1, 0), (1, 1)):
                    if y + dy < height and x + dx < width and mask[y, x] != mask[y + dy, x + dx]:
                        found.add((y, x))
        return found

    def band(mask):
        wide = max(round(0.02 * diagonal), 1)
        padded = np.pad(mask, wide)
        return {
            (y, x)
            for y, x in np.argwhere(mask).tolist()
            if not padded[y : y + 2 * wide + 1, x : x + 2 * wide + 1].all()
        }

    def number(pixels):
        return sum(bool(counted[pixel]) for pixel in pixels)

    def near(pixels, others):
        others = np.array(sorted(others)).reshape(-1, 2)
        tolerance = -int(-0.008 * diagonal // 1)
        return [p for p in pixels if len(others) and ((others - p) ** 2).sum(1).min() <= tolerance**2]

    (true, predicted), (true_band, predicted_band) = (outline(m) for m in masks), (band(m) for m in masks)
    parts = predicted, near(predicted, true), true, near(true, predicted)
    return [number(pixels) for pixels in (*parts, true_band & predicted_band, true_band | predicted_band)]
