"""Videos: every frame once and at its own time, for files of all kinds; the same result after a killed run."""

import csv
import gc
import os
import re
import signal
import weakref
from fractions import Fraction
from pathlib import Path

import av
import clips
import cv2
import numpy as np
import pytest
import rtsp
import tiny
from PIL import Image

from refinenet_jax.data.examples import DataError
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.items import Item, PredictOptions
from refinenet_jax.inference.predict.sources import find
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.video import camera as video_camera
from refinenet_jax.inference.video import writer as video_writer
from refinenet_jax.inference.video.predict import predict_camera, predict_video
from refinenet_jax.inference.video.reader import VideoReader

NAMES = ("background", "left", "right")


class Bright(Segmenter):
    """Finds the right hand in red pixels and the left one in dark gray pixels, without a network to compile."""

    def __init__(self):
        super().__init__(tiny.Tiny(3), tiny.variables(), NAMES)

    def stream(self, images, batch_size=8):
        for image in images:
            red, green = image[..., 0] / np.float32(255), image[..., 1] / np.float32(255)
            right = np.where(red > 2 * green, red, 0.05)
            left = np.where((red < 0.28) & (right < 0.1), 0.7, 0.02)
            yield Segmentation(image, np.stack([1 - left - right, left, right], -1).astype(np.float32), NAMES)


@pytest.fixture
def segmenter():
    return Bright()


def read(path, **options):
    with VideoReader(path) as reader:
        return list(reader.frames(**options)), reader


def predict(segmenter, path, out, resume=False, **options):
    item = Item(str(path), path.name, "video")
    return predict_video(segmenter, item, out, PredictOptions(**options), {"weights": "x"}, resume)


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_times_size_and_sound_are_kept(segmenter, tmp_path):
    pts = [0, 3000, 4000, 9001, 20000, 20001, 45000]
    pictures = clips.pictures(7, (33, 47))
    source = clips.write(
        tmp_path / "clip.mp4", pictures, pts=pts, time_base=Fraction(1, 90000), pixels="yuv444p", sound="aac"
    )
    count = predict(segmenter, source, tmp_path, kinds=("masks", "overlays", "contours", "frames"))
    assert count == {"videos": 1, "frames": 7, "failed": 0}
    for kind in ("overlay", "contours"):
        found = tmp_path / f"clip_{kind}.mp4"
        assert clips.times(found) == [Fraction(time, 90000) for time in pts]
        assert {frame.shape for frame in clips.frames(found)} == {(33, 47, 3)}
        assert clips.sound_packets(found) == clips.sound_packets(source)
    frames, _ = read(source)
    assert [frame.pts * Fraction(1, 90000) for frame in frames] == clips.times(source)
    masks = clips.frames(tmp_path / "clip_mask.mkv", "gray")
    rows = table(tmp_path / "clip_frames.csv")
    assert [float(row["time"]) for row in rows] == pytest.approx([time / 90000 for time in pts], abs=1e-6)
    for frame, mask, row in zip(frames, masks, rows, strict=True):
        (expected,) = segmenter.stream([frame.image])
        np.testing.assert_array_equal(mask, expected.mask)
        assert int(row["right_area"]) == (expected.mask == 2).sum() > 200
        regions = [region for region in expected.regions() if region.class_id == 2]
        assert row["right_boxes"] == "; ".join(" ".join(map(str, region.box)) for region in regions)
        assert row["right_scores"].split("; ") == [f"{region.score:.3f}" for region in regions]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_colors_are_kept(segmenter, tmp_path):
    """In a small video, a large one, whose matrix is another, and one with the full range."""
    for size, pixels in (((48, 64), "yuv420p"), ((720, 64), "yuv420p"), ((48, 64), "yuvj420p")):
        flat = [np.full((*size, 3), (120, 120, 180), np.uint8)] * 2
        source = clips.write(tmp_path / "clip.mp4", flat, pixels=pixels, options={"crf": "1"})
        predict(segmenter, source, tmp_path, kinds=("overlays",))
        assert clips.frames(source)[1].mean((0, 1)) == pytest.approx((120, 120, 180), abs=5)
        assert clips.frames(tmp_path / "clip_overlay.mp4")[1].mean((0, 1)) == pytest.approx((120, 120, 180), abs=5)


@pytest.mark.parametrize(("turned", "mirrored"), [(0, True), (90, False), (180, False), (-90, True)])
def test_rotated_videos_are_read_and_written_upright(segmenter, turned, mirrored, tmp_path):
    """Only the upper left quarter is white, so that its position shows the rotation."""
    picture = np.full((48, 64, 3), 100, np.uint8)
    picture[:24, :32] = 255
    source = clips.write(tmp_path / "clip.mp4", [picture] * 2, turned=turned, mirrored=mirrored)
    expected = np.rot90(picture, turned // 90)
    expected = expected[:, ::-1] if mirrored else expected
    predict(segmenter, source, tmp_path, kinds=("overlays",))
    for found in (read(source)[0][1].image, clips.frames(tmp_path / "clip_overlay.mp4")[1]):
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).mean() < 12


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ten_bits.mp4", {"codec": "libx265", "pixels": "yuv420p10le", "options": {"x265-params": "log-level=none"}}),
        ("transport.ts", {"options": {"bf": "3"}, "sound": "aac"}),
        ("vp9.webm", {"codec": "libvpx-vp9", "sound": "libopus"}),
        ("raw.mov", {"codec": "mjpeg", "pixels": "yuvj420p", "sound": "pcm_s16le"}),
    ],
)
def test_formats(segmenter, name, options, tmp_path):
    pictures = clips.pictures(12)
    source = clips.write(tmp_path / name, pictures, **options)
    assert predict(segmenter, source, tmp_path, kinds=("overlays", "masks"))["frames"] == 12
    ending = "mkv" if options.get("sound") == "pcm_s16le" else "mp4"
    (found,) = tmp_path.glob("*_overlay.*")
    assert found.name == f"{source.stem}_overlay.{ending}"
    times = np.array([[float(time) for time in clips.times(path)] for path in (source, found)])
    assert times[1] - times[1, 0] == pytest.approx(times[0] - times[0, 0], abs=1.1e-3)
    assert times[1, 0] < 0.1  # streams begin at 1.4 s
    if "sound" in options:
        data = [packet for packet, _ in clips.sound_packets(found)]
        sources = [packet for packet, _ in clips.sound_packets(source)]
        assert [p[-20:] for p in data] == [p[-20:] for p in sources]  # MP4 has no headers of a stream
    for frame, picture in zip(read(source)[0], pictures, strict=True):
        assert np.abs(frame.image.astype(int) - picture).mean() < 8


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.3gp", {"sound": "aac"}),
        ("a.flv", {"codec": "flv"}),
        ("a.wmv", {"codec": "wmv2"}),
        ("a.m2ts", {}),
        ("a.h264", {}),
        ("a.vob", {"codec": "mpeg2video"}),
    ],
)
def test_further_endings_of_a_folder(name, options, tmp_path):
    clips.write(tmp_path / name, clips.pictures(4), **options)
    (item,) = find([tmp_path])
    assert item.kind == "video"
    assert len(read(item.path)[0]) == 4


@pytest.mark.parametrize(
    "stem", ["take: 1", "x" * 250, os.fsdecode(b"caf\xe9"), "cafe\u0301"], ids=["colon", "long", "latin-1", "NFD"]
)
def test_names_of_all_kinds_are_written_and_resumed(segmenter, stem, tmp_path, monkeypatch):
    """In relative paths, FFmpeg interprets the part before a colon as a protocol."""
    monkeypatch.chdir(tmp_path)
    clips.write(Path("clip.mp4"), clips.pictures(3), sound="aac").rename(f"{stem}.mp4")
    item = Item(f"{stem}.mp4", f"{stem}.mp4", "video")
    for resume in (False, True):
        assert predict_video(segmenter, item, Path("out:1"), PredictOptions(), {}, resume)["frames"] == 3
    names = {f"{item.name}_mask.mkv", f"{item.name}_overlay.mp4", f"{item.name}_frames.csv"}
    assert {path.name for path in Path("out:1").iterdir()} == names
    assert len(clips.sound_packets(tmp_path / "out:1" / f"{item.name}_overlay.mp4")) > 0


@pytest.mark.parametrize("damage", ["middle", "end"])
def test_damaged_files_give_the_frames_that_can_be_decoded(segmenter, damage, tmp_path, capsys):
    kind, options = ("mkv", {"options": {"g": "10", "bf": "0"}}) if damage == "middle" else ("ts", {"sound": "aac"})
    source = clips.write(tmp_path / f"clip.{kind}", clips.pictures(60), **options)
    content = bytearray(source.read_bytes())
    if damage == "middle":
        content[len(content) // 2 : len(content) // 2 + 400] = bytes(400)
    else:
        del content[len(content) * 2 // 3 :]
    source.write_bytes(content)
    count = predict(segmenter, source, tmp_path)
    assert 20 < count["frames"] < 60
    frames = clips.frames(tmp_path / "clip_overlay.mp4")
    assert len(frames) == len(table(tmp_path / "clip_frames.csv")) == count["frames"]
    if damage == "middle":
        assert count["failed"] == 1
        assert f"{source}: " in capsys.readouterr().err


def test_files_that_are_not_videos(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.mp4", format="PNG")
    (tmp_path / "zero.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("no video at all")
    whole = clips.write(tmp_path / "whole.mp4", clips.pictures(5), sound="aac")
    (tmp_path / "cut.mp4").write_bytes(whole.read_bytes()[:2000])
    with_sound = clips.write(tmp_path / "both.mkv", clips.pictures(5), sound="aac")
    with av.open(str(with_sound)) as container, av.open(str(tmp_path / "sound.m4a"), "w", format="mp4") as out:
        track = out.add_stream_from_template(container.streams.audio[0])
        for packet in container.demux(container.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = track
                out.mux(packet)
    # Playlists that make FFmpeg open other files.
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{with_sound}\n#EXT-X-ENDLIST\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile both.mkv\n")
    names = ("picture", "zero", "text", "cut", "list", "concat", "none")
    for name in (*(f"{name}.mp4" for name in names), "sound.m4a", "."):
        with pytest.raises(DataError, match=re.escape(str(tmp_path / name))):
            VideoReader(tmp_path / name)


def test_frames_with_too_many_pixels_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("refinenet_jax.inference.video.reader.MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(DataError, match="64 x 48"):
        VideoReader(clips.write(tmp_path / "clip.mp4", clips.pictures(2)))


class Killed(BaseException):
    pass


def die_after(segmenter, count):
    def stream(images, batch_size):
        for number, result in enumerate(Bright.stream(segmenter, images)):
            if number == count:
                raise Killed
            yield result

    object.__setattr__(segmenter, "stream", stream)


def test_killed_run_is_resumed_to_the_same_result(segmenter, tmp_path, monkeypatch):
    monkeypatch.setattr(video_writer, "SEGMENT_FRAMES", 12)
    source = clips.write(tmp_path / "clip.mp4", clips.pictures(50), sound="aac")
    options = {"kinds": ("masks", "overlays", "frames"), "batch_size": 4}
    predict(segmenter, source, tmp_path / "whole", **options)

    for stop in (5, 30, 3):
        die_after(segmenter, stop)
        with pytest.raises(Killed):
            predict(segmenter, source, tmp_path / "killed", resume=True, **options)
        assert not list((tmp_path / "killed").glob("*.*4"))
    object.__delattr__(segmenter, "stream")
    with pytest.raises(UsageError, match="other settings"):
        predict(segmenter, source, tmp_path / "killed", resume=True, **options, max_seconds=1.5)
    times = source.stat()
    os.utime(source, (0, 0))  # another file
    with pytest.raises(UsageError, match="source"):
        predict(segmenter, source, tmp_path / "killed", resume=True, **options)
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    count = predict(segmenter, source, tmp_path / "killed", resume=True, **options)
    assert count["frames"] == 50 - 24  # the second run wrote 24 before it was killed
    names = sorted(path.name for path in (tmp_path / "whole").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "killed").iterdir())
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes(), name


def test_a_time_limit_cuts_pictures_and_sound(segmenter, tmp_path):
    source = clips.write(tmp_path / "clip.mp4", clips.pictures(50), sound="aac")
    assert predict(segmenter, source, tmp_path, kinds=("overlays",), max_seconds=0.4)["frames"] == 10
    found = tmp_path / "clip_overlay.mp4"
    assert len(clips.times(found)) == 10
    assert 0.35 < clips.sound_packets(found)[-1][1] <= 0.41


def test_memory_does_not_grow_with_the_length(segmenter, tmp_path):
    """Of 100 frames only a few exist at a time."""
    alive, most = weakref.WeakSet(), 0

    class Counted(Segmentation):
        __hash__ = object.__hash__

    def counted(images, batch_size):
        nonlocal most
        for result in Bright.stream(segmenter, images):
            result = Counted(result.image, result.scores, result.class_names)
            alive.add(result)
            if len(alive) > 20:
                gc.collect()
            most = max(most, len(alive))
            yield result

    object.__setattr__(segmenter, "stream", counted)
    source = clips.write(tmp_path / "clip.mp4", clips.pictures(100))
    predict(segmenter, source, tmp_path)
    assert 1 <= most <= 12


def test_network_camera(segmenter, tmp_path, monkeypatch, capfd):
    """A stream, and an address without one, whose password is not printed; a camera that does not exist."""
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_transport;udp")
    (item,) = find([f"rtsp://127.0.0.1:{rtsp.start()}/live"])
    count = predict_camera(segmenter, item, tmp_path, PredictOptions(max_seconds=0.3))["frames"]
    assert len(clips.times(tmp_path / "camera_127.0.0.1_live_overlay.mp4")) == count > 0
    (item,) = find(["rtsp://me:secret@127.0.0.1:9/live"])
    with pytest.raises(UsageError, match=r"amera rtsp://127\.0\.0\.1:9/live"):
        predict_camera(segmenter, item, tmp_path, PredictOptions())
    with pytest.raises(UsageError, match="Camera 97"):
        predict_camera(segmenter, Item("97", "camera97", "camera"), tmp_path, PredictOptions())
    assert "WARN" not in capfd.readouterr().err


def test_ctrl_c_stops_a_camera_with_complete_files(segmenter, tmp_path, monkeypatch):
    """A file instead of a camera: OpenCV reads both in the same way."""
    clip = clips.write(tmp_path / "clip.mp4", clips.pictures(40))
    monkeypatch.setattr(video_camera, "_open", lambda source: cv2.VideoCapture(str(clip)))

    def interrupted(images, batch_size):
        for number, result in enumerate(Bright.stream(segmenter, images)):
            if number == 9:
                signal.raise_signal(signal.SIGINT)
            yield result

    object.__setattr__(segmenter, "stream", interrupted)
    count = predict_camera(segmenter, Item("0", "camera0", "camera"), tmp_path / "out", PredictOptions())
    assert 10 <= count["frames"] <= 11
    times = clips.times(tmp_path / "out" / "camera0_overlay.mp4")
    assert len(times) == count["frames"] == len(table(tmp_path / "out" / "camera0_frames.csv"))
    assert all(np.diff([float(time) for time in times]) > 0)
