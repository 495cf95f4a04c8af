"""Overlays tint the classes and leave the background unchanged; files have the right colors."""

import cv2
import numpy as np
import pytest
from PIL import Image

from refinenet_jax import visualize


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)


def test_overlay_tints_classes_and_leaves_background(noise):
    mask = np.zeros((60, 80), np.uint8)
    mask[10:30, 10:40] = 1
    mask[35:55, 50:70] = 2
    before = noise.copy()
    result = visualize.overlay(noise, mask, opacity=0.5)
    np.testing.assert_array_equal(noise, before)
    assert result.dtype == np.uint8
    near = cv2.dilate((mask > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    np.testing.assert_array_equal(result[~near], noise[~near])
    for class_id in (1, 2):
        inside = cv2.erode((mask == class_id).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        expected = (noise[inside] + np.array(visualize.COLORS[class_id - 1], float)) / 2
        assert np.abs(result[inside] - expected).max() <= 1
    on_outline = result[10, 20:30].astype(int)
    assert np.abs(on_outline - visualize.COLORS[0]).max() < 40  # nearly the full color; the line is anti-aliased


def test_void_is_gray_without_outline(noise):
    mask = np.zeros((60, 80), np.uint8)
    mask[20:] = 255
    result = visualize.overlay(noise, mask, opacity=0.5)
    np.testing.assert_array_equal(result[:20], noise[:20])
    assert np.abs(result[20:] - (noise[20:] + 128.0) / 2).max() <= 1
    np.testing.assert_array_equal(visualize.overlay(noise, mask, opacity=0), noise)
    np.testing.assert_array_equal(visualize.overlay(noise, mask, opacity=1)[20:], np.full_like(noise[20:], 128))


def test_holes_are_outlined():
    mask = np.zeros((40, 40), np.uint8)
    mask[5:35, 5:35] = 1
    mask[15:25, 15:25] = 0
    drawn = visualize.outlines(np.zeros((40, 40, 3), np.uint8), mask).any(-1)
    assert drawn[5, 20]
    assert drawn[13:17, 20].any()
    assert not drawn[10, 20]


def test_palette():
    palette = visualize.palette()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert palette[0].tolist() == [0, 0, 0]
    assert palette[255].tolist() == [128, 128, 128]
    assert [tuple(color) for color in palette[1:7].tolist()] == list(visualize.COLORS)
    assert palette[7].tolist() == palette[1].tolist()
    assert len(set(visualize.COLORS) | {visualize.VOID_COLOR, (0, 0, 0)}) == len(visualize.COLORS) + 2


@pytest.mark.parametrize(("ending", "tolerance"), [("png", 0), ("PNG", 0), ("jpg", 30), ("webp", 30)])
def test_write(tmp_path, ending, tolerance):
    image = np.zeros((40, 64, 3), np.uint8)
    image[:, :32] = (250, 120, 10)
    image[:, 32:] = (10, 60, 200)
    for pixels in (image, image[..., 0]):
        path = tmp_path / f"picture.{ending}"
        visualize.write(str(path), pixels)
        with Image.open(path) as file:
            written = np.asarray(file if tolerance == 0 else file.convert("RGB" if pixels.ndim == 3 else "L"))
        assert np.abs(written[:, [8, 56]].astype(int) - pixels[:, [8, 56]]).max() <= tolerance


def test_gallery(noise):
    tall = np.full((120, 60, 3), (200, 0, 0), np.uint8)
    picture = visualize.gallery([(noise, noise), (tall, tall)], ["first", "second"], ["a", "b"], width=100)
    assert picture.dtype == np.uint8
    bands, gap = 3 * 24, 8
    assert picture.shape == (bands + 75 + gap + 200 + gap, 2 * 100 + 3 * gap, 3)
    below = picture[-gap - 200 : -gap]
    np.testing.assert_array_equal(below[:, gap : gap + 100], np.full((200, 100, 3), (200, 0, 0)))
    np.testing.assert_array_equal(below[:, 116:216], np.full((200, 100, 3), (200, 0, 0)))
    assert (picture[:24] < 100).any()  # titles
