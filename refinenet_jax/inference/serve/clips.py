"""An uploaded clip -> an overlay video and a table of its frames."""

import base64
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from starlette.exceptions import HTTPException

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.items import Item
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.serve.limits import Limits
from refinenet_jax.inference.serve.pictures import classes
from refinenet_jax.inference.video import predict as video
from refinenet_jax.inference.video import writer as video_writer
from refinenet_jax.inference.video.reader import VideoReader

NAME = "clip"  # of the upload in its folder, whatever the client calls it
_KINDS = ("overlays", "frames")
_MOST_ROOM = 3  # of what is worked on, times the largest upload: a codec can make much noise of few bytes


class Stopped(Exception):
    """Nobody waits for the result any more."""


@dataclass
class Progress:
    """How far a clip is; the worker writes, the server reads.

    Attributes:
      frames: segmented so far.
      total: how many there should be, 0 where the clip does not tell, None while it is not yet opened.
    """

    frames: int = 0
    total: int | None = None


@dataclass(frozen=True)
class ClipResult:
    """What was made of a clip.

    Attributes:
      overlay: file of the video, MP4, or Matroska where its sound wants that.
      table: file of the table of frames, CSV.
      facts: size, frames, classes, seconds taken; JSON.
    """

    overlay: Path
    table: Path
    facts: dict[str, Any]

    @property
    def overlay_type(self) -> str:
        return "video/mp4" if self.overlay.suffix == ".mp4" else "video/x-matroska"

    def answer(self) -> dict[str, Any]:
        """All of it: the video in base64, the table as text."""
        return {
            **self.facts,
            "overlay_type": self.overlay_type,
            "overlay": base64.b64encode(self.overlay.read_bytes()).decode(),
            "table": self.table.read_text(encoding="utf-8"),
        }


def segment(
    segmenter: Segmenter, folder: Path, limits: Limits, progress: Progress, stop: Callable[[], bool]
) -> ClipResult:
    """Segments the clip in FOLDER/NAME; the results are written beside it.

    Raises:
      HTTPException: 413, it is too long or too large; 422, it cannot be read.
      Stopped: `stop` said so.
    """
    begin = time.monotonic()
    path = folder / NAME
    try:
        with VideoReader(path) as reader:
            _check(reader, limits)
            size, rate = reader.size, reader.rate
            progress.total = reader.length
        watched = _Watched(segmenter, limits, folder, progress, stop)
        video.predict_video(watched, Item(str(path), NAME, "video"), folder, video.VideoOptions(_KINDS, 1), {})
    except UsageError as error:
        text = str(error).replace(str(path), "The clip").replace(str(folder), "the server's work folder")
        raise HTTPException(422, text) from error
    made = video_writer.existing(folder, NAME, _KINDS)
    facts = {
        "width": size[1],
        "height": size[0],
        "frames": progress.frames,
        "frames_per_second": round(float(rate), 3),
        "classes": classes(segmenter.class_names),
        "seconds": round(time.monotonic() - begin, 3),
    }
    return ClipResult(made["overlays"], made["frames"], facts)


def _check(reader: VideoReader, limits: Limits) -> None:
    height, width = reader.size
    if height * width > limits.clip_megapixels * 1e6:
        raise HTTPException(
            413,
            f"The clip's frames have {width} x {height} pixels; at most {limits.clip_megapixels:g} million are taken.",
        )
    seconds = reader.length / reader.rate
    if seconds > limits.clip_length:
        raise HTTPException(
            413, f"The clip lasts {float(seconds):.0f} seconds; at most {limits.clip_length:g} are taken. Cut it."
        )
    _check_frames(reader.length, limits)


def _check_frames(frames: int, limits: Limits) -> None:
    if frames > limits.clip_frames:
        raise HTTPException(413, f"The clip has too many frames; at most {limits.clip_frames:,} are taken. Cut it.")


def _check_room(folder: Path, limits: Limits) -> None:
    taken = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # frames are written by another thread, which renames files
            taken += path.stat().st_size
    if taken > _MOST_ROOM * limits.clip_megabytes * 1e6:
        raise HTTPException(413, "The overlay of this clip takes too much room. Cut it, or make it smaller.")


@dataclass(frozen=True)
class _Watched:
    """A segmenter that can be stopped between two frames, counts them, and looks at the room that they take: a file may have
    more than it tells."""

    segmenter: Segmenter
    limits: Limits
    folder: Path
    progress: Progress
    stop: Callable[[], bool]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.segmenter.class_names

    def stream(self, images: Iterable[np.ndarray], batch_size: int) -> Iterator[Segmentation]:
        for result in self.segmenter.stream(images, batch_size):
            if self.stop():
                raise Stopped
            self.progress.frames += 1
            _check_frames(self.progress.frames, self.limits)
            _check_room(self.folder, self.limits)
            yield result
