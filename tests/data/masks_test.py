"""Tests of masks from black and white, palettes and colors: the right class, or advice that gives it when followed."""

import io
import re

import folders
import numpy as np
import pytest
from PIL import Image

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.sources import check_masks, open_source

NAMED = "classes: [background, left hand, right hand]\n"
IDS = folders.mask("kitchen/001")
HANDS = (IDS > 0).astype(np.uint8)
BLACK, WHITE, RED = (0, 0, 0), (255, 255, 255), (128, 0, 0)


def _encode(pixels, file_format="PNG", **options):
    file = io.BytesIO()
    (Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels).save(file, file_format, **options)
    return file.getvalue()


def _palette(indices, colors, file_format="PNG"):
    """An image file with a palette: colors by index."""
    image = Image.fromarray(indices.astype(np.uint8)).convert("P")
    table = np.zeros((256, 3), np.uint8)
    for index, color in colors.items():
        table[index] = color
    image.putpalette(table.ravel().tolist())
    return _encode(image, file_format)


def _quantized(pixels):
    """As image programs reduce colors: they choose the palette and its order."""
    return _encode(Image.fromarray(pixels).quantize(len(np.unique(pixels.reshape(-1, 3), axis=0))))


def _masks_of(root, yaml=None):
    return folders.open_all(root, yaml, "train")[0]["mask"]


def _one(root, mask, yaml=NAMED, image=None):
    """A folder of one picture with a mask file."""
    folders.put(root / "masks" / "a.png", mask if isinstance(mask, bytes) else folders.png(mask))
    folders.put(root / "images" / "a.png", folders.png(folders.image("a")) if image is None else image)
    return folders.open_all(root, yaml, "train")


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
    ("mask", "yaml"),
    [
        (HANDS * 255, "binary: true"),
        (np.where(HANDS, 128, 127).astype(np.uint8), "binary: true"),
        (HANDS, "binary: true"),
        (_encode(Image.fromarray(HANDS * 255).convert("1")), "binary: true"),
        (np.stack([HANDS * 255] * 3, -1), "binary: true"),
        (_encode(HANDS * 255, "JPEG"), "binary: true"),
        (_encode(np.stack([HANDS * 255] * 3, -1), "JPEG"), "binary: true"),
        (HANDS[..., None] * np.array([128, 0, 64], np.uint8), "colors: {background: [0, 0, 0], hand: [128, 0, 64]}"),
        (HANDS * 7, "colors: {background: [0, 0, 0], hand: [7, 7, 7]}"),
        (HANDS, None),
        (np.where(HANDS, 1, 255).astype(np.uint8), "colors: {hand: [1, 1, 1], background: [255, 255, 255]}"),
    ],
)
def test_black_and_white_and_colors_become_ids(tmp_path, mask, yaml):
    source = _one(tmp_path, mask, yaml)
    expected = HANDS if source.info.class_names[0] == "background" else 1 - HANDS
    np.testing.assert_array_equal(source[0]["mask"], expected)
    assert set(source.info.class_names) == {"background", "hand"}


def test_a_color_can_be_void(tmp_path):
    mask = np.array([(0, 0, 0), (0, 9, 0), (224, 224, 192)], np.uint8)[IDS]
    source = _one(tmp_path, mask, "colors: {background: [0, 0, 0], hand: [0, 9, 0], void: [224, 224, 192]}")
    np.testing.assert_array_equal(source[0]["mask"], np.array([0, 1, 255])[IDS])


COLORED = np.array([(0, 0, 0), (200, 0, 0), (0, 0, 200)], np.uint8)[IDS]


@pytest.mark.parametrize(
    ("mask", "yaml", "fault", "message"),
    [
        (IDS[1:], NAMED, "size mismatch", r"\[23, 32\].*\[24, 32\]"),
        (IDS + np.uint8(2), NAMED, "mask value", "has the values 3, 4, which are neither"),
        (COLORED, NAMED, "mask format", r"in colors.*\n  colors: .*hand: \[0, 0, 0\]|in colors"),
        (COLORED, "colors: {background: [0, 0, 0], hand: [200, 0, 0]}", "mask value", r"names: \[0, 0, 200\]"),
        (COLORED, "binary: true", "mask format", "in colors.* `binary: true`"),
        (_encode(HANDS * 255, "JPEG"), NAMED, "mask format", "is a JPEG file.* PNG.*binary: true"),
        (_encode(COLORED, "WEBP", lossless=True), NAMED, "mask format", "is a WEBP file"),
        (IDS.astype(np.uint16), NAMED, "mask format", "16 bits"),
        (b"", NAMED, "undecodable", r"The mask .*masks/a\.png cannot be decoded \(0 bytes"),
        (folders.png(IDS)[:60], NAMED, "undecodable", r"The mask .*masks/a\.png cannot be decoded"),
    ],
)
def test_faulty_masks_are_named_with_their_paths(tmp_path, mask, yaml, fault, message):
    with pytest.raises(DataError, match=f"(?s){message}") as error:
        _one(tmp_path, mask, yaml)[0]
    assert error.value.fault == fault
    assert str(tmp_path / "masks" / "a.png") in str(error.value)


def test_masks_of_0_and_255_are_refused_with_the_line_to_write(tmp_path):
    with pytest.raises(DataError, match=r"(?s)only the values \[0, 255\].*write into .*dataset\.yaml:\n  binary: true"):
        _one(tmp_path, HANDS * 255, None)
    with pytest.raises(DataError, match=r"(?s)only the values \[0, 255\].*write into .*dataset\.yaml:\n  binary: true"):
        check_masks(_one(tmp_path, HANDS * 255, NAMED))


def test_negatives_need_no_foreground_except_for_pasting(tmp_path):
    source = _one(tmp_path, HANDS * 255, f"{NAMED}\nnegatives: true\n")
    check_masks(source)
    with pytest.raises(DataError, match="only the values"):
        check_masks(source, negatives=False)


def test_pictures_and_masks_are_upright(tmp_path):
    pixels = folders.image("a")
    upright = _one(tmp_path / "upright", IDS, image=folders.rotated(pixels, "PNG"))[0]
    np.testing.assert_array_equal(upright["image"], pixels)
    np.testing.assert_array_equal(upright["mask"], IDS)
    stored = _one(tmp_path / "stored", np.rot90(IDS), image=folders.rotated(pixels, "PNG"))[0]
    np.testing.assert_array_equal(stored["image"], pixels)
    np.testing.assert_array_equal(stored["mask"], IDS)
    square = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)  # fits both: upright
    example = _one(tmp_path / "square", IDS[:, :24], image=folders.rotated(square, "PNG"))[0]
    np.testing.assert_array_equal(example["image"], square)


def test_colors_of_cvat_are_read_from_its_labelmap(tmp_path):
    colors = np.array([(0, 0, 0), (250, 50, 83), (1, 2, 3)], np.uint8)
    for item_id in folders.PICTURES:
        folders.put(tmp_path / "SegmentationClass" / f"{item_id}.png", folders.png(colors[folders.mask(item_id)]))
    folders.put_images(tmp_path / "JPEGImages")
    folders.put(tmp_path / "ImageSets" / "Segmentation" / "default.txt", "\n".join(folders.PICTURES))
    labelmap = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nRight_Hand:1,2,3::\nLeft hand:250,50,83::\n"
    folders.put(tmp_path / "labelmap.txt", labelmap)
    source = folders.open_all(tmp_path)
    assert source.info.class_names == folders.CLASSES
    for example in source:
        np.testing.assert_array_equal(example["mask"], folders.mask(example["id"]))
    with pytest.raises(DataError, match="does not mention: left hand"):
        folders.open_all(tmp_path, "classes: [background, right hand]")
    source = folders.open_all(tmp_path, "classes: [background, right hand]\nignore: [left hand]")
    assert set(np.unique(source[0]["mask"])) <= {0, 1}
    folders.put(tmp_path / "labelmap.txt", "hand=1")
    with pytest.raises(DataError, match=r"labelmap\.txt, line 1"):
        folders.open_all(tmp_path, "name: hands")


def test_of_what_labelme2voc_writes_names_and_pictures_are_read(tmp_path):
    for item_id in folders.PICTURES:
        ids = np.where(folders.mask(item_id) == 2, 255, folders.mask(item_id))
        folders.put(tmp_path / "SegmentationClass" / f"{item_id}.npy", b"")
        folders.put(tmp_path / "SegmentationClassPNG" / f"{item_id}.png", folders.png(ids.astype(np.uint8)))
    folders.put_images(tmp_path / "JPEGImages")
    folders.put(tmp_path / "class_names.txt", "_background_\nleft hand\n")
    source = folders.open_all(tmp_path)
    assert source.info.class_names == ("background", "left hand")
    for example in source:
        np.testing.assert_array_equal(example["mask"], np.array([0, 1, 255])[folders.mask(example["id"])])
