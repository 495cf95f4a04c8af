"""Predicts videos of any length in constant memory; writes videos of the results and a table of the frames."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from refinenet_jax import parallel
from refinenet_jax.data.reading import read_ahead
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.items import Item, PredictOptions
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.video.camera import Camera
from refinenet_jax.inference.video.reader import Frame, VideoReader
from refinenet_jax.inference.video.writer import VideoWriter
from refinenet_jax.progress import progress_bar, say


def predict_video(
    segmenter: Segmenter, item: Item, root: Path, options: PredictOptions, settings: dict, resume: bool = False
) -> Counter:
    """Predicts a video file; the results are upright and have the frames' size, times and sound.

    Args:
      segmenter: the network.
      item: the video.
      root: folder for the results.
      options: kinds of results, and limits.
      settings: settings that the segmenter's results depend on, JSON.
      resume: whether to resume a killed run. The result is the same as without interruption.

    Returns:
      `videos` (1), the number of predicted `frames`, and `failed` (1 if parts are damaged).

    Raises:
      DataError: the video cannot be read.
      UsageError: the disk is full, or the run to resume had other settings.
    """
    path = Path(item.path)
    kept = asdict(replace(options, kinds=sorted(options.kinds), batch_size=None))
    with VideoReader(path) as video:
        settings = settings | kept | {"source": [video.about.st_size, video.about.st_mtime_ns]}
        writer = VideoWriter(root, item.name, video.format, segmenter.class_names, options.kinds, settings, resume)
        first = writer.frames
        if first:
            say(f"{path}: resuming at frame {first}")
        frames = video.frames(first, options.max_seconds)
        with closing(writer), progress_bar(path.name, video.length, first) as bar:
            count = _write(segment_frames(segmenter, frames, options.batch_size), writer, bar)
            writer.finish(path, cut=options.max_seconds is not None, start=video.start)
        if video.faults:
            say(f"{path}: {video.faults} packets or frames are damaged; {first + count} frames were predicted")
        return Counter(videos=1, frames=count, failed=int(video.faults > 0))


def predict_camera(segmenter: Segmenter, item: Item, root: Path, options: PredictOptions) -> Counter:
    """Predicts a camera until Ctrl-C, SIGTERM or a limit, then writes the files; returns counts like `predict_video`.

    Frames have the times at which they were taken; if the network is slower than the camera, frames are dropped.

    Raises:
      UsageError: the camera does not exist, or the disk is full.
    """
    with Camera(item.path) as camera, parallel.StopSignal() as stop:
        writer = VideoWriter(root, item.name, camera.format, segmenter.class_names, options.kinds)
        height, width = camera.format.size
        say(f"Camera {item.name}, {width} x {height}; press Ctrl-C to stop")
        with closing(writer), progress_bar(item.name, 0) as bar:
            frames = camera.frames(options.max_seconds, stop=lambda: stop.requested(0))
            count = _write(segment_frames(segmenter, frames, batch_size=1), writer, bar)
            if not count:
                raise UsageError(f"Camera {item.name} returned no picture. Check its connection.")
            writer.finish(None, cut=False)
        return Counter(videos=1, frames=count)


def segment_frames(
    segmenter: Segmenter, frames: Iterable[Frame], batch_size: int | None
) -> Iterator[tuple[int, int, Segmentation]]:
    """Yields index, time and result of every frame."""
    waiting: deque[tuple[int, int]] = deque()

    def images() -> Iterator[np.ndarray]:
        for frame in frames:
            waiting.append((frame.index, frame.pts))
            yield frame.image

    for result in segmenter.stream(images(), batch_size):
        yield *waiting.popleft(), result


def _write(results: Iterable[tuple[int, int, Segmentation]], writer: VideoWriter, bar) -> int:
    """Draws and encodes frames while the network runs; returns the number of frames."""
    count = 0
    for _ in read_ahead(lambda frame: writer.add(*frame), results, threads=1, window=4):
        count += 1
        bar.update()
        if bar.format_dict["rate"]:
            bar.set_postfix_str(f"{bar.format_dict['rate']:.1f} frames/s", refresh=False)
    return count
