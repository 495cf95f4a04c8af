"""Writes the results of a video in segments of some seconds, and joins them to the final files.

While a video is processed, a hidden folder next to its results, .NAME.parts, contains

    state.json         settings of the run, number of frames of every complete segment, time of the last frame
    0000.overlays.nut  segment 0 of a kind, and 0000.frames.csv

Files not listed in state.json belong to the segment in which a run was killed; they are written again. Encoders restart in
every segment, whether or not the run was interrupted, so that the result is identical.
"""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.outputs import cannot_write, prepare_folder, write_whole
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.video.joining import join, sound_codecs
from refinenet_jax.inference.video.reader import VideoFormat, ffmpeg_path

# Kinds of results, and the ends of their names.
KINDS = {"masks": "_mask", "overlays": "_overlay", "contours": "_contours", "frames": "_frames"}
SEGMENT_FRAMES = 300

# Codecs of sound in MP4; with any other the file is Matroska.
_MP4_SOUND = {"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "mp3float", "opus", "libopus"}
# No B-frames: packets are in the order of time, and segments do not overlap. No macroblock tree (mbtree): it is not
# deterministic on a loaded machine, and a resumed video would sometimes differ by some bytes.
_H264 = {"crf": "18", "preset": "veryfast", "bf": "0", "mbtree": "0"}


def paths(root: Path, name: str, kinds: Sequence[str], audio_codecs: Sequence[str] = ()) -> dict[str, Path]:
    """Returns the files of one video by kind, without kinds that videos do not have."""
    ending = ".mp4" if set(audio_codecs) <= _MP4_SOUND else ".mkv"
    endings = {"masks": ".mkv", "frames": ".csv"}
    return {kind: root / f"{name}{KINDS[kind]}{endings.get(kind, ending)}" for kind in kinds if kind in KINDS}


def existing(root: Path, name: str, kinds: Sequence[str]) -> dict[str, Path]:
    """Returns the existing files, with either format of sound."""
    choices = [paths(root, name, kinds, sound).items() for sound in ((), ("pcm_s16le",))]
    return {kind: path for choice in choices for kind, path in choice if path.exists()}


class VideoWriter:
    """Writes the results of one video. Frames are added in order; `finish` creates the files.

    Attributes:
      video: format of the frames.
      frames: number of frames in complete segments.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        video: VideoFormat,
        class_names: Sequence[str],
        kinds: Sequence[str],
        settings: dict | None = None,
        resume: bool = False,
    ):
        """Starts a video, or resumes a killed run.

        Args:
          root: folder for the results.
          name: name of the video, relative to `root`.
          video: format of the frames.
          class_names: names of the classes, background first.
          kinds: kinds of results; those that videos do not have are ignored.
          settings: everything that the results depend on, JSON.
          resume: whether to continue existing segments; otherwise they are removed.

        Raises:
          UsageError: the folder cannot be created, or contains a run with other settings.
        """
        self.video = video
        self._root, self._name, self._kinds = root, name, [kind for kind in KINDS if kind in kinds]
        self._class_names = tuple(class_names)
        self._folder = (root / name).parent / f".{Path(name).name}.parts"
        if not resume:
            shutil.rmtree(self._folder, ignore_errors=True)
        prepare_folder(self._folder, root)
        self._state = self._read_state(settings or {})
        self._open: ExitStack | None = None
        self._count = 0

    @property
    def frames(self) -> int:
        return sum(self._state["segments"])

    def add(self, index: int, pts: int, result: Segmentation) -> None:
        """Adds a frame.

        Raises:
          UsageError: the disk is full.
        """
        try:
            if self._open is None:
                self._begin_segment()
            for kind in self._kinds:
                self._sinks[kind](index, pts, result)
            self._count += 1
            self._last_pts = pts
            if self._count == SEGMENT_FRAMES:
                self._end_segment()
        except (OSError, av.FFmpegError) as error:
            raise cannot_write(self._folder, error) from error

    def finish(self, source: Path | None, cut: bool, start: Fraction = Fraction(0)) -> list[Path]:
        """Creates the files and removes the segments.

        Args:
          source: file whose sound is copied; None for no sound.
          cut: whether sound ends with the last frame.
          start: time stamp of the beginning of the source in seconds.

        Returns:
          The paths of the files.

        Raises:
          UsageError: the disk is full, or no frame was added.
        """
        try:
            if self._open is not None:
                self._end_segment()
            if not self.frames:
                raise UsageError(f"{source or self._name} has no frame that can be decoded. Replace it.")
            until = self._state["last_pts"] * self.video.time_base + 1 / self.video.rate if cut else None
            made = paths(self._root, self._name, self._kinds, sound_codecs(source) if source else ())
            for kind, path in made.items():
                parts = [self._part(number, kind) for number in range(len(self._state["segments"]))]
                if kind == "frames":
                    make = partial(self._join_tables, parts)
                else:
                    sound = None if kind == "masks" else source
                    make = partial(self._join_pictures, parts, source=sound, start=start, until=until)
                write_whole(path, self._root, make)
        except (OSError, av.FFmpegError) as error:
            raise cannot_write(self._folder, error) from error
        for old in existing(self._root, self._name, self._kinds).values():
            if old not in made.values():  # from an earlier source with other sound
                old.unlink()
        shutil.rmtree(self._folder, ignore_errors=True)
        return list(made.values())

    def close(self) -> None:
        """Closes the writer so that the run can be resumed; the current segment is lost."""
        if self._open is not None:
            with suppress(OSError, av.FFmpegError):  # reported when writing
                self._open.close()
            self._open = None

    def _begin_segment(self) -> None:
        number, self._count = len(self._state["segments"]), 0
        self._open, self._sinks = ExitStack(), {}
        for kind in self._kinds:
            path = self._part(number, kind)
            path.unlink(missing_ok=True)
            self._sinks[kind] = self._table(path) if kind == "frames" else self._encoder(path, kind)

    def _end_segment(self) -> None:
        stack, self._open = self._open, None
        stack.close()
        self._state["segments"].append(self._count)
        self._state["last_pts"] = self._last_pts
        state = json.dumps(self._state)
        write_whole(self._folder / "state.json", self._root, lambda partial: partial.write_text(state))

    def _read_state(self, settings: dict) -> dict:
        path = self._folder / "state.json"
        if not path.exists():
            return {"settings": settings, "segments": [], "last_pts": None}
        try:
            state = json.loads(path.read_text())
            before = state["settings"]
            int(state["last_pts"]), sum(state["segments"])
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise UsageError(f"{path} is damaged ({error}). Give --overwrite to start from scratch.") from error
        other = sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key))
        if other:
            raise UsageError(
                f"{self._folder} was written with other settings ({', '.join(other)}). "
                "Give the same settings, or --overwrite to start from scratch."
            )
        return state

    def _part(self, number: int, kind: str) -> Path:
        return self._folder / f"{number:04}.{kind}.{'csv' if kind == 'frames' else 'nut'}"

    def _encoder(self, path: Path, kind: str) -> Callable[[int, int, Segmentation], None]:
        """Opens a segment of frames; returns a function that encodes one frame."""
        container = self._open.enter_context(av.open(ffmpeg_path(path), "w", format="nut"))
        video = self.video
        height, width = video.size
        lossless = kind == "masks"
        # 4:2:0 needs even sides; with odd ones, 4:4:4 (which some players do not support) avoids cropping.
        pixels = "gray" if lossless else "yuv444p" if height % 2 or width % 2 else "yuv420p"
        codec, options = ("ffv1", {}) if lossless else ("libx264", _H264)
        stream = container.add_stream(codec, rate=video.rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = video.time_base
        stream.codec_context.sample_aspect_ratio = video.aspect
        if not lossless:
            stream.codec_context.color_range = 1
            stream.codec_context.colorspace = video.matrix
        self._open.callback(lambda: container.mux(stream.encode(None)))

        def take(index: int, pts: int, result: Segmentation) -> None:
            del index
            if lossless:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(result.mask), "gray")
            else:
                picture = result.contours() if kind == "contours" else result.overlay()
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
                frame = frame.reformat(format=pixels, dst_colorspace=video.matrix, dst_color_range=1)
            frame.pts, frame.time_base = pts, video.time_base
            container.mux(stream.encode(frame))

        return take

    def _table(self, path: Path) -> Callable[[int, int, Segmentation], None]:
        """Opens a segment of the table of frames; returns a function that writes one frame."""
        writer = csv.writer(self._open.enter_context(path.open("x", newline="", encoding="utf-8")))

        def take(index: int, pts: int, result: Segmentation) -> None:
            row: list[object] = [index, f"{float(pts * self.video.time_base):.6f}"]
            regions = result.regions()
            for class_id in range(1, len(self._class_names)):
                own = [region for region in regions if region.class_id == class_id]
                boxes = "; ".join(" ".join(map(str, region.box)) for region in own)
                scores = "; ".join(f"{region.score:.3f}" for region in own)
                row += [int((result.mask == class_id).sum()), boxes, scores]
            writer.writerow(row)

        return take

    def _join_pictures(self, parts: Sequence[Path], target: Path, **options) -> None:
        count = join(parts, target, **options)
        if count != self.frames:
            raise UsageError(
                f"{self._folder} is damaged ({count} of {self.frames} frames). Give --overwrite to start from scratch."
            )

    def _join_tables(self, parts: Sequence[Path], target: Path) -> None:
        columns = [f"{name}_{what}" for name in self._class_names[1:] for what in ("area", "boxes", "scores")]
        with target.open("x", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(["frame", "time", *columns])
            for part in parts:
                with part.open(newline="", encoding="utf-8") as lines:
                    shutil.copyfileobj(lines, file)
