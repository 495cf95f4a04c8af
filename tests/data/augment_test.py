"""Tests of refinenet_jax.data.augment."""

import cv2
import numpy as np
import pytest

from refinenet_jax.data.augment import MEAN_COLOR, VOID, Augmentation
from refinenet_jax.data.images import Picture

PLAIN = Augmentation(crop_size=64, short_edge=None, scales=(1.0,), flip=False, crop="random")


def _blocks(height=90, width=120, block=30):
    """A picture whose color shows the class: 60 x class id in every channel; ids 0..3 in blocks."""
    rows, columns = np.indices((height, width)) // block
    mask = ((rows + 2 * columns) % 4).astype(np.uint8)
    return np.repeat(mask[..., None] * np.uint8(60), 3, axis=2), mask


def _noise(height, width, num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), np.uint8), rng.integers(0, num_classes, (height, width), np.uint8)


def _near_border(mask, distance):
    """True within `distance` pixels of a border between ids."""
    width = 2 * distance + 1
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(mask, distance, mode="edge"), (width, width))
    return windows.min((2, 3)) != windows.max((2, 3))


@pytest.mark.parametrize("scale", [0.35, 0.7, 0.93, 1.0, 1.1, 1.3, 2.7])
@pytest.mark.parametrize("crop", ["random", "class_centered"])
def test_image_and_mask_stay_aligned(scale, crop):
    """The color shows the class in the output too, except within one source pixel of a border, which is interpolated."""
    image, mask = _blocks()
    augmentation = Augmentation(crop_size=(64, 80), short_edge=None, scales=(scale,), crop=crop)
    rng = np.random.default_rng(0)
    for _ in range(20):
        out_image, out_mask = augmentation(image, mask, rng)
        inside = ~_near_border(out_mask, int(np.ceil(scale))) & (out_mask != VOID)
        assert inside.sum() > 200
        error = np.abs(out_image[inside].astype(int) - 60 * out_mask[inside, None].astype(int))
        assert error.max() <= 20  # what bicubic overshoots near a step of 180; the next class is 60 away


def test_positions_are_those_of_scaling_the_whole_picture():
    """Red and green hold the coordinates: inside, each output pixel shows the place that its mask pixel comes from."""
    rows, columns = np.indices((200, 250))
    image = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)
    mask = (rows % 16 * 15 + columns % 15).astype(np.uint8)
    for scale in (0.5, 0.8, 1.3):
        augmentation = Augmentation(crop_size=64, short_edge=None, scales=(scale,), flip=False)
        for seed in range(10):
            out_image, out_mask = augmentation(image, mask, np.random.default_rng(seed))
            red, green = out_image[..., 0].astype(int), out_image[..., 1].astype(int)
            row_error = (out_mask // 15 - red + 8) % 16 - 8
            column_error = (out_mask % 15 - green + 7) % 15 - 7
            assert max(np.abs(row_error).max(), np.abs(column_error).max()) <= 1
            steps = np.diff(red, axis=0).mean(), np.diff(green, axis=1).mean()
            np.testing.assert_allclose(steps, 1 / scale, atol=2 / 63 + 1e-6)


def test_without_randomness_it_is_a_plain_crop():
    image, mask = _noise(64, 64)
    out_image, out_mask = PLAIN(image, mask, np.random.default_rng(0))
    np.testing.assert_array_equal(out_image, image)
    np.testing.assert_array_equal(out_mask, mask)
    image, mask = _noise(100, 130)
    out_image, out_mask = PLAIN(image, mask, np.random.default_rng(0))
    windows = [(y, x) for y in range(37) for x in range(67) if np.array_equal(out_image, image[y : y + 64, x : x + 64])]
    ((y, x),) = windows
    np.testing.assert_array_equal(out_mask, mask[y : y + 64, x : x + 64])


def test_random_crops_reach_every_position():
    image, mask = np.zeros((66, 65, 3), np.uint8), np.arange(66 * 65).reshape(66, 65)
    rng = np.random.default_rng(0)
    corners = {
        int(PLAIN(image, (mask % 65 + 70 * (mask // 65 % 3)).astype(np.uint8), rng)[1][0, 0]) for _ in range(100)
    }
    assert corners == {70 * row + column for row in range(3) for column in range(2)}


@pytest.mark.parametrize("crop", ["random", "class_centered"])
def test_padding_is_void_and_mean_color(crop):
    image, mask = _noise(40, 100)
    augmentation = Augmentation(crop_size=64, short_edge=None, scales=(1.0,), crop=crop)
    rng = np.random.default_rng(0)
    for _ in range(10):
        out_image, out_mask = augmentation(image, mask, rng)
        padding = out_mask == VOID
        assert padding.sum() == 24 * 64  # the whole height of the picture is shown
        assert (out_image[padding] == MEAN_COLOR).all()
        assert (out_image[~padding] != MEAN_COLOR).any(axis=1).mean() > 0.99


def test_flip_mirrors_and_exchanges_sides():
    image, mask = _noise(64, 64, num_classes=4)
    mask[0, 0] = VOID
    flips = 0
    rng = np.random.default_rng(0)
    flipping = Augmentation(crop_size=64, short_edge=None, scales=(1.0,), crop="random")
    for _ in range(200):
        out_image, out_mask = flipping(image, mask, rng, flip_pairs=((1, 2),))
        if np.array_equal(out_image, image):
            np.testing.assert_array_equal(out_mask, mask)
        else:
            flips += 1
            np.testing.assert_array_equal(out_image, image[:, ::-1])
            expected = np.where((mask == 1) | (mask == 2), 3 - mask, mask)[:, ::-1]
            np.testing.assert_array_equal(out_mask, expected)
    assert 75 < flips < 125


def test_class_centered_crops_show_the_rare_class_as_often():
    """Three classes, one of nine pixels: it is the center of a third of the crops, not of one in a thousand."""
    image = np.zeros((200, 200, 3), np.uint8)
    mask = np.zeros((200, 200), np.uint8)
    mask[100:] = 1
    mask[60:63, 120:123] = 2
    mask[:5] = VOID
    augmentation = Augmentation(crop_size=9, short_edge=None, scales=(1.0,))
    rng = np.random.default_rng(0)
    centers = [augmentation(image, mask, rng)[1][4, 4] for _ in range(900)]
    counts = np.bincount(centers, minlength=256)
    assert (np.abs(counts[:3] - 300) < 60).all()
    # Only a pixel whose window had to be moved inside the picture can leave void in the center.
    assert counts[VOID] < 30


def test_class_centered_center_is_exact_at_every_scale():
    image = np.zeros((100, 100, 3), np.uint8)
    mask = np.full((100, 100), VOID, np.uint8)
    mask[50, 40] = 1
    for scale in (1.0, 1.3, 2.0, 3.0):
        augmentation = Augmentation(crop_size=21, short_edge=None, scales=(scale,))
        for seed in range(5):
            rows, columns = np.nonzero(augmentation(image, mask, np.random.default_rng(seed))[1] == 1)
            assert abs(rows.mean() - 10) <= 1
            assert abs(columns.mean() - 10) <= 1


@pytest.mark.parametrize(
    ("settings", "size", "scaled"),
    [
        ({"short_edge": (450, 1100)}, (720, 1280), (360, 640)),
        ({"short_edge": (450, 1100)}, (300, 400), (225, 300)),
        ({"short_edge": (450, 1100)}, (4000, 2200), (1000, 550)),
        ({"short_edge": None}, (300, 400), (150, 200)),
        ({"short_edge": (), "longest_side": 1280}, (720, 1280), (360, 640)),
        ({"short_edge": (), "longest_side": 1280}, (320, 240), (640, 480)),
    ],
)
def test_sizes_are_bounded_before_the_random_scale(settings, size, scaled):
    assert Augmentation(scales=(0.5,), **settings)._scaled_size(size, 0) == scaled


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (2, 3), (7, 1), (399, 401), (1500, 1200)])
@pytest.mark.parametrize("crop", ["random", "class_centered"])
def test_any_size_gives_the_crop_size(size, crop):
    image, mask = _noise(*size)
    rng = np.random.default_rng(0)
    for augmentation in (Augmentation(crop=crop), Augmentation((33, 70), None, crop=crop, color_jitter=0.4, blur=1.0)):
        for _ in range(3):
            out_image, out_mask = augmentation(image, mask, rng)
            assert out_image.shape == (*augmentation.shape, 3)
            assert out_mask.shape == augmentation.shape
            assert out_image.dtype == out_mask.dtype == np.uint8
            assert out_image.flags.c_contiguous
            assert out_mask.flags.c_contiguous
            assert (out_mask != VOID).any()


def test_inputs_are_not_changed():
    image, mask = _noise(100, 100)
    image.flags.writeable = mask.flags.writeable = False
    augmentation = Augmentation(64, None, color_jitter=0.5, blur=1.0)
    for seed in range(5):
        augmentation(image, mask, np.random.default_rng(seed), ((0, 1),))
    assert (augmentation(image, np.full_like(mask, VOID), np.random.default_rng(0))[1] == VOID).all()


def test_same_generator_same_result_and_color_leaves_the_crop_alone():
    image, mask = _noise(150, 200)
    first = Augmentation(64, None)(image, mask, np.random.default_rng(5))
    again = Augmentation(64, None)(image, mask, np.random.default_rng(5))
    colored = Augmentation(64, None, color_jitter=0.5, blur=0.5)(image, mask, np.random.default_rng(5))
    other = Augmentation(64, None)(image, mask, np.random.default_rng(6))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first[1], colored[1])
    assert not np.array_equal(first[0], colored[0])
    assert not np.array_equal(first[1], other[1])


def test_jitter_moves_colors_within_bounds_and_keeps_their_order():
    image = np.full((64, 64, 3), 100, np.uint8)
    image[:, 32:] = (140, 100, 60)
    mask = np.zeros((64, 64), np.uint8)
    augmentation = Augmentation(64, None, (1.0,), flip=False, color_jitter=0.2)
    rng = np.random.default_rng(0)
    grays = []
    for _ in range(50):
        left, right = augmentation(image, mask, rng)[0][0, [0, -1]].astype(int)
        grays.append(left[0])
        assert np.ptp(left) <= 1  # gray stays gray
        assert right[0] > right[1] > right[2]
        assert 40 * 0.8**3 * 0.9 < right[0] - right[1] < 40 * 1.2**3 * 1.1
    assert min(grays) < 90
    assert max(grays) > 110
    assert min(grays) >= 75
    assert max(grays) <= 125


@pytest.mark.parametrize("name", ["blur", "jpeg", "motion_blur"])
def test_blur_and_compression_have_their_probability(name):
    image, mask = _noise(64, 64)
    augmentation = Augmentation(64, None, (1.0,), flip=False, crop="random", **{name: 0.3})
    results = [augmentation(image, mask, np.random.default_rng(seed))[0] for seed in range(200)]
    assert 40 < sum(not np.array_equal(result, image) for result in results) < 80


def test_color_cast_moves_each_channel_within_bounds():
    image, mask = np.full((32, 32, 3), 100, np.uint8), np.zeros((32, 32), np.uint8)
    augmentation = Augmentation(32, None, (1.0,), color_cast=0.2)
    colors = np.array([augmentation(image, mask, np.random.default_rng(seed))[0][0, 0] for seed in range(50)]).astype(
        int
    )
    assert ((colors >= 80) & (colors <= 120)).all()
    assert (colors.max(0) - colors.min(0) > 30).all()
    assert (np.ptp(colors, axis=1) > 3).mean() > 0.8


def test_motion_blur_smears_along_one_line_and_keeps_the_brightness():
    image, mask = np.zeros((65, 65, 3), np.uint8), np.zeros((65, 65), np.uint8)
    image[32, 32] = 250
    augmentation = Augmentation(65, None, (1.0,), flip=False, crop="random", motion_blur=1.0)
    shares, lengths = [], []
    for seed in range(30):
        rows, columns = np.nonzero(augmentation(image, mask, np.random.default_rng(seed))[0][..., 0])
        spread = np.linalg.svd(np.stack([rows - rows.mean(), columns - columns.mean()]))[1]
        shares.append(spread[1] / spread[0])
        lengths.append(np.hypot(np.ptp(rows), np.ptp(columns)))
    assert np.median(shares) < 0.4
    assert 2 <= min(lengths) < 6
    assert 12 < max(lengths) <= 19
    flat = np.full_like(image, 100)
    assert np.abs(augmentation(flat, mask, np.random.default_rng(0))[0].astype(int) - 100).max() <= 1


def test_uneven_light_is_smooth_and_within_bounds():
    image, mask = np.full((64, 64, 3), 60, np.uint8), np.zeros((64, 64), np.uint8)
    augmentation = Augmentation(64, None, (1.0,), flip=False, uneven_light=1.0)
    for seed in range(20):
        out = augmentation(image, mask, np.random.default_rng(seed))[0].astype(int)
        assert 20 <= out.min() < out.max() <= 160  # cubic interpolation overshoots a little
        assert max(np.abs(np.diff(out, axis=axis)).max() for axis in (0, 1)) < 8


def test_objects_are_pasted_before_the_colors_change():
    """A paste that paints all red: the color that comes out is red, jittered."""
    image, mask = _noise(64, 64)

    def paste(image, mask, rng, flip_pairs):
        assert flip_pairs == ((1, 2),)
        return np.full_like(image, (200, 0, 0)), np.full_like(mask, 2)

    augmentation = Augmentation(64, None, (1.0,), flip=False, crop="random", color_jitter=0.2)
    out_image, out_mask = augmentation(image, mask, np.random.default_rng(0), ((1, 2),), paste)
    assert (out_mask == 2).all()
    assert len(np.unique(out_image.reshape(-1, 3), axis=0)) == 1
    assert out_image[0, 0].tolist() != [200, 0, 0]


@pytest.mark.parametrize(
    "settings",
    [
        {"crop_size": 0},
        {"crop_size": (10, 0)},
        {"scales": ()},
        {"scales": (0.0, 1.0)},
        {"short_edge": (500, 400)},
        {"crop": "center"},
        {"color_jitter": 2.0},
        {"blur": -0.1},
        {"color_cast": 1.5},
        {"motion_blur": 2},
        {"jpeg": -1},
        {"uneven_light": 3},
        {"longest_side": -1, "short_edge": ()},
        {"longest_side": 640},
    ],
)
def test_impossible_settings_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Augmentation(**settings)


@pytest.mark.parametrize(("scale", "reduction"), [(0.7, 1), (0.5, 2), (0.35, 2), (0.25, 4), (0.2, 4), (0.12, 8)])
@pytest.mark.parametrize("crop", ["random", "class_centered"])
def test_jpeg_is_decoded_no_larger_than_needed_and_the_crop_stays(scale, reduction, crop, monkeypatch):
    """Waves of up to 3 gray levels per pixel: a shift by half a pixel of the picture would show."""
    rows, columns = np.indices((357, 571))
    waves = 128 + 90 * np.sin(np.stack([rows / 30, columns / 30, (rows + columns) / 40], -1))
    image, mask = waves.astype(np.uint8), ((rows // 50 + columns // 70) % 3).astype(np.uint8)
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    whole, reductions = Picture(encoded, "it").decode(), []
    decode = Picture.decode
    monkeypatch.setattr(Picture, "decode", lambda self, by=1: reductions.append(by) or decode(self, by))
    augmentation = Augmentation(crop_size=(40, 56), short_edge=None, scales=(scale,), crop=crop)
    for seed in range(10):
        expected, expected_mask = augmentation(whole, mask, np.random.default_rng(seed))
        crop_image, crop_mask = augmentation(Picture(encoded, "it"), mask, np.random.default_rng(seed))
        np.testing.assert_array_equal(crop_mask, expected_mask)
        assert np.abs(crop_image.astype(int) - expected).mean() < (1.0 if reduction > 1 else 1e-9)
    assert reductions == [reduction] * 10
