"""Attributes of small images, computed by hand; images are 320 pixels wide, the size at which they are measured."""

import cv2
import numpy as np
import pytest

from refinenet_jax.evaluation.analysis import attributes

HEIGHT, WIDTH = 180, 320


def texture(height=HEIGHT, width=WIDTH, seed=0):
    grain = np.random.default_rng(seed).random((height // 2, width // 2, 3), np.float32)
    return cv2.resize(grain, (width, height), interpolation=cv2.INTER_LINEAR) * 200 + 20


def example(image=None, mask=None, **more):
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8) if image is None else image
    mask = np.zeros(image.shape[:2], np.uint8) if mask is None else mask
    return {"image": image.astype(np.uint8), "mask": mask, "id": "x", **more}


def squares(*boxes):
    """A mask with a box (top, left, height, width, class) for each."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    for top, left, height, width, class_id in boxes:
        mask[top : top + height, left : left + width] = class_id
    return mask


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (720, 1280), (90, 40)])
@pytest.mark.parametrize("value", [0, 1, 255])
def test_every_example_has_all_attributes_in_one_order(size, value):
    mask = np.zeros(size, np.uint8)
    mask[: size[0] // 2] = value
    found = attributes.of(example(np.random.default_rng(0).integers(0, 256, (*size, 3)), mask))
    assert list(found) == list(attributes.ATTRIBUTES)
    for name, value in found.items():
        assert isinstance(value, str if name == "skin_tone" else float), name


def test_hands_are_counted_and_measured():
    # 40 x 40, 20 x 30, and a fragment of 7 x 8 = 56 pixels, below 0.1 % of 57,600.
    found = attributes.of(example(mask=squares((20, 20, 40, 40, 1), (100, 200, 20, 30, 1), (160, 10, 7, 8, 1))))
    assert found["hands"] == 2
    assert found["hand_area"] == (1600 + 600 + 56) / 57600
    void = attributes.of(example(mask=squares((0, 0, 90, WIDTH, 255), (100, 100, 20, 20, 1))))
    assert (void["hands"], void["hand_area"]) == (1, 400 / (57600 / 2))
    for class_id, hands in ((1, 1), (2, 2)):  # hands that touch
        assert attributes.of(example(mask=squares((50, 50, 20, 20, 1), (50, 70, 20, 20, class_id))))["hands"] == hands


def test_without_hands_their_attributes_are_undefined():
    found = attributes.of(example(texture()))
    assert (found["hands"], found["hand_area"], found["skin_tone"]) == (0, 0, "")
    for name in ("hand_sharpness", "skin_background", "skin_angle"):
        assert np.isnan(found[name]), name
    assert np.isnan(attributes.of(example(mask=np.full((HEIGHT, WIDTH), 255, np.uint8)))["hand_area"])


def test_an_image_of_only_hand():
    found = attributes.of(example(texture(), squares((0, 0, HEIGHT, WIDTH, 1))))
    assert found["hand_area"] == 1
    assert np.isnan(found["skin_background"])


def test_brightness():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 4] = 255
    assert attributes.of(example(image))["brightness"] == pytest.approx(0.25)


def test_sharpness_falls_with_blur_and_not_with_exposure_or_size():
    mask = squares((70, 40, 40, 40, 1))

    def sharpness(image, mask=mask):
        return attributes.of(example(image, mask))["hand_sharpness"]

    image = texture()
    sharp = sharpness(image)
    blurred = [cv2.GaussianBlur(image, (0, 0), sigma) for sigma in (1, 2)]
    assert sharp > 2 * sharpness(blurred[0]) > 4 * sharpness(blurred[1])
    assert sharpness(image * 0.5) == pytest.approx(sharp, rel=0.02)
    large = [cv2.resize(x, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST) for x in (image, mask)]
    assert sharpness(*large) == pytest.approx(sharp, rel=0.01)
    assert np.isnan(sharpness(np.full((HEIGHT, WIDTH, 3), 128)))  # all of one color
    # Only the surroundings of hands count.
    left, right = (np.hstack([a[:, :160], b[:, 160:]]) for a, b in ((blurred[1], image), (image, blurred[1])))
    assert sharpness(right) == sharp > 4 * sharpness(left)


def angle_by_hand(red, green, blue):
    """ITA by the definitions of sRGB and CIELAB, D65."""
    code = np.array([red, green, blue]) / 255
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    y, z = light @ (0.212671, 0.715160, 0.072169), light @ (0.019334, 0.119193, 0.950227) / 1.088754
    return np.degrees(np.arctan((116 * np.cbrt(y) - 16 - 50) / (200 * (np.cbrt(y) - np.cbrt(z)))))


@pytest.mark.parametrize(
    ("color", "tone"),
    [
        ((250, 225, 205), "very light"),
        ((225, 180, 150), "light"),
        ((200, 155, 125), "intermediate"),
        ((175, 135, 105), "tan"),
        ((120, 85, 60), "brown"),
        ((70, 45, 30), "dark"),
        ((90, 100, 180), ""),
    ],
)
def test_skin_tone(color, tone):
    image, mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8), squares((50, 50, 40, 40, 1))
    image[mask == 1] = color
    found = attributes.of(example(image, mask))
    assert found["skin_tone"] == tone
    if tone:
        assert found["skin_angle"] == pytest.approx(angle_by_hand(*color), abs=0.5)  # OpenCV interpolates a table
    else:  # bluish
        assert np.isnan(found["skin_angle"])


def test_share_of_the_background_that_looks_like_skin():
    image = np.full((HEIGHT, WIDTH, 3), (60, 120, 60), np.uint8)
    mask = squares((50, 50, 40, 40, 1), (0, 300, 180, 20, 255))
    shading = np.linspace(0.7, 1.1, 40)[:, None, None]
    image[50:90, 50:90] = shading * (200, 150, 130)
    image[100:140, 100:180] = (160, 120, 104)  # the same in shadow: 40 x 80 pixels of the background
    image[:, 300:] = (200, 150, 130)  # void is no background
    found = attributes.of(example(image, mask))
    assert found["skin_background"] == pytest.approx(3200 / (57600 - 1600 - 3600))
