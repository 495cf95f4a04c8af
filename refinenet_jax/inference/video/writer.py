"""What is written of a video: segments of some seconds, each whole before the next begins; at the end, the files made of them.

While a video is worked on, a hidden folder beside its results, .NAME.parts, holds

    state.json         settings of the run, frames of every whole segment, time of the last frame
    0000.overlays.nut  segment 0 of a kind, and 0000.frames.csv
    0002.scores.npy    with smoothing: the probabilities after segment 2, the last one

Files that state.json does not count are of the segment in which a run was killed: they are written again. Encoders start anew
in every segment, whether or not the run was interrupted, so that the result is the same to the byte.
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
from refinenet_jax.inference.predict.outputs import cannot_write, prepare_folder, side_by_side, write_whole
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.video.joining import join, sound_codecs

KINDS = ("masks", "overlays", "contours", "side-by-side", "frames")
SEGMENT_FRAMES = 300

_NAMES = {
    "masks": "_mask",
    "overlays": "_overlay",
    "contours": "_contours",
    "side-by-side": "_side",
    "frames": "_frames",
}
# Sound that MP4 holds; with any other the file is Matroska.
_MP4_SOUND = {"aac", "ac3", "alac", "eac3", "flac", "mp2", "mp3", "mp3float", "opus", "libopus"}
# No B-frames: packets stay in the order of time, and segments follow each other without overlap.
_H264 = {"crf": "18", "preset": "veryfast", "bf": "0"}
_PICTURES = {"overlays": Segmentation.overlay, "contours": Segmentation.contours, "side-by-side": side_by_side}


def paths(root: Path, name: str, kinds: Sequence[str], audio_codecs: Sequence[str] = ()) -> dict[str, Path]:
    """The files of one video, by kind; kinds that videos have not are left out."""
    ending = ".mp4" if set(audio_codecs) <= _MP4_SOUND else ".mkv"
    endings = {"masks": ".mkv", "frames": ".csv"}
    return {kind: root / f"{name}{_NAMES[kind]}{endings.get(kind, ending)}" for kind in kinds if kind in KINDS}


def there(root: Path, name: str, kinds: Sequence[str]) -> dict[str, Path]:
    """Those of the files that exist, whichever sound they have."""
    choices = [paths(root, name, kinds, sound).items() for sound in ((), ("pcm_s16le",))]
    return {kind: path for choice in choices for kind, path in choice if path.exists()}


class VideoWriter:
    """Writes the results of one video. Frames come in order; `finish` makes the files.

    Attributes:
      frames: how many are in whole segments already.
      last_pts: time of the last of them, None before the first.
      scores: with smoothing, the probabilities at the last of them, float32 [h, w, c].
    """

    def __init__(
        self,
        root: Path,
        name: str,
        kinds: Sequence[str],
        *,
        size: tuple[int, int],
        time_base: Fraction,
        rate: Fraction,
        class_names: Sequence[str],
        settings: dict,
        resume: bool,
        aspect: Fraction = Fraction(1),
        matrix: tuple[int, int] = (2, 5),
        min_area: int = 1,
        keep_scores: bool = False,
    ):
        """Begins, or goes on where a killed run stopped.

        Args:
          root: folder of the results.
          name: of the video, below it.
          kinds: of KINDS.
          size: (h, w) of the frames.
          time_base: seconds of a unit of time.
          rate: mean frames per second.
          class_names: background first.
          settings: all that the results depend on, JSON.
          resume: whether to go on with what is there; it is removed otherwise.
          aspect: width of a pixel divided by its height.
          matrix: YUV matrix to be written: AVColorSpace, and as the scaler takes it.
          min_area: regions smaller than this, in pixels, are not in the table of frames.
          keep_scores: whether the probabilities after each segment are kept, to smooth on from there.

        Raises:
          UsageError: the folder cannot be made, or holds a run with other settings.
        """
        self._root, self._name, self._kinds = root, name, [kind for kind in KINDS if kind in kinds]
        self._size, self._time_base, self._rate, self._aspect, self._matrix = size, time_base, rate, aspect, matrix
        self._class_names, self._min_area, self._keep_scores = tuple(class_names), min_area, keep_scores
        self._folder = (root / name).parent / f".{Path(name).name}.parts"
        if not resume:
            shutil.rmtree(self._folder, ignore_errors=True)
        prepare_folder(self._folder, root)
        self._state = self._read_state(settings)
        number = len(self._state["segments"])
        self.scores = np.load(self._folder / f"{number - 1:04}.scores.npy") if number and keep_scores else None
        self._open: ExitStack | None = None
        self._count = 0

    @property
    def frames(self) -> int:
        return sum(self._state["segments"])

    @property
    def last_pts(self) -> int | None:
        return self._state["last_pts"]

    def add(self, index: int, pts: int, result: Segmentation) -> None:
        """Writes a frame.

        Raises:
          UsageError: there is no room.
        """
        try:
            if self._open is None:
                self._begin_segment()
            for kind in self._kinds:
                self._sinks[kind](index, pts, result)
            self._count += 1
            self._last = pts, result.scores
            if self._count == SEGMENT_FRAMES:
                self._end_segment()
        except (OSError, av.FFmpegError) as error:
            raise cannot_write(self._folder, error) from error

    def finish(self, source: Path | None, cut: bool, start: Fraction = Fraction(0)) -> list[Path]:
        """Makes the files and removes the segments.

        Args:
          source: of the sound, which is copied as it is; None for none.
          cut: whether sound ends with the last frame.
          start: seconds that stand in the source for its beginning.

        Returns:
          The paths of the files.

        Raises:
          UsageError: there is no room, or no frame was added.
        """
        try:
            if self._open is not None:
                self._end_segment()
            if not self.frames:
                raise UsageError(f"{source or self._name} has no frame that can be decoded.")
            until = self.last_pts * self._time_base + 1 / self._rate if cut else None
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
        for old in there(self._root, self._name, self._kinds).values():
            if old not in made.values():  # of an earlier source, with other sound
                old.unlink()
        shutil.rmtree(self._folder, ignore_errors=True)
        return list(made.values())

    def close(self) -> None:
        """Leaves it as it is, to be gone on with; the segment at hand is lost."""
        if self._open is not None:
            with suppress(OSError, av.FFmpegError):  # told when it was written
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
        number = len(self._state["segments"])
        last_pts, scores = self._last
        if self._keep_scores:
            np.save(self._folder / f"{number:04}.scores.npy", scores)
        self._state["segments"].append(self._count)
        self._state["last_pts"] = last_pts
        write_whole(
            self._folder / "state.json", self._root, lambda partial: partial.write_text(json.dumps(self._state))
        )
        (self._folder / f"{number - 1:04}.scores.npy").unlink(missing_ok=True)

    def _read_state(self, settings: dict) -> dict:
        path = self._folder / "state.json"
        if not path.exists():
            return {"settings": settings, "segments": [], "last_pts": None}
        try:
            state = json.loads(path.read_text())
            before = state["settings"]
            int(state["last_pts"]), sum(state["segments"])
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise UsageError(f"{path} is damaged ({error}); give --overwrite to begin anew.") from error
        other = sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key))
        if other:
            raise UsageError(
                f"{self._folder} was begun with other settings ({', '.join(other)}). "
                "Give the same, or --overwrite to begin anew."
            )
        return state

    def _part(self, number: int, kind: str) -> Path:
        return self._folder / f"{number:04}.{kind}.{'csv' if kind == 'frames' else 'nut'}"

    def _encoder(self, path: Path, kind: str) -> Callable[[int, int, Segmentation], None]:
        """Opens a segment of pictures; returns what takes a frame."""
        container = self._open.enter_context(av.open(str(path), "w", format="nut"))
        height, width = self._size[0], self._size[1] * (2 if kind == "side-by-side" else 1)
        lossless = kind == "masks"
        # Half as many colour samples only where sides are even; players that take no 4:4:4 are rarer than cropped pixels.
        pixels = "gray" if lossless else "yuv444p" if height % 2 or width % 2 else "yuv420p"
        stream = container.add_stream(
            "ffv1" if lossless else "libx264", rate=self._rate, options={} if lossless else _H264
        )
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = self._time_base
        stream.codec_context.sample_aspect_ratio = self._aspect
        if not lossless:
            stream.codec_context.color_range = 1
            stream.codec_context.colorspace = self._matrix[0]
        self._open.callback(lambda: container.mux(stream.encode(None)))

        def take(index: int, pts: int, result: Segmentation) -> None:
            del index
            if lossless:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(result.mask), "gray")
            else:
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(_PICTURES[kind](result)), "rgb24")
                frame = frame.reformat(format=pixels, dst_colorspace=self._matrix[1], dst_color_range=1)
            frame.pts, frame.time_base = pts, self._time_base
            container.mux(stream.encode(frame))

        return take

    def _table(self, path: Path) -> Callable[[int, int, Segmentation], None]:
        """Opens a segment of the table of frames; returns what takes a frame."""
        writer = csv.writer(self._open.enter_context(path.open("x", newline="", encoding="utf-8")))

        def take(index: int, pts: int, result: Segmentation) -> None:
            row: list[object] = [index, f"{float(pts * self._time_base):.6f}"]
            regions = [region for region in result.regions() if region.area >= self._min_area]
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
                f"{self._folder} is damaged ({count} of {self.frames} frames); give --overwrite to begin anew."
            )

    def _join_tables(self, parts: Sequence[Path], target: Path) -> None:
        columns = [f"{name}_{what}" for name in self._class_names[1:] for what in ("area", "boxes", "scores")]
        with target.open("x", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(["frame", "time", *columns])
            for part in parts:
                with part.open(newline="", encoding="utf-8") as lines:
                    shutil.copyfileobj(lines, file)
