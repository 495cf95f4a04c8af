"""Tests of masks from black and white, palettes and colors: the right class, or advice that gives it when followed."""

import io
import re

import folders
import numpy as np
import pytest
from PIL import Image

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.sources import open_source

HANDS = (folders.mask("kitchen/001") > 0).astype(np.uint8)
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (128, 0, 0)


def _palette(indices, colors, file_format="PNG"):
    """An image file with a palette: colors by index."""
    image = Image.fromarray(indices.astype(np.uint8)).convert("P")
    table = np.zeros((256, 3), np.uint8)
    for index, color in colors.items():
        table[index] = color
    image.putpalette(table.ravel().tolist())
    file = io.BytesIO()
    image.save(file, file_format)
    return file.getvalue()


def _quantized(pixels):
    """As image programs reduce colors: they choose the palette and its order."""
    file = io.BytesIO()
    Image.fromarray(pixels).quantize(len(np.unique(pixels.reshape(-1, 3), axis=0))).save(file, "PNG")
    return file.getvalue()


def _masks_of(root, yaml=None):
    if yaml is not None:
        folders.put(root / "dataset.yaml", yaml)
    return open_source(str(root), "train")[0]["mask"]


def _folder(root, mask, ending=".png"):
    folders.put(root / "images" / "a.png", folders.png(folders.image("a")))
    folders.put(root / "masks" / f"a{ending}", mask)
    return root


ODD = np.where(HANDS, 225, 0)
GRAYS = np.where(HANDS, np.where(np.arange(32) % 2, 200, 240), np.where(np.arange(32) % 3, 0, 60)).astype(np.uint8)
MASKS = {
    "white first": _palette(1 - HANDS, {0: WHITE, 1: BLACK}),
    "black first": _palette(HANDS, {0: BLACK, 1: WHITE}),
    "web palette": _palette(ODD, {0: BLACK, 225: WHITE}),
    "white is 255": _palette(HANDS * 255, {0: BLACK, 255: WHITE}),
    "nearly white": _palette(1 - HANDS, {0: (250, 252, 255), 1: (3, 1, 0)}),
    "a gray rim": _quantized(np.repeat(GRAYS[..., None], 3, -1)),
    "quantized": _quantized(np.repeat(HANDS[..., None] * np.uint8(255), 3, -1)),
    "ids with VOC's palette": _palette(HANDS, {0: BLACK, 1: RED}),
    "ids with a gray palette": _palette(HANDS, {i: (i, i, i) for i in range(256)}),
}


@pytest.mark.parametrize("kind", MASKS)
def test_binary_is_by_the_brightness_of_a_palette(tmp_path, kind):
    np.testing.assert_array_equal(_masks_of(_folder(tmp_path, MASKS[kind]), "binary: true"), HANDS)


def test_a_gif_is_read_by_its_brightness(tmp_path):
    mask = _palette(1 - HANDS, {0: WHITE, 1: BLACK}, "GIF")
    np.testing.assert_array_equal(_masks_of(_folder(tmp_path, mask, ".gif"), "binary: true"), HANDS)


@pytest.mark.parametrize("value", [0, 1])
def test_a_mask_of_one_color_is_all_hand_or_all_background(tmp_path, value):
    mask = _palette(HANDS * 0, {0: WHITE if value else BLACK})
    assert (_masks_of(_folder(tmp_path, mask), "binary: true") == value).all()


ADVISED = {
    **{
        kind: MASKS[kind]
        for kind in ("white first", "nearly white", "quantized", "white is 255", "web palette", "a gray rim")
    },
    "red and black by themselves": _palette(1 - HANDS, {0: RED, 1: BLACK}),
    "RGB": folders.png(np.array([BLACK, (250, 50, 83)], np.uint8)[HANDS]),
    "RGB, a light background": folders.png(np.array([(200, 200, 190), (250, 50, 83)], np.uint8)[HANDS]),
    "gray values with gaps": folders.png(HANDS * np.uint8(100)),
    "0 and 255": folders.png(HANDS * np.uint8(255)),
}


@pytest.mark.parametrize("kind", ADVISED)
def test_without_settings_the_advice_gives_the_hands(tmp_path, kind):
    root = _folder(tmp_path, ADVISED[kind])
    with pytest.raises(DataError) as error:
        _masks_of(root)
    assert "dataset.yaml" in str(error.value)
    advice = re.search(r"(binary: true|colors: \{.*\]\})", str(error.value))[0]
    np.testing.assert_array_equal(_masks_of(root, advice), HANDS)


@pytest.mark.parametrize("kind", ["white first", "red and black by themselves"])
def test_values_are_ids_if_the_settings_say_so(tmp_path, kind):
    root = _folder(tmp_path, ADVISED[kind])
    with pytest.raises(DataError, match="binary: false") as error:
        _masks_of(root, "classes: [background, hand]")
    assert error.value.fault == "mask format"
    np.testing.assert_array_equal(_masks_of(root, "classes: [background, hand]\nbinary: false"), 1 - HANDS)
    np.testing.assert_array_equal(_masks_of(root, "binary: false"), 1 - HANDS)


def test_colors_in_binary_masks_are_refused_with_the_line_to_write(tmp_path):
    for number, mask in enumerate((ADVISED["RGB"], _palette(HANDS * 2, {0: BLACK, 2: (250, 50, 83)}))):
        root = _folder(tmp_path / str(number), mask)
        with pytest.raises(DataError, match=r"(in|of) colors") as error:
            _masks_of(root, "binary: true")
        np.testing.assert_array_equal(_masks_of(root, re.search("colors: .*", str(error.value))[0]), HANDS)


def test_colors_may_be_those_of_a_palette(tmp_path):
    root = _folder(tmp_path, _palette(np.where(HANDS, 7, 3), {3: (9, 9, 9), 7: RED}))
    np.testing.assert_array_equal(_masks_of(root, "colors: {background: [9, 9, 9], hand: [128, 0, 0]}"), HANDS)
    # The name of the field in earlier files.
    np.testing.assert_array_equal(_masks_of(root, "colours: {background: [9, 9, 9], hand: [128, 0, 0]}"), HANDS)


def test_palettes_that_differ_from_file_to_file_are_refused(tmp_path):
    root = _folder(tmp_path, _palette(HANDS, {0: (9, 90, 90), 1: RED}))
    folders.put(root / "images" / "b.png", folders.png(folders.image("b")))
    folders.put(root / "masks" / "b.png", _palette(1 - HANDS, {0: RED, 1: (9, 90, 90)}))
    with pytest.raises(DataError, match="different palettes") as error:
        _masks_of(root)
    folders.put(root / "dataset.yaml", re.search("colors: .*", str(error.value))[0])
    source = open_source(str(root), "train+validation")
    np.testing.assert_array_equal(source[0]["mask"], source[1]["mask"])


@pytest.mark.parametrize(
    ("array", "fault"),
    [
        (np.full((24, 32), 300), "mask value"),
        (np.full((24, 32), -2), "mask value"),
        (np.zeros((24, 32)), "mask format"),
        (np.zeros((24, 32, 3), int), "mask format"),
        (np.array([{"a": 1}], object), "undecodable"),
    ],
)
def test_arrays_that_are_no_ids_are_refused(tmp_path, array, fault):
    file = io.BytesIO()
    np.save(file, array)
    with pytest.raises(DataError, match=r"a\.npy") as error:
        _masks_of(_folder(tmp_path, file.getvalue(), ".npy"), "classes: [background, hand]")
    assert error.value.fault == fault
