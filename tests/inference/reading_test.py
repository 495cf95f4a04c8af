"""Pictures from all sources; errors name the file and its format."""

import io
import sys
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from refinenet_jax.data.examples import DataError
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import reading


@pytest.fixture
def image():
    rows, columns = np.mgrid[:40, :56]
    return np.stack([rows * 6, columns * 4, rows + columns], -1).astype(np.uint8)


def _saved(image, form, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(("form", "opener"), [("HEIF", "pillow_heif"), ("AVIF", None)])
def test_heif_by_content_and_upright(form, opener, image, tmp_path):
    if opener:
        pytest.importorskip(opener).register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    (tmp_path / "IMG_1.jpg").write_bytes(_saved(image, form, quality=95, exif=exif.tobytes()))
    found = reading.read(tmp_path / "IMG_1.jpg")
    expected = np.rot90(image, -1)
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).mean() < 4


def test_heic_without_its_package_names_the_extra(tmp_path, monkeypatch):
    """A HEIC file called .jpg, detected by its first bytes."""
    (tmp_path / "IMG_1.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(DataError, match=r"IMG_1\.jpg is a HEIC picture.*refinenet-jax\[heif\]"):
        reading.read(tmp_path / "IMG_1.jpg")


@pytest.mark.parametrize("brand", [b"heic", b"avif"])
def test_damaged_heif_is_one_error(brand, tmp_path):
    pytest.importorskip("pillow_heif")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x14ftyp" + brand + b"\0\0\0\0mif1" + bytes(40))
    with pytest.raises(DataError, match=r"a\.heic is a (HEIC|AVIF) picture that cannot be decoded"):
        reading.read(tmp_path / "a.heic")


def test_arrays_pil_images_and_paths_are_the_same_picture(image, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    exif = Image.Exif()
    exif[0x0112] = 3
    path = tmp_path / "a.png"
    path.write_bytes(_saved(image, "PNG", exif=exif))
    expected = image[::-1, ::-1]
    for given in (path, str(path), "~/a.png", Image.open(path), Image.open(path).convert("RGBA")):
        np.testing.assert_array_equal(reading.to_rgb(given), expected)
    assert reading.to_rgb(image) is image


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        ([[1, 2, 3]], "list"),
        (None, "NoneType"),
        (jnp.zeros((4, 5, 3), jnp.uint8), "Array"),
        (Image.new("I;16", (4, 4)), "mode I;16"),
        (np.zeros((4, 5, 3), np.float32), r"float32 \[4, 5, 3\]"),
        (np.zeros((4, 5), np.uint8), r"uint8 \[4, 5\]"),
        (np.zeros((4, 5, 4), np.uint8), r"uint8 \[4, 5, 4\]"),
        (np.zeros((0, 5, 3), np.uint8), r"uint8 \[0, 5, 3\]"),
    ],
)
def test_other_arguments_are_refused(given, fact):
    with pytest.raises(UsageError, match=fact):
        reading.to_rgb(given)


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, content, *arguments):
        self._content = content
        super().__init__(*arguments)

    def do_GET(self):
        self.send_response(200 if self.path == "/a.png" else 404)
        self.end_headers()
        self.wfile.write(self._content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(image):
    with HTTPServer(("127.0.0.1", 0), partial(_Handler, _saved(image, "PNG"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_downloads_have_limits(server, image, monkeypatch):
    np.testing.assert_array_equal(reading.read(f"{server}/a.png"), image)
    with pytest.raises(DataError, match=r"b\.png cannot be downloaded.*404"):
        reading.read(f"{server}/b.png")
    with monkeypatch.context() as patched:
        patched.setattr(reading, "DOWNLOAD_BYTES", 100)
        with pytest.raises(DataError, match=r"a\.png cannot be downloaded"):
            reading.read(f"{server}/a.png")
    monkeypatch.setattr(reading, "DOWNLOAD_SECONDS", -1)
    with pytest.raises(DataError, match=r"a\.png cannot be downloaded.*-1 s"):
        reading.read(f"{server}/a.png")
