"""Tests of what is stored of a picture, and of reading masks, whatever their names end in."""

import io
import logging
import zlib

import numpy as np
import pytest
from etils import epath
from PIL import Image

from tfds_builders.pictures import read_binary, read_grey, read_image, read_rgb

RNG = np.random.default_rng(0)
MASK = np.zeros((20, 30), np.uint8)
MASK[5:15, 8:24] = 1


def _save(tmp_path, image, form="PNG", **options):
    path = epath.Path(tmp_path / "file")
    content = io.BytesIO()
    image.save(content, form, **options)
    path.write_bytes(content.getvalue())
    return path


def _photograph(mode="RGB"):
    return Image.fromarray(RNG.integers(0, 256, (20, 30, 3), np.uint8)).convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_kept_byte_for_byte(tmp_path, mode, caplog):
    path = _save(tmp_path, _photograph(mode), "JPEG")
    with caplog.at_level(logging.INFO, logger="absl"):
        assert read_image(path, (20, 30)) == read_image(path) == path.read_bytes()
    assert not caplog.messages


def test_so_is_that_of_a_camera_with_more_pictures_behind_the_first(tmp_path):
    path = _save(tmp_path, _photograph(), "MPO", save_all=True, append_images=[_photograph()])
    with Image.open(path) as image:
        assert image.format == "MPO"
    assert read_image(path) == path.read_bytes()


@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("GIF", "P"), ("BMP", "RGB"), ("WEBP", "RGB"), ("JPEG", "CMYK")],
)
def test_other_pictures_become_png_of_the_same_pixels_and_are_told(tmp_path, form, mode, caplog):
    path = _save(tmp_path, _photograph(mode), form)
    with caplog.at_level(logging.INFO, logger="absl"):
        stored = Image.open(io.BytesIO(read_image(path, (20, 30))))
    assert (stored.format, stored.mode) == ("PNG", "RGB")
    pixels = np.asarray(Image.open(path).convert("RGB"))
    np.testing.assert_allclose(np.asarray(stored, int), pixels, atol=1 if mode == "CMYK" else 0)
    assert "file is no JPEG of colours or greys; stored as PNG" in caplog.text


def test_the_first_frame_of_an_animation_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    path = _save(tmp_path, frames[0], "GIF", save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(read_image(path))) as png:
        assert png.getpixel((3, 3)) == (255, 0, 0)


def test_pixels_are_not_turned_by_exif(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = _save(tmp_path, _photograph(), "JPEG", exif=exif)
    assert read_rgb(path, (20, 30)).shape == (20, 30, 3)
    assert read_image(path, (20, 30)) == path.read_bytes()


@pytest.mark.parametrize("form", ["JPEG", "GIF"])
def test_a_picture_cut_short_is_named(tmp_path, form):
    path = _save(tmp_path, _photograph(), form)
    path.write_bytes(path.read_bytes()[:400])
    for read in (read_image, read_rgb, read_grey):
        with pytest.raises(ValueError, match=r"file cannot be decoded \(400 bytes.*Unpack it again"):
            read(path)


def test_pictures_that_cannot_be_used_are_named(tmp_path):
    path = _save(tmp_path, _photograph(), "JPEG")
    with pytest.raises(ValueError, match=r"file has 30x20 pixels, not 20x30\. Take"):
        read_image(path, (30, 20))
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 20\n")  # PIL runs a program for these
    with pytest.raises(ValueError, match="file cannot be decoded"):
        read_image(path, (20, 30))


@pytest.mark.parametrize("read", [read_image, read_rgb, read_grey, read_binary])
def test_a_picture_that_would_fill_memory_is_refused(tmp_path, read):
    path = _save(tmp_path, Image.new("1", (8, 8)))
    content = bytearray(path.read_bytes())
    content[16:24] = (20_000).to_bytes(4, "big") * 2  # a PNG states its size here
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(ValueError, match="file has too many pixels"):
        read(path)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_black_and_white_is_read_in_every_form(tmp_path, mode, form):
    mask, soft = read_binary(_save(tmp_path, Image.fromarray(MASK * 255).convert(mode), form), (20, 30))
    np.testing.assert_array_equal(mask, MASK)
    assert (mask.dtype, soft) == (np.uint8, False)


@pytest.mark.parametrize("palette", [[0, 0, 0, 255, 255, 255], [255, 255, 255, 0, 0, 0]])
@pytest.mark.parametrize("bits", [1, 8])
def test_a_palette_is_read_by_its_colours(tmp_path, palette, bits):
    image = Image.fromarray(MASK if palette[0] == 0 else 1 - MASK, "P")
    image.putpalette(palette)
    path = _save(tmp_path, image, bits=bits)
    assert path.read_bytes()[24:26] == bytes([bits, 3])  # the header: depth, and that there is a palette
    np.testing.assert_array_equal(read_binary(path)[0], MASK)
    np.testing.assert_array_equal(read_grey(path), MASK * 255)


def test_class_ids_are_not_cut_away(tmp_path):
    mask, soft = read_binary(_save(tmp_path, Image.fromarray(MASK)))
    np.testing.assert_array_equal(mask, MASK)
    assert not soft


def test_a_mask_without_hand_is_black(tmp_path):
    assert not read_binary(_save(tmp_path, Image.fromarray(0 * MASK)))[0].any()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_mask_is_cut_in_the_middle(tmp_path, mode):
    path = _save(tmp_path, Image.fromarray(MASK * 255).convert(mode), "JPEG", quality=90)
    between = read_grey(path)
    assert ((between > 0) & (between < 255)).any()
    mask, soft = read_binary(path)
    np.testing.assert_array_equal(mask, MASK)
    assert soft


def test_grey_edges_are_halved(tmp_path):
    ramp = np.zeros((1, 20), np.uint8)
    ramp[0, 10:14] = 1, 127, 128, 255
    mask, soft = read_binary(_save(tmp_path, Image.fromarray(ramp)))
    assert np.flatnonzero(mask).tolist() == [12, 13]
    assert soft


def test_colours_of_a_mask_are_grey_where_they_may_be(tmp_path):
    """As in masks that tell left from right by colours."""
    drawn = np.stack([MASK * 255, 0 * MASK, 0 * MASK], -1)
    np.testing.assert_array_equal(read_grey(_save(tmp_path, Image.fromarray(drawn))), MASK * 76)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (MASK * 38, "is no mask of black and white: its brightest pixel has 38 of 255"),
        (np.tile(np.arange(256, dtype=np.uint8), (9, 1)), "is no mask .* has 255 of 255, and 99% are grey"),
        (np.full((20, 30, 3), (38, 75, 255), np.uint8), "has coloured pixels"),
        (np.stack([MASK * 255, MASK * 255, 0 * MASK], -1), "has coloured pixels"),
        (MASK.astype(np.uint16), "has 16 bits or more"),
    ],
    ids=["dark", "greys", "colours", "yellow", "16 bits"],
)
def test_masks_that_would_come_out_wrong_are_refused(tmp_path, mask, message):
    with pytest.raises(ValueError, match=f"file {message}"):
        read_binary(_save(tmp_path, Image.fromarray(mask)))


def test_a_mask_of_another_size_is_named(tmp_path):
    for read in (read_binary, read_grey):
        with pytest.raises(ValueError, match="file has 30x20 pixels, not 9x8"):
            read(_save(tmp_path, Image.fromarray(MASK * 255)), (8, 9))
