"""Tests of copy-paste augmentation: refinenet_jax.data.paste and arms."""

import numpy as np
import pytest

from refinenet_jax.data.paste import VOID, CopyPaste, cut_out
from refinenet_jax.data.sources import DatasetInfo

GRAY, RED, BLUE, WHITE = (90, 90, 90), (250, 20, 20), (20, 20, 250), (255, 255, 255)
PAIRS = ((1, 2),)


class Cutouts:
    """One example: a white page with a rectangle whose left half is red and class 1, its right half blue and class 2."""

    def __init__(self, rows=slice(30, 70), columns=slice(20, 80), void=0):
        self.info = DatasetInfo("cutouts", ("background", "left", "right"), PAIRS)
        self.image = np.full((100, 100, 3), WHITE, np.uint8)
        self.mask = np.zeros((100, 100), np.uint8)
        if void:
            self.mask[rows.start - void : rows.stop + void, columns.start - void : columns.stop + void] = VOID
        middle = (columns.start + columns.stop) // 2
        for part, color, class_id in (
            (slice(columns.start, middle), RED, 1),
            (slice(middle, columns.stop), BLUE, 2),
        ):
            self.image[rows, part] = color
            self.mask[rows, part] = class_id

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return {"image": self.image, "mask": self.mask, "id": "cutout"}


def _paste(source=None, **options):
    return CopyPaste(((source or Cutouts(), 1.0),), **{"probability": 1.0, "count": 1, "light": 0.0, **options})


def _target(size=200):
    return np.full((size, size, 3), GRAY, np.uint8), np.zeros((size, size), np.uint8)


def _is(image, color, tolerance=40):
    return np.abs(image.astype(int) - color).max(-1) <= tolerance


@pytest.mark.parametrize("rotation", [0.0, 180.0])
def test_labels_come_with_the_colors_and_nothing_of_the_page_does(rotation):
    """Mirrored or not: what is red at the left of what is blue is class 1, and class 2 the other way round."""
    paste = _paste(size=(40, 90), rotation=rotation)
    orders = set()
    for seed in range(40):
        image, mask = paste(*_target(), np.random.default_rng(seed), PAIRS)
        assert not _is(image, WHITE, 60).any()
        inside = {class_id: image[mask == class_id].astype(int) for class_id in (1, 2)}
        if min(len(pixels) for pixels in inside.values()) < 300:  # too little of it lies inside the crop
            continue
        medians = {class_id: np.median(pixels, axis=0) for class_id, pixels in inside.items()}
        red = min(medians, key=lambda class_id: np.abs(medians[class_id] - RED).max())
        orders.add(red)
        for class_id, color in ((red, RED), (3 - red, BLUE)):
            assert np.mean(np.abs(inside[class_id] - color).max(-1) < 60) > 0.7  # the two colors mix at their border
        assert np.mean(_is(image[mask == 0], GRAY, 5)) > 0.98  # but for the soft edge
    assert orders == {1, 2}


def test_void_at_the_rim_stays_void_and_unpainted():
    image, mask = _paste(Cutouts(void=2), size=(60, 64), rotation=0.0)(*_target(400), np.random.default_rng(1), PAIRS)
    void = mask == VOID
    assert void.sum() > 200
    assert not _is(image[void], WHITE, 60).any()
    rows, columns = np.nonzero((mask == 1) | (mask == 2))
    around = np.zeros_like(void)
    around[rows.min() - 3 : rows.max() + 4, columns.min() - 3 : columns.max() + 4] = True
    assert not (void & ~around).any()


def test_sizes_are_within_bounds():
    sides = []
    for seed in range(60):
        _, mask = _paste(size=(20, 60), rotation=0.0)(*_target(400), np.random.default_rng(seed))
        columns = np.flatnonzero(mask.any(0))
        if len(columns) and columns[0] > 0 and columns[-1] < 399:
            sides.append(np.ptp(columns) + 1)
    assert 19 <= min(sides) < 25
    assert 50 < max(sides) <= 61


def test_share_of_crops_and_number_of_objects():
    changed, both = 0, 0
    for seed in range(200):
        image, mask = _target()
        out_image, out_mask = _paste(probability=0.4, count=2)(image, mask, np.random.default_rng(seed))
        assert (out_image is image) == (out_mask is mask)
        changed += out_mask is not mask
        both += out_mask.any()
    assert 55 < changed < 105
    assert both > 0.7 * changed


def test_it_is_a_function_of_the_generator_and_leaves_its_inputs_alone():
    image, mask = _target()
    image.flags.writeable = mask.flags.writeable = False
    first, again, other = (_paste(light=0.3, arm=1.0)(image, mask, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        (slice(60, 100), slice(20, 80)),
        (slice(0, 40), slice(20, 80)),
        (slice(20, 80), slice(0, 60)),
        (slice(20, 80), slice(40, 100)),
    ],
)
def test_arms_grow_from_the_edge_that_cuts_the_hand_off_and_are_background(rows, columns):
    source = Cutouts(rows, columns)
    painted, labeled = np.zeros((2, 5)), np.zeros((2, 5))
    for arm, seed in np.ndindex(painted.shape):
        paste = _paste(source, size=(50, 60), rotation=0.0, arm=float(arm))
        image, mask = paste(*_target(500), np.random.default_rng(seed))
        painted[arm, seed], labeled[arm, seed] = (~_is(image, GRAY, 5)).sum(), (mask != 0).sum()
    assert painted[1].sum() > 2 * painted[0].sum()
    assert (labeled[1] <= 1.02 * labeled[0]).all()
    assert labeled[1].sum() > 0.8 * labeled[0].sum()  # a sleeve may cover some


def test_arm_replaces_the_labels_below_it():
    image, mask = _target(500)
    mask[:] = 1
    _, out = _paste(Cutouts(slice(60, 100), slice(20, 80)), size=(50, 60), arm=1.0)(
        image, mask, np.random.default_rng(0)
    )
    assert (out == 0).sum() > 500


def test_no_arm_where_nothing_is_cut_off():
    pasted = [_paste(size=(50, 60), arm=arm)(*_target(500), np.random.default_rng(5))[0] for arm in (0.0, 1.0)]
    np.testing.assert_array_equal(*pasted)


def test_cut_out_takes_one_object():
    source = Cutouts()
    source.mask[5:25, 5:50] = 1
    sizes = {cut_out(source.image, source.mask, np.random.default_rng(seed))[1].shape for seed in range(20)}
    assert sizes == {(42, 62), (22, 47)}


@pytest.mark.parametrize("value", [0, VOID])
def test_an_example_without_objects_leaves_the_crop_as_it_is(value):
    source = Cutouts()
    source.mask[:] = value
    image, mask = _target()
    out_image, out_mask = _paste(source)(image, mask, np.random.default_rng(0))
    np.testing.assert_array_equal(out_image, image)
    np.testing.assert_array_equal(out_mask, mask)


@pytest.mark.parametrize(
    "settings",
    [{"probability": 1.1}, {"count": 0}, {"size": (50, 20)}, {"size": (0, 20)}, {"light": -0.1}, {"arm": 2.0}],
)
def test_impossible_settings_are_named(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))}="):
        _paste(**settings)
