"""Tests of what is stored of a picture, and of reading masks, whatever their names end in."""

import io
import zlib

import numpy as np
import pytest
from etils import epath
from PIL import Image

from tfds_builders.pictures import read_binary, read_gray, read_image, read_rgb

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


def test_a_jpeg_is_kept_byte_for_byte(tmp_path):
    """Also a gray one, and one that EXIF turns."""
    exif = Image.Exif()
    exif[0x0112] = 6
    for mode, options in (("RGB", {}), ("L", {}), ("RGB", {"exif": exif})):
        path = _save(tmp_path, _photograph(mode), "JPEG", **options)
        assert read_image(path, (20, 30)) == path.read_bytes()
        assert read_rgb(path, (20, 30)).shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("GIF", "P"), ("JPEG", "CMYK")],
)
def test_other_pictures_become_png_of_the_same_pixels(tmp_path, form, mode):
    path = _save(tmp_path, _photograph(mode), form)
    stored = Image.open(io.BytesIO(read_image(path, (20, 30))))
    assert (stored.format, stored.mode) == ("PNG", "RGB")
    np.testing.assert_array_equal(np.asarray(stored), np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("form", ["JPEG", "GIF", "PNG"])
def test_damaged_pictures_are_named(tmp_path, form):
    path = _save(tmp_path, _photograph(), form)
    whole = path.read_bytes()
    end = whole[:-2] if form == "JPEG" else whole[:-20]
    flipped = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:] if form == "PNG" else b""
    for content in (whole[:400], end, flipped, b"", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 20\n"):
        path.write_bytes(content)
        for read in (read_image, read_rgb, read_gray):
            with pytest.raises(ValueError, match=rf"file cannot be decoded \({len(content)} bytes"):
                read(path)


@pytest.mark.parametrize("read", [read_image, read_rgb, read_gray, read_binary])
def test_another_size_and_one_that_would_fill_memory_are_refused(tmp_path, read):
    path = _save(tmp_path, Image.fromarray(MASK * 255))
    with pytest.raises(ValueError, match="file has 30x20 pixels, not 20x30"):
        read(path, (30, 20))
    content = bytearray(path.read_bytes())
    for side in (10_000, 20_000):  # beyond PIL's warning, and its error
        content[16:24] = side.to_bytes(4, "big") * 2
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"file .*pixels"):
            read(path)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_black_and_white_is_read_in_every_form(tmp_path, mode, form):
    mask = read_binary(_save(tmp_path, Image.fromarray(MASK * 255).convert(mode), form), (20, 30))
    np.testing.assert_array_equal(mask, MASK, strict=True)


def test_class_ids_are_not_cut_away(tmp_path):
    for mask in (MASK, 0 * MASK):
        np.testing.assert_array_equal(read_binary(_save(tmp_path, Image.fromarray(mask))), mask)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_jpeg_mask_is_cut_at_128(tmp_path, mode):
    path = _save(tmp_path, Image.fromarray(MASK * 255).convert(mode), "JPEG", quality=90)
    between = read_gray(path)
    assert ((between > 0) & (between < 255)).any()
    np.testing.assert_array_equal(read_binary(path), MASK)
    ramp = np.zeros((1, 20), np.uint8)
    ramp[0, 10:14] = 1, 127, 128, 255
    assert np.flatnonzero(read_binary(_save(tmp_path, Image.fromarray(ramp)))).tolist() == [12, 13]


@pytest.mark.parametrize(
    ("mask", "fact"),
    [
        (MASK * 38, "38 of 255"),
        (np.tile(np.arange(256, dtype=np.uint8), (9, 1)), "99% are gray"),
        (np.full((20, 30, 3), (38, 75, 255), np.uint8), "colored"),
        (np.stack([MASK * 255, MASK * 255, 0 * MASK], -1), "colored"),
        (MASK.astype(np.uint16), "I;16"),
    ],
    ids=["dark", "grays", "colors", "yellow", "16 bits"],
)
def test_masks_that_would_come_out_wrong_are_refused(tmp_path, mask, fact):
    with pytest.raises(ValueError, match=f"file .*{fact}"):
        read_binary(_save(tmp_path, Image.fromarray(mask)))
