"""The API for clips: the video and the table come back, limits hold, and nothing stays on the disk."""

import base64
import csv
import io
import json
import time

import av
import numpy as np
import pytest
import tiny

from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.serve import clips

FRAMES, SIZE, RATE = 12, (64, 96), 10


@pytest.fixture(scope="module")
def clip():
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.height, stream.width, stream.pix_fmt = *SIZE, "yuv420p"
        for picture in tiny.Pictures([SIZE] * FRAMES):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture["image"], "rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def _frames(encoded):
    with av.open(io.BytesIO(encoded)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def _rows(table):
    return list(csv.DictReader(io.StringIO(table)))


def test_video_and_table_come_back(start, clip, segmenter):
    answer = start().post("/api/video", content=clip).json()
    assert (answer["frames"], answer["width"], answer["height"]) == (FRAMES, SIZE[1], SIZE[0])
    assert answer["frames_per_second"] == RATE
    rows, overlay = _rows(answer["table"]), _frames(base64.b64decode(answer["overlay"]))
    assert len(rows) == len(overlay) == FRAMES
    assert answer["overlay_type"] == "video/mp4"
    for row, before, after in zip(rows, _frames(clip), overlay, strict=True):
        result = segmenter(before)
        for class_id, name in ((1, "left"), (2, "right")):
            there = (result.mask == class_id).sum()
            assert abs(int(row[f"{name}_area"]) - there) <= 0.03 * before[..., 0].size  # colours by another decoder
        assert np.abs(after.astype(int) - result.overlay()).mean() < 25
    assert sum(int(row["left_area"]) for row in rows) > 0


def test_each_can_be_had_alone(start, clip):
    client = start()
    video = client.post("/api/video", files={"file": ("../x", clip)}, headers={"Accept": "video/mp4"})
    assert video.headers["content-type"] == "video/mp4"
    assert len(_frames(video.content)) == FRAMES
    table = client.post("/api/video", content=clip, headers={"Accept": "text/csv"})
    assert table.headers["content-type"].startswith("text/csv")
    assert len(_rows(table.text)) == FRAMES


def test_sound_stays(start):
    """Of a kind that MP4 has not."""
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        video, sound = container.add_stream("libx264", rate=RATE), container.add_stream("pcm_s16le", rate=8000)
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        for picture in tiny.Pictures([SIZE] * 3):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture["image"], "rgb24")))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 2400 * sound.channels), np.int16), "s16", sound.layout.name)
        samples.sample_rate = 8000
        container.mux(sound.encode(samples))
        for stream in (video, sound):
            container.mux(stream.encode())
    answer = start().post("/api/video", content=file.getvalue()).json()
    assert answer["overlay_type"] == "video/x-matroska"
    with av.open(io.BytesIO(base64.b64decode(answer["overlay"]))) as container:
        assert [stream.codec_context.name for stream in container.streams.audio] == ["pcm_s16le"]


def test_lines_tell_of_progress(start, clip, monkeypatch):
    _slow_down(monkeypatch)
    response = start().post("/api/video", content=clip, headers={"Accept": "application/x-ndjson"})
    *progress, answer = map(json.loads, response.text.splitlines())
    assert progress
    assert all(line["of"] == FRAMES and 0 <= line["frames"] <= FRAMES for line in progress)
    assert answer["frames"] == FRAMES


def test_what_fails_under_way_is_told_in_the_last_line(start, clip, monkeypatch):
    _slow_down(monkeypatch)
    client = start(clip_seconds=0.4)
    response = client.post("/api/video", content=clip, headers={"Accept": "application/x-ndjson"})
    assert response.status_code == 200
    assert json.loads(response.text.splitlines()[-1]) == {
        "error": "This takes longer than 0.4 seconds; send something smaller."
    }
    assert client.post("/api/video", content=clip).status_code == 504


@pytest.mark.parametrize("accept", ["*/*", "application/x-ndjson"])
@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"clip_length": 1.0}, "The clip lasts 1 seconds; at most 1 are taken. Cut it."),
        ({"clip_frames": 11}, "The clip has too many frames; at most 11 are taken. Cut it."),
        ({"clip_megapixels": 0.005}, "The clip's frames have 96 x 64 pixels; at most 0.005 million are taken."),
        ({"clip_megabytes": 0.001}, "The upload is too large; at most 0.001 MB are taken."),
    ],
)
def test_limits_hold(start, clip, limits, says, accept):
    response = start(**limits).post("/api/video", content=clip, headers={"Accept": accept})
    assert (response.status_code, response.json()["error"]) == (413, says)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("_MOST_ROOM", 0.5, "The overlay of this clip takes too much room."),
        ("_check", None, "too many frames; at most 5"),
    ],
)
def test_limits_hold_where_a_file_does_not_tell(start, clip, monkeypatch, name, value, says):
    """Of frames: as if the header told nothing."""
    monkeypatch.setattr(clips, name, value or (lambda reader, limits: None))
    response = start(clip_frames=5 if value is None else 100, clip_megabytes=len(clip) * 1.01e-6).post(
        "/api/video", content=clip
    )
    assert response.status_code == 413
    assert says in response.json()["error"]


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (b"", 400, "The upload is empty (0 bytes)."),
        (b"%PDF-1.7", 422, "The clip cannot be opened as a video"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 422, "The clip cannot be opened as a video"),
        (bytes(5000), 422, "The clip cannot be opened as a video"),
    ],
)
def test_what_is_no_clip_gets_a_sentence(start, scratch, content, status, says):
    response = start().post("/api/video", content=content)
    assert response.status_code == status
    assert says in response.json()["error"]
    assert str(scratch) not in response.text


def test_clips_without_frames_get_a_sentence(start, clip):
    head = clip[: clip.index(b"mdat") + 4] + bytes(len(clip) - clip.index(b"mdat") - 4)
    response = start().post("/api/video", content=head)
    assert response.status_code == 422
    assert response.json()["error"].startswith("The clip ")


def test_folders_are_empty_after_each_request(start, clip, scratch):
    client = start()
    client.post("/api/video", content=clip)
    client.post("/api/video", content=clip[:1000])
    (work,) = scratch.iterdir()
    deadline = time.monotonic() + 30
    while len(list(work.iterdir())) > 1 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [path.name for path in work.iterdir()] == ["lock"]


def test_nobody_works_for_who_is_gone(start, clip, monkeypatch):
    calls = _slow_down(monkeypatch)
    client = start()
    messages = [{"type": "http.request", "body": clip}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        raise AssertionError(message)

    scope = {"type": "http", "method": "POST", "path": "/api/video", "headers": [(b"host", b"localhost")]}
    scope |= {"query_string": b"", "http_version": "1.1", "asgi": {"spec_version": "2.3"}}
    client.portal.call(client.app, scope, receive, send)
    assert client.post("/api/segment", content=b"GIF89a").status_code == 422  # after it, in the same thread
    assert 0 < len(calls) < FRAMES


def _slow_down(monkeypatch):
    """The network takes a tenth of a second for a frame; the list grows with each."""
    original, calls = Segmenter.prepare, []

    def prepare(self, image):
        calls.append(1)
        time.sleep(0.1)
        return original(self, image)

    monkeypatch.setattr(Segmenter, "prepare", prepare)
    return calls
