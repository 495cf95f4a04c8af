"""Tests of decoding: formats by content, values as they are stored, and nothing half-decoded."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from refinenet_jax.data import images
from refinenet_jax.data.examples import DataError

SHAPE = (40, 60)
ROWS, COLUMNS = np.indices(SHAPE)
PICTURE = np.stack([ROWS * 4, COLUMNS * 4, ROWS + COLUMNS], -1).astype(np.uint8)
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")


def _encode(pixels, file_format="PNG", mode=None, **options) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, file_format, **options)
    return file.getvalue()


def _png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize("file_format", FORMATS)
def test_formats_are_detected_by_content(file_format):
    encoded = _encode(PICTURE, file_format)
    assert images.sniff(encoded) == file_format
    decoded = images.decode_rgb(encoded, "it")
    assert (decoded.shape, decoded.dtype) == ((*SHAPE, 3), np.uint8)
    assert decoded.flags.writeable
    off = np.abs(decoded.astype(int) - PICTURE)
    assert off.max() <= {"JPEG": 30, "WEBP": 50, "GIF": 60}.get(file_format, 0)
    assert off.mean() < 12


@pytest.mark.parametrize("content", [b"", b"\x89PN", b"<svg/>", b"RIFF\0\0\0\0WAVE", b"P6 1 1 255", b"\x93NUMPY"])
def test_what_is_no_image_is_refused(content):
    assert images.sniff(content) is None
    with pytest.raises(
        DataError, match=rf"The image x\.jpg cannot be decoded \({len(content)} bytes.*replace"
    ) as error:
        images.decode_rgb(content, "The image x.jpg")
    assert error.value.fault == "undecodable"


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("decode", [images.decode_rgb, images.decode_mask])
def test_files_cut_short_are_refused(file_format, decode):
    noise = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
    encoded = _encode(noise, file_format)
    for size in (len(encoded) * 19 // 20, len(encoded) // 2, 20, 9):
        with pytest.raises(DataError, match="cannot be decoded") as error:
            decode(encoded[:size], "it")
        assert error.value.fault == "undecodable"
        with pytest.raises(DataError, match="cannot be decoded"):  # as interrupted downloads leave files
            decode(encoded[:size] + bytes(len(encoded) - size) if file_format == "JPEG" else encoded[:size], "it")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_a_png_with_a_flipped_bit_is_refused_or_decoded_correctly(mode):
    encoded = _encode(PICTURE, mode=mode)
    decoders = (images.decode_rgb, images.decode_mask)
    sound = [decode(encoded, "it") for decode in decoders]
    rng, refused = np.random.default_rng(0), 0
    for position in rng.integers(8, len(encoded), 200):
        damaged = bytearray(encoded)
        damaged[position] ^= 1 << rng.integers(8)
        for decode, pixels in zip(decoders, sound, strict=True):
            try:
                np.testing.assert_array_equal(decode(bytes(damaged), "it"), pixels)
            except DataError:
                refused += 1
    assert refused > 200


@pytest.mark.parametrize("size", [(20_000, 20_000), (2**31 - 1, 2**31 - 1), (9_460, 9_460)])
@pytest.mark.parametrize("decode", [images.decode_rgb, images.decode_mask])
def test_bombs_are_refused_by_their_header(size, decode):
    with pytest.raises(DataError, match=r"too many pixels .*at most 89,478,485") as error:
        decode(_png_header(*size), "it")
    assert error.value.fault == "undecodable"


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [("L", "JPEG"), ("L", "PNG"), ("LA", "PNG"), ("RGBA", "PNG"), ("CMYK", "JPEG"), ("1", "PNG")],
)
def test_other_modes_become_rgb(mode, file_format):
    image = Image.fromarray(PICTURE).convert(mode)
    decoded = images.decode_rgb(_encode(image, file_format, quality=95), "it")
    assert decoded.shape == (*SHAPE, 3)
    assert np.abs(decoded.astype(int) - np.asarray(image.convert("RGB"))).mean() < 3


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_bits_that_are_stored_in_16_are_scaled_by_their_depth(bits, file_format):
    deep = (ROWS * ((1 << bits) - 1) // ROWS.max()).astype(np.uint16)
    decoded = images.decode_rgb(_encode(deep, file_format), "it")
    np.testing.assert_array_equal(decoded[..., 1], deep >> (bits - 8))


@pytest.mark.parametrize("options", [{}, {"quality": 95}, {"mode": "L"}])
def test_a_jpeg_that_lacks_nothing_but_its_end_marker_is_decoded(options, capsys):
    noise = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
    encoded = _encode(noise, "JPEG", **options)
    for number, cut in enumerate((encoded[:-2], encoded[:-1], encoded[:-2] + bytes(99))):
        what = f"The image {options} {number}.jpg"
        np.testing.assert_array_equal(images.decode_rgb(cut, what), images.decode_rgb(encoded, "it"))
        images.decode_rgb(cut, what)
        assert capsys.readouterr().err.count(what) == 1
        images.decode_mask(cut, "it")


@pytest.mark.parametrize("numbers", [ROWS.astype(np.float32), ROWS.astype(np.int32), PICTURE.astype(np.float32)])
def test_pictures_of_32_bit_numbers_are_refused(numbers):
    encoded = _encode(numbers, "TIFF") if numbers.ndim == 2 else cv2.imencode(".tiff", numbers)[1].tobytes()
    with pytest.raises(DataError, match=r"The image x\.tif") as error:
        images.decode_rgb(encoded, "The image x.tif")
    assert error.value.fault == "undecodable"


def test_of_a_moving_picture_the_first_frame_is_taken():
    frames = [Image.fromarray(np.full((*SHAPE, 3), value, np.uint8)) for value in (200, 30)]
    decoded = images.decode_rgb(_encode(frames[0], "GIF", save_all=True, append_images=frames[1:]), "it")
    assert (decoded == 200).all()


@pytest.mark.parametrize("exif_orientation", range(1, 9))
def test_orientation_is_read_and_undone_as_viewers_do(exif_orientation):
    exif = Image.Exif()
    exif[0x0112] = exif_orientation
    for file_format in ("PNG", "JPEG", "WEBP"):
        assert images.orientation(_encode(PICTURE, file_format, exif=exif)) == exif_orientation
    with Image.open(io.BytesIO(_encode(PICTURE, exif=exif))) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(images.turn_upright(PICTURE, exif_orientation), expected)


def test_an_invalid_orientation_is_ignored():
    exif = Image.Exif()
    exif[0x0112] = 77
    for encoded in (_encode(PICTURE), _encode(PICTURE, "JPEG", exif=exif), b"", b"\xff\xd8\xff\xe1\0\x08Exif\0\0MM"):
        assert images.orientation(encoded) == 1
    assert images.orientation(_encode(PICTURE, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")) == 1


IDS = (ROWS // 5 % 2 + COLUMNS // 7 % 2).astype(np.uint8)  # 0, 1, 2


def _indexed(bits):
    image = Image.fromarray(np.minimum(IDS, 2**bits - 1), "P" if bits > 1 else None).convert("P")
    image.putpalette([255, 255, 255, 0, 0, 128, 9, 9, 9, 128, 0, 0])
    return image


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_are_indices_not_colors(bits):
    encoded = _encode(_indexed(bits), bits=bits)
    assert encoded[24:26] == bytes([bits, 3])  # the header: depth, and that there is a palette
    np.testing.assert_array_equal(images.decode_mask(encoded, "it"), np.minimum(IDS, 2**bits - 1))
    assert images.has_palette(encoded)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gray_values_are_not_stretched(bits):
    ids = np.minimum(IDS, 2**bits - 1)
    packed = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].ravel()).tobytes() for row in ids]
    header = struct.pack(">IIBBBBB", *SHAPE[::-1], bits, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in packed))), (b"IEND", b"")]
    encoded = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    decoded = images.decode_mask(encoded, "it")
    np.testing.assert_array_equal(decoded, ids)
    assert decoded.dtype == np.uint8


def test_three_equal_channels_are_one():
    ids = np.stack([IDS] * 3, -1)
    np.testing.assert_array_equal(images.decode_mask(_encode(ids), "it"), IDS)
    np.testing.assert_array_equal(images.decode_mask(_encode(ids, mode="RGBA"), "it"), IDS)
    np.testing.assert_array_equal(images.decode_mask(_encode(IDS, mode="LA"), "it"), IDS)
    np.testing.assert_array_equal(images.decode_mask(_encode(PICTURE, mode="RGBA"), "it"), PICTURE)


@pytest.mark.parametrize("deep", [IDS.astype(np.uint16), IDS.astype(np.int32)])
def test_masks_of_16_bits_are_refused(deep):
    with pytest.raises(DataError, match=r"The mask m\.png has 16 bits or more") as error:
        images.decode_mask(_encode(deep, "PNG" if deep.dtype == np.uint16 else "TIFF"), "The mask m.png")
    assert error.value.fault == "mask format"


def test_a_file_that_cannot_be_read_is_missing(tmp_path):
    with pytest.raises(DataError, match=r"1\.jpg cannot be read \(No such file") as error:
        images.read(tmp_path / "1.jpg")
    assert error.value.fault == "missing"
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(DataError, match=r"huge\.jpg has 1,099,511,627,776 bytes"):
        images.read(tmp_path / "huge.jpg")


@pytest.mark.parametrize("exif_orientation", range(1, 9))
@pytest.mark.parametrize("size", [(80, 96), (83, 101)])
def test_reduced_jpeg_shows_the_means_of_blocks(size, exif_orientation):
    """Where the picture is turned, no block may be cut off at its start."""
    rows, columns = np.indices(size)
    encoded = _encode(np.stack([rows * 3, columns * 2, rows + columns], -1).astype(np.uint8), "JPEG", quality=95)
    picture = images.Picture(encoded, "it", orientation=exif_orientation)
    whole = picture.decode()
    assert picture.size == whole.shape[:2]
    np.testing.assert_array_equal(whole, images.turn_upright(images.decode_rgb(encoded, "it"), exif_orientation))
    assert picture.reductions == ((1, 2, 4, 8) if exif_orientation == 1 or size == (80, 96) else (1,))
    for by in picture.reductions:
        reduced = picture.decode(by)
        assert reduced.shape == (*(-(-n // by) for n in picture.size), 3)
        height, width = (n // by for n in whole.shape[:2])
        blocks = whole[: height * by, : width * by].reshape(height, by, width, by, 3).mean((1, 3))
        assert np.abs(reduced[:height, :width] - blocks).mean() < 1.5
