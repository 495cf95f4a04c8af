"""The web page on a real server: its results, also through a reverse proxy, what it refuses, and that it leaves no files."""

import base64
import http.client
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import clips
import cv2
import numpy as np
import pytest
import tiny
from PIL import Image

from refinenet_jax import __main__
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.serve import command, results

gradio_client = pytest.importorskip("gradio_client")
Page = pytest.importorskip("refinenet_jax.inference.serve.page").Page

ROOT = Path(__file__).resolve().parents[2]
SIDES = tiny.HANDS
PROGRAM = f"""
    import sys
    sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
    import argparse, tiny
    from refinenet_jax.inference.segmenter import Segmenter
    from refinenet_jax.inference.serve import command
    network = tiny.segmenter(longest_side=128)
    Segmenter.from_checkpoint = lambda path, **options: network
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    sys.exit(command.run(parser.parse_args(sys.argv[1:])))
"""
LIMITS = ("--upload-megabytes=1", "--upload-seconds=3", "--picture-megapixels=0.05", "--clip-length=2")
FILE = {"meta": {"_type": "gradio.FileData"}}


class Server:
    """Requests without a client library."""

    def __init__(self, port: int, folder: Path):
        self.port, self.folder = port, folder

    def request(self, method, path, body=None, headers=None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")

    def call(self, name: str, file: dict, headers=None) -> str:
        """Events of a call of the API, as text."""
        body = json.dumps({"data": [file | FILE, [1.0], False]})
        headers = {"Content-Type": "application/json", **(headers or {})}
        status, text = self.request("POST", f"/gradio_api/call/{name}", body, headers)
        assert status == 200, text
        return self.request("GET", f"/gradio_api/call/{name}/{json.loads(text)['event_id']}", None, headers)[1]

    def upload(self, content: bytes, headers=None) -> tuple[int, str]:
        form = (
            b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
            + content
            + b"\r\n--x--\r\n"
        )
        headers = {"Content-Type": "multipart/form-data; boundary=x", **(headers or {})}
        return self.request("POST", "/gradio_api/upload", form, headers)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Starts the command, and stops it with SIGTERM."""
    scratch = tmp_path_factory.mktemp("temporary")
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(PROGRAM), "--port=0", *LIMITS],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch), "XLA_FLAGS": ""},
    ) as process:
        try:
            lines = []
            while not (lines and lines[-1].startswith("Open http://localhost:")):
                lines.append(process.stderr.readline())
                assert lines[-1], "".join(lines)
            (folder,) = scratch.iterdir()
            yield Server(int(re.search(r":(\d+) ", lines[-1])[1]), folder)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)
        finally:
            process.kill()
    assert list(scratch.iterdir()) == []


@pytest.fixture(scope="module")
def client(server):
    return gradio_client.Client(f"http://127.0.0.1:{server.port}", verbose=False)


@pytest.fixture(scope="module")
def segmenter():
    return tiny.segmenter(longest_side=128)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """A picture with EXIF data that rotate it."""
    path = tmp_path_factory.mktemp("pictures") / "hand.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(tiny.Pictures([(90, 150)], SIDES)[0]["image"]).save(path, exif=exif, quality=95)
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip with sound, and frames at uneven times."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return clips.write(path, clips.pictures(8), pts=[0, 1, 2, 5, 6, 9, 10, 11], time_base=Fraction(1, 25), sound="aac")


@pytest.fixture(scope="module")
def proxy(server):
    """A proxy that serves the page below /hands/ and passes a Host without port."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self):
            assert self.path.startswith("/hands/")
            headers = {key: value for key, value in self.headers.items() if key.lower() not in ("host", "connection")}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))) or None
            upstream = http.client.HTTPConnection("127.0.0.1", server.port)
            upstream.request(self.command, self.path.removeprefix("/hands"), body, headers | {"Host": "localhost"})
            answer = upstream.getresponse()
            self.send_response(answer.status)
            for key, value in answer.getheaders():
                if key.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(key, value)
            self.end_headers()
            while chunk := answer.read1(65536):
                self.wfile.write(chunk)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as proxy:
        threading.Thread(target=proxy.serve_forever).start()
        yield f"http://127.0.0.1:{proxy.server_port}/hands/"
        proxy.shutdown()


def test_documented_calls(server, picture, clip, monkeypatch, tmp_path):
    """The results of a clip have its times and sound."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "serve.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("hand.jpg").write_bytes(picture.read_bytes())
    Path("clip.mp4").write_bytes(clip.read_bytes())
    names = {}
    exec(code.replace("localhost:8000", f"127.0.0.1:{server.port}"), names)
    assert names["figures"]["width"] == 90
    assert {entry["name"] for entry in names["figures"]["classes"]} == {"left", "right"}
    assert names["progress"]["frames"] == names["progress"]["of"] == 8
    overlay, masks, table = map(Path, names["files"])
    assert clips.times(overlay) == clips.times(masks) == clips.times(clip)
    assert clips.sound_packets(overlay) == clips.sound_packets(clip)
    assert {int(value) for frame in clips.frames(masks, "gray") for value in np.unique(frame)} <= {0, 1, 2}
    assert len(table.read_text().splitlines()) == 9


@pytest.mark.parametrize(("scales", "flip"), [([1.0], False), ([0.5, 1.25], True)])
def test_masks_are_those_of_predict(client, picture, segmenter, scales, flip, tmp_path, monkeypatch):
    file = gradio_client.handle_file(picture)
    overlay, mask, cutout, figures = client.predict(picture=file, scales=scales, mirror=flip, api_name="/picture")
    network = replace(segmenter, scales=tuple(scales), flip=flip)
    monkeypatch.setattr(Segmenter, "from_checkpoint", lambda path, **options: network)
    assert __main__.main(["predict", str(picture), "--checkpoint=x", "--save", "masks", f"--output={tmp_path}"]) == 0
    mask = np.array(Image.open(mask))
    np.testing.assert_array_equal(mask, np.array(Image.open(tmp_path / "hand_mask.png")))
    assert len(np.unique(mask)) == 3
    assert Image.open(overlay).size == Image.open(cutout).size == (90, 150)
    assert Image.open(cutout).mode == "RGBA"
    assert [entry["pixels"] for entry in figures["classes"]] == [(mask == 1).sum(), (mask == 2).sum()]


def test_proxy_with_another_host_and_path(proxy, picture, server):
    """Links are relative to the page; Sec-Fetch-Site, not Host, is the origin of a request."""
    client = gradio_client.Client(proxy, verbose=False)
    assert client.predict(picture=gradio_client.handle_file(picture), api_name="/picture")[3]["height"] == 150
    browser = {"Host": "localhost", "Origin": "https://hands.example", "Sec-Fetch-Site": "same-origin"}
    browser |= {"X-Forwarded-Host": "other.example", "X-Forwarded-Proto": "https"}
    status, text = server.upload(picture.read_bytes(), browser)
    assert status == 200
    events = server.call("picture", {"path": json.loads(text)[0]}, browser)
    urls = re.findall(r'"url": ?"([^"]+)"', events)
    assert len(urls) == 3
    assert all(url.startswith("./gradio_api/file=") for url in urls)


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"Host": "localhost:1"}, 200),
        ("GET", {"Host": "[::1]:8000"}, 200),
        ("GET", {"Host": "evil.example"}, 421),
        ("GET", {"Host": "localhost.evil.example"}, 421),
        ("GET", {"Host": "localhost@evil.example"}, 421),
        ("GET", {"Host": "192.168.1.7"}, 421),
        ("GET", {"Host": ""}, 421),
        ("POST", {"Host": "evil.example"}, 421),
        ("POST", {"Origin": "https://evil.example"}, 403),
        ("POST", {"Origin": "null"}, 403),
        ("POST", {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"}, 403),
        ("POST", {"Content-Length": "1000000000"}, 413),
        ("POST", {"Transfer-Encoding": "chunked"}, 411),
    ],
)
def test_refused_requests(server, method, headers, status):
    path = "/" if method == "GET" else "/gradio_api/upload"
    assert server.request(method, path, None, headers)[0] == status


def test_requests_name_neither_files_of_the_server_nor_addresses(server, picture):
    for name in ("picture", "clip"):
        assert "Web addresses" in server.call(name, {"path": "https://example.org/hand.png"})
    assert "event: error" in server.call("picture", {"path": str(picture)})
    assert server.request("GET", f"/gradio_api/file={picture}")[0] == 403


def test_page_loads_nothing_from_elsewhere(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", "/")
    response = connection.getresponse()
    assert response.getheader("Content-Security-Policy").startswith("default-src 'self'")
    page = response.read().decode()
    assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(?:https?:)?//', page)
    assert '"analytics_enabled":false' in page


def test_idle_uploads_block_nobody_and_time_out(server, picture):
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
    head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    idle = [socket.create_connection(("127.0.0.1", server.port), timeout=20) for _ in range(50)]
    for connection in idle:
        connection.sendall(head.encode())
    time.sleep(0.2)
    assert server.upload(picture.read_bytes())[0] == 200
    for connection in idle:
        with connection:
            assert connection.recv(20).split()[1] == b"408"


def test_disk_is_bounded_and_old_files_are_removed(server):
    large = server.folder / "upload"
    with large.open("wb") as file:
        file.truncate(21_000_000)
    try:
        assert server.upload(b"x")[0] == server.request("POST", "/gradio_api/queue/join", "{}")[0] == 503
        os.utime(large, (0, time.time() - 4000))
        assert server.upload(b"x")[0] == 200
        assert not large.exists()
    finally:
        large.unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("mode", "size", "fact"), [("RGB", (300, 200), "300 x 200"), ("1", (20000, 10000), "pixels"), ("", (), "damaged")]
)
def test_pictures_beyond_the_limits(client, tmp_path, mode, size, fact):
    path = tmp_path / "picture.png"
    if mode:
        Image.new(mode, size).save(path)
    else:
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(gradio_client.exceptions.AppError, match=fact):
        client.predict(picture=gradio_client.handle_file(path), api_name="/picture")


@pytest.mark.parametrize(
    ("limits", "constants", "fact"),
    [
        ({"clip_length": 0.2}, {}, "0.2 seconds"),
        ({}, {"_CLIP_FRAMES": 7}, "7 frames"),
        ({}, {"_CLIP_MEGAPIXELS": 0.001}, "64 x 48"),
        ({"clip_seconds": 1e-9}, {}, "1e-09 seconds"),
        ({"upload_megabytes": 1e-6}, {}, "space"),
    ],
)
def test_clips_beyond_the_limits(segmenter, clip, tmp_path, monkeypatch, limits, constants, fact):
    for name, value in constants.items():
        monkeypatch.setattr(results, name, value)
    with pytest.raises(UsageError, match=fact):
        list(results.predict_clip(segmenter, clip, tmp_path, results.Limits(**limits)))
    assert list(tmp_path.iterdir()) == []


def test_canceled_and_damaged_clips_leave_no_files(segmenter, clip, tmp_path):
    work = results.predict_clip(segmenter, clip, tmp_path, results.Limits())
    assert next(work) == ({"frames": 1, "of": 8}, [])
    assert list(tmp_path.iterdir())
    work.close()
    assert list(tmp_path.iterdir()) == []
    damaged = tmp_path / "clip.mp4"
    damaged.write_bytes(bytes(1000))
    with pytest.raises(UsageError) as error:
        list(results.predict_clip(segmenter, damaged, tmp_path, results.Limits()))
    assert str(tmp_path) not in str(error.value)  # paths of the server are private
    assert list(tmp_path.iterdir()) == [damaged]


def test_webcam(segmenter, tmp_path):
    """Frames are not mirrored, and leave no files."""
    image = tiny.Pictures([(90, 150)], SIDES)[0]["image"]
    encoded = base64.b64encode(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1]).decode()
    page = Page(segmenter, results.Limits(), tmp_path)
    result = segmenter(image)
    for view, expected in {"Overlay": result.overlay(), "Mask": result.mask, "Cut-out": result.cutout()}.items():
        answer = page.frame(f"data:image/png;base64,{encoded}", view, [1.0], False)
        shown = Image.open(io.BytesIO(base64.b64decode(answer.removeprefix("data:image/png;base64,"))))
        np.testing.assert_array_equal(np.array(shown), expected)
    webcams = [block for block in page.build("tiny").blocks.values() if getattr(block, "sources", []) == ["webcam"]]
    assert [block.webcam_options.mirror for block in webcams] == [False]
    assert list(tmp_path.iterdir()) == []


def test_ports_hosts_and_limits(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(UsageError, match=rf"--port={port}.*another --port"):
            command._listen("127.0.0.1", port)
    for host, port in (("127.0.0.1", 70000), ("nowhere.invalid", 0)):
        with pytest.raises(UsageError, match=rf"--host={host} --port={port}"):
            command._listen(host, port)
    for value in (0, -1, float("nan")):
        with pytest.raises(UsageError, match="--clip-length"):
            results.Limits(clip_length=value)
    for host, is_public in (("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True)):
        command._announce(host, 8000)
        assert ("password" in capsys.readouterr().err) == is_public, host
