"""`refinenet_jax.predict`: sources of all kinds -> results, one by one."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from refinenet_jax.data.examples import DataError
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.items import Item
from refinenet_jax.inference.predict.pictures import segment_images
from refinenet_jax.inference.predict.sources import find
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.video.camera import Camera
from refinenet_jax.inference.video.predict import segment_frames
from refinenet_jax.inference.video.reader import VideoReader
from refinenet_jax.progress import say

Source = str | os.PathLike


def predict(
    sources: Source | Sequence[Source],
    checkpoint: Source | None = None,
    *,
    batch_size: int | None = None,
    **options: Any,
) -> Iterator[Segmentation]:
    """Segments pictures, then the frames of videos and cameras, and yields the results as they come; none is kept.

    Args:
      sources: files, folders, patterns, lists (@list.txt), addresses and cameras, as `refinenet-jax predict` takes them.
      checkpoint: run folder or weight file; the packaged network by default.
      batch_size: images that go through the network together; None for as many as suit the device.
      options: of `Segmenter.from_checkpoint`: step, scales, flip, longest_side, tile, crf.

    Returns:
      Results with `source` and, for frames, `seconds`. Pictures come in the order in which those of one size fill a batch.
      Files that cannot be read are skipped, and named on standard error. A camera ends when the caller stops asking.

    Raises:
      UsageError: a source that does not exist, nothing is found, or no network at `checkpoint`.
    """
    given = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    if not all(isinstance(source, (str, os.PathLike)) for source in given):
        raise UsageError("Sources are paths; for arrays and PIL images, use Segmenter.from_checkpoint(...)(image).")
    items = find(given)
    return _results(Segmenter.from_checkpoint(checkpoint, **options), items, batch_size)


def _results(segmenter: Segmenter, items: Sequence[Item], batch_size: int | None) -> Iterator[Segmentation]:
    pictures = [item for item in items if item.kind == "image"]
    for item, result in segment_images(segmenter, pictures, batch_size, lambda error: say(f"skipped: {error}")):
        yield replace(result, source=item.path)
    for item in items:
        try:
            if item.kind == "video":
                with VideoReader(item.path) as video, closing(video.frames()) as frames:
                    for _, pts, result in segment_frames(segmenter, frames, batch_size):
                        yield replace(result, source=item.path, seconds=float(pts * video.time_base))
            elif item.kind == "camera":
                with Camera(item.path) as camera:
                    frames = camera.frames(None, None, stop=lambda: False)
                    for _, pts, result in segment_frames(segmenter, frames, batch_size=1):
                        yield replace(result, source=item.path, seconds=float(pts * camera.time_base))
        except DataError as error:
            say(f"skipped: {error}")
