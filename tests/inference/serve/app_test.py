"""The API for pictures: right answers, a sentence for everything that cannot be, and limits that hold."""

import asyncio
import base64
import io
import json
import re
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor, as_completed
from importlib import resources

import cv2
import numpy as np
import pytest
import tiny
from PIL import Image

from refinenet_jax.inference import serve
from refinenet_jax.inference.segmenter import Segmenter

SIZE = (150, 260)


def _encode(image, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


def _image(seed=0, size=SIZE):
    return tiny.Pictures([size], seed=seed)[0]["image"]


def _mask(encoded):
    return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)


def test_answer_tells_what_the_network_finds(start, segmenter):
    image = _image()
    response = start().post("/api/segment", content=_encode(image))
    assert response.status_code == 200
    answer, expected = response.json(), segmenter(image)
    np.testing.assert_array_equal(_mask(base64.b64decode(answer["mask"])), expected.mask)
    assert len(np.unique(expected.mask)) == 3  # else the following says little
    assert (answer["height"], answer["width"]) == SIZE
    assert answer["inference"] == {"height": 74, "width": 128}
    assert [entry["name"] for entry in answer["classes"]] == ["background", "left", "right"]
    assert [entry["colour"] for entry in answer["classes"]] == ["#000000", "#00c878", "#3c82ff"]
    for class_id, area in zip((1, 2), answer["areas"], strict=True):
        there = int((expected.mask == class_id).sum())
        assert (area["class_id"], area["pixels"]) == (class_id, there)
        assert area["share"] == pytest.approx(there / (SIZE[0] * SIZE[1]))
        left, top, width, height = next(box["box"] for box in answer["boxes"] if box["class_id"] == class_id)
        assert (expected.mask[top : top + height, left : left + width] == class_id).any()
    regions = expected.regions()
    assert sum(area["regions"] for area in answer["areas"]) == len(regions)
    assert len(answer["boxes"]) + answer["boxes_left_out"] == len(regions)
    sizes = [box["pixels"] for box in answer["boxes"]]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", ["hand.png", "../../../etc/hand.png", "/etc/passwd", "a\0b.png", ""])
def test_names_of_uploads_mean_nothing(start, segmenter, name):
    content = _encode(_image())
    disposition = f'form-data; name="file"; filename="{name}"'.encode()
    body = b"--x\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + content + b"\r\n--x--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Accept": "image/png"}
    response = start().post("/api/segment", content=body, headers=headers)
    np.testing.assert_array_equal(_mask(response.content), segmenter(_image()).mask)


def test_overlay_as_a_picture(start, segmenter):
    response = start().post("/api/segment", content=_encode(_image()), headers={"Accept": "image/jpeg, */*;q=0.1"})
    assert response.headers["content-type"] == "image/jpeg"
    overlay = np.array(Image.open(io.BytesIO(response.content)))
    assert np.abs(overlay.astype(int) - segmenter(_image()).overlay()).mean() < 12  # JPEG of noise


def test_pictures_are_turned_as_their_exif_data_says(start, segmenter):
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = np.ascontiguousarray(np.rot90(_image()))
    response = start().post("/api/segment", content=_encode(turned, "PNG", exif=exif), headers={"Accept": "image/png"})
    np.testing.assert_array_equal(_mask(response.content), segmenter(_image()).mask)


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_of(width, height):
    """A file of a kilobyte that says it has so many pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(10**6))) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"", 400, "empty (0 bytes)"),
        (b"%PDF-1.7", 415, "no picture that can be read: PNG, JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "no picture that can be read"),
        (_encode(_image(), "JPEG")[:-200], 422, "The picture cannot be decoded"),
        (_encode(_image())[:300], 422, "The picture cannot be decoded"),
        (b"GIF89a", 422, "The picture cannot be decoded"),
        (_png_of(6000, 5000), 413, "too many pixels; at most 25 million"),
        (_png_of(50_000, 50_000), 413, "too many pixels; at most 25 million"),
        (_png_of(100, 0), 422, "The picture cannot be decoded"),
    ],
)
def test_bad_pictures_get_a_sentence(start, content, status, says):
    response = start().post("/api/segment", content=content)
    assert response.status_code == status
    assert says in response.json()["error"]
    assert "Traceback" not in response.text


@pytest.mark.parametrize("form", ["whole", "pieces", "multipart"])
def test_large_uploads_are_refused(start, form):
    content = bytes(10_000)
    pieces = (content for _ in range(3))
    body = {"whole": {"content": content}, "pieces": {"content": pieces}, "multipart": {"files": {"file": content}}}
    response = start(picture_megabytes=0.005).post("/api/segment", **body[form])
    assert response.status_code == 413
    assert response.json()["error"] == "The upload is too large; at most 0.005 MB are taken."
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("files", [{"other": b"x"}, {"file": (None, "text")}])
def test_forms_without_the_file_are_refused(start, files):
    response = start().post("/api/segment", files=files)
    assert (response.status_code, response.json()["error"]) == (400, "The form has no file in the field 'file'.")


def test_broken_forms_are_refused(start):
    client = start()
    for body, kind in ((b"junk", "multipart/form-data; boundary=x"), (b"", "multipart/form-data")):
        response = client.post("/api/segment", content=body, headers={"Content-Type": kind})
        assert response.status_code == 400
        assert response.json()["error"]


def _ask(client, messages):
    """Asks by bare ASGI, so that the client can be slow or go away; returns what was sent to it."""
    sent = []

    async def receive():
        message = messages.pop(0)
        if callable(message):
            return await message()
        return message

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "POST", "path": "/api/segment", "headers": headers, "query_string": b""}
    client.portal.call(client.app, scope | {"http_version": "1.1", "asgi": {"spec_version": "2.3"}}, receive, send)
    return sent


def test_large_uploads_are_not_read_to_the_end(start):
    messages = [{"type": "http.request", "body": bytes(1000), "more_body": True}] * 100
    assert _ask(start(picture_megabytes=0.005), messages)[0]["status"] == 413
    assert len(messages) == 94


def test_slow_uploads_end(start):
    async def never():
        await asyncio.sleep(60)

    sent = _ask(start(upload_seconds=0.1), [{"type": "http.request", "body": b"a", "more_body": True}, never])
    assert sent[0]["status"] == 408
    assert "did not arrive within 0.1 seconds" in sent[1]["body"].decode()


@pytest.fixture
def gate(monkeypatch):
    """The network waits until this is set; its list tells how many pictures came to it."""
    event, original = threading.Event(), Segmenter.__call__
    event.calls = []

    def wait(self, image):
        event.calls.append(image)
        assert event.wait(60)
        return original(self, image)

    monkeypatch.setattr(Segmenter, "__call__", wait)
    yield event
    event.set()


def test_who_finds_no_place_is_told_to_come_again(start, gate):
    client, content = start(waiting=2), _encode(_image())
    with ThreadPoolExecutor(4) as pool:
        requests = [pool.submit(client.post, "/api/segment", content=content) for _ in range(4)]
        refused = next(as_completed(requests, timeout=60)).result()
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) > 0
        assert "Too many requests at once" in refused.json()["error"]
        gate.set()
        assert sorted(request.result().status_code for request in requests) == [200, 200, 200, 503]
    assert client.post("/api/segment", content=content).status_code == 200


def test_what_takes_too_long_is_given_up_and_its_place_is_free_again(start, gate):
    client, content = start(waiting=1, picture_seconds=0.1), _encode(_image())
    for _ in range(3):
        response = client.post("/api/segment", content=content)
        assert response.status_code == 504
        assert response.json()["error"] == "This takes longer than 0.1 seconds; send something smaller."
    assert len(gate.calls) == 1  # the others never began


def test_nobody_works_for_who_is_gone(start, gate):
    client = start()
    gone = [{"type": "http.request", "body": _encode(_image())}, {"type": "http.disconnect"}]
    assert _ask(client, gone.copy()) == []
    assert _ask(client, gone.copy()) == []
    gate.set()
    assert client.post("/api/segment", content=_encode(_image())).status_code == 200
    assert len(gate.calls) == 2  # the first, and the one that was waited for


def test_requests_at_one_time_get_their_own_answers(start, segmenter):
    client, images = start(waiting=8), [_image(seed) for seed in range(6)]
    assert len({segmenter(image).mask.tobytes() for image in images}) == 6
    with ThreadPoolExecutor(6) as pool:
        responses = pool.map(
            lambda image: client.post("/api/segment", content=_encode(image), headers={"Accept": "image/png"}), images
        )
        for image, response in zip(images, responses, strict=True):
            np.testing.assert_array_equal(_mask(response.content), segmenter(image).mask)


def test_a_fault_of_ours_shows_no_traceback(start, monkeypatch):
    def fail(self, image):
        raise RuntimeError("secret")

    monkeypatch.setattr(Segmenter, "__call__", fail)
    client = start()
    client._transport.raise_server_exceptions = False
    response = client.post("/api/segment", content=_encode(_image()))
    assert (response.status_code, response.json()) == (500, {"error": "The server failed; its terminal tells why."})
    assert "default-src 'none'" in response.headers["content-security-policy"]


def test_model_and_health(start):
    client = start(picture_megabytes=3)
    model = client.get("/api/model").json()
    assert (model["name"], model["longest_side"], model["scales"], model["flip"]) == ("tiny", 128, [1.0], False)
    assert [entry["name"] for entry in model["classes"]] == ["background", "left", "right"]
    assert model["limits"]["picture"]["megabytes"] == 3
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/api/segment").status_code == 405
    assert client.get("/../../etc/passwd").status_code == 404
    assert json.loads(client.get("/page.py").text)["error"] == "Not Found"


def test_page_is_served_and_needs_nothing_else(start):
    client = start()
    text = {}
    kinds = {
        "/": "text/html",
        "/page.css": "text/css",
        "/page.js": "text/javascript",
        "/page_draw.js": "text/javascript",
    }
    for path, kind in kinds.items():
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        text[path] = response.text
    for found in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[\w/.-]*", "".join(text.values())):
        assert found == "http://www.w3.org/2000/svg"  # a name, not an address
    assert set(re.findall(r'(?:src|href)="(/[^"]*)"', text["/"])) == kinds.keys() - {"/"}
    # What the policy would keep from running.
    assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|javascript:", text["/"])
    assert "unsafe" not in client.get("/").headers["content-security-policy"]


def test_script_and_page_fit_together():
    page, script = (resources.files(serve).joinpath(name).read_text() for name in ("page.html", "page.js"))
    there = re.findall(r'\sid="([\w-]+)"', page)
    assert len(there) == len(set(there))
    assert set(re.findall(r'\$\("([\w-]+)"\)', script)) <= set(there)
    assert set(re.findall(r'<label[^>]*\sfor="([\w-]+)"', page)) <= set(there)
