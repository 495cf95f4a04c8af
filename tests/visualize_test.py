"""Pictures show what they should: classes tinted, background as it was, files upright and in the right colors."""

import cv2
import numpy as np
import pytest
from PIL import Image

from refinenet_jax import visualize
from refinenet_jax.errors import UsageError


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


def test_overlay_of_background_only_is_the_image(noise):
    np.testing.assert_array_equal(visualize.overlay(noise, np.zeros((60, 80), np.uint8)), noise)


def test_void_is_gray_without_outline(noise):
    mask = np.zeros((60, 80), np.uint8)
    mask[20:] = 255
    result = visualize.overlay(noise, mask, opacity=0.5)
    np.testing.assert_array_equal(result[:20], noise[:20])
    assert np.abs(result[20:] - (noise[20:] + 128.0) / 2).max() <= 1


def test_opacity_has_both_ends(noise):
    mask = np.full((60, 80), 255, np.uint8)
    np.testing.assert_array_equal(visualize.overlay(noise, mask, opacity=0), noise)
    np.testing.assert_array_equal(visualize.overlay(noise, mask, opacity=1), np.full_like(noise, 128))


def test_hole_in_a_region_is_outlined_too():
    region = np.zeros((40, 40), bool)
    region[5:35, 5:35] = True
    region[15:25, 15:25] = False
    drawn = visualize.contours(np.zeros((40, 40, 3), np.uint8), region, (255, 0, 0)).any(-1)
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


@pytest.mark.parametrize(("ending", "exact"), [("png", True), ("PNG", True), ("jpg", False), ("webp", False)])
def test_what_is_written_is_read(tmp_path, ending, exact):
    image = np.zeros((40, 64, 3), np.uint8)
    image[:, :32] = (250, 120, 10)
    image[:, 32:] = (10, 60, 200)
    path = str(tmp_path / f"picture.{ending}")
    visualize.write(path, image)
    result = visualize.read(path)
    if exact:
        np.testing.assert_array_equal(result, image)
    else:
        assert np.abs(result[:, [8, 56]].astype(int) - image[:, [8, 56]]).max() < 30


def test_mask_keeps_its_ids(tmp_path):
    mask = np.random.default_rng(0).integers(0, 256, (30, 50), np.uint8)
    visualize.write(str(tmp_path / "mask.png"), mask)
    with Image.open(tmp_path / "mask.png") as file:
        assert file.mode == "L"
        np.testing.assert_array_equal(np.asarray(file), mask)


@pytest.mark.parametrize(("orientation", "turn"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_read_turns_as_exif_says(tmp_path, orientation, turn):
    stored = np.zeros((32, 64, 3), np.uint8)
    stored[:16, :32] = (255, 0, 0)
    stored[16:, 32:] = (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "photo.jpg"
    Image.fromarray(stored).save(path, exif=exif, quality=95, subsampling=0)
    result = visualize.read(str(path))
    expected = np.rot90(stored, turn)
    assert result.shape == expected.shape
    assert np.abs(result.astype(int) - expected).mean() < 10


def test_read_gives_three_channels_whatever_is_stored(tmp_path):
    gray = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(gray).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(visualize.read(str(tmp_path / "gray.png")), np.stack([gray] * 3, -1))
    Image.new("RGBA", (5, 4), (9, 8, 7, 0)).save(tmp_path / "alpha.png")
    assert visualize.read(str(tmp_path / "alpha.png")).tolist() == [[[9, 8, 7]] * 5] * 4
    indexed = Image.new("P", (5, 4), 1)
    indexed.putpalette([0, 0, 0, 200, 100, 50])
    indexed.save(tmp_path / "palette.png")
    assert visualize.read(str(tmp_path / "palette.png")).tolist() == [[[200, 100, 50]] * 5] * 4


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
def test_undecodable_file_is_named(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(UsageError, match=rf"broken.png cannot be decoded as an image \({len(content)} bytes\)"):
        visualize.read(str(tmp_path / "broken.png"))


def test_missing_file_is_named(tmp_path):
    with pytest.raises((OSError, UsageError), match=r"missing\.png"):
        visualize.read(str(tmp_path / "missing.png"))


def test_gallery_has_a_cell_for_each_image(noise):
    tall = np.full((120, 60, 3), (200, 0, 0), np.uint8)
    picture = visualize.gallery([(noise, noise), (tall, tall)], ["first", "second"], ["a", "b"], width=100)
    assert picture.dtype == np.uint8
    bands, gap = 3 * 24, 8
    assert picture.shape == (bands + 75 + gap + 200 + gap, 2 * 100 + 3 * gap, 3)
    below = picture[-gap - 200 : -gap]
    np.testing.assert_array_equal(below[:, gap : gap + 100], np.full((200, 100, 3), (200, 0, 0)))
    np.testing.assert_array_equal(below[:, 116:216], np.full((200, 100, 3), (200, 0, 0)))
    assert (picture[:24] < 100).any()  # titles


def test_gallery_needs_a_caption_for_each_row(noise):
    with pytest.raises(ValueError, match="zip"):
        visualize.gallery([(noise,)], [])
