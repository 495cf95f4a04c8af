"""`refinenet_jax.predict`: segments sources of all kinds and yields the results one by one."""

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
    """Segments pictures, then the frames of videos and cameras, and yields each result as soon as it is ready.

    Args:
      sources: files, folders, patterns, lists (@list.txt), addresses and cameras, as for `refinenet-jax predict`.
      checkpoint: run folder or weight file; None for the packaged network.
      batch_size: number of images per batch; None for the default of the device.
      options: further arguments of `Segmenter.from_checkpoint`: step, scales, flip, longest_side, tile, crf.

    Returns:
      Results with `source` and, for frames, `seconds`. Pictures are yielded in the order in which batches of one size are
      completed. Files that cannot be read are skipped and reported on standard error. A camera stops when the caller stops
      iterating.

    Raises:
      UsageError: a source does not exist, nothing is found, or there is no network at `checkpoint`.
    """
    given = [sources] if isinstance(sources, (str, os.PathLike)) else list(sources)
    if not all(isinstance(source, (str, os.PathLike)) for source in given):
        raise UsageError("Sources must be paths. For arrays and PIL images, use Segmenter.from_checkpoint(...)(image).")
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
                        yield replace(result, source=item.path, seconds=float(pts * video.format.time_base))
            elif item.kind == "camera":
                with Camera(item.path) as camera:
                    frames = camera.frames(None, stop=lambda: False)
                    for _, pts, result in segment_frames(segmenter, frames, batch_size=1):
                        yield replace(result, source=item.path, seconds=float(pts * camera.format.time_base))
        except DataError as error:
            say(f"skipped: {error}")
