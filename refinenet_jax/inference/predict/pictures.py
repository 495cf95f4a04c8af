"""Predicts pictures of any sizes in batches; files are read and written while the network runs."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import jax

from refinenet_jax.data.reading import read_ahead
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import reading
from refinenet_jax.inference.predict import outputs
from refinenet_jax.inference.predict.items import Item
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.segmenter import Prepared, Segmenter
from refinenet_jax.progress import say

if TYPE_CHECKING:  # pycocotools, which `refinenet_jax.predict` does not need
    from refinenet_jax.inference.predict.coco import Journals

_WRITES_WAITING = 4  # pictures whose results may wait to be written


def segment_images(
    segmenter: Segmenter,
    items: Iterable[Item],
    batch_size: int | None,
    unreadable: Callable[[UsageError], object],
) -> Iterator[tuple[Item, Segmentation]]:
    """Reads pictures ahead and segments them as soon as those of one canvas fill a batch.

    Args:
      segmenter: the network.
      items: pictures of any sizes in any order.
      batch_size: number of pictures of one canvas per batch; None for the default of the device.
      unreadable: called with the error of each picture that cannot be read, which is skipped.

    Raises:
      UsageError: the batch exceeds the memory of the device.
    """

    def read(item: Item) -> tuple[Item, Prepared | UsageError]:
        try:
            return item, segmenter.prepare(reading.read(item.path))
        except UsageError as error:
            return item, error

    def readable() -> Iterator[tuple[Item, Prepared]]:
        for item, prepared in read_ahead(read, items):
            if isinstance(prepared, Prepared):
                yield item, prepared
            else:
                unreadable(prepared)

    try:
        yield from segmenter.unordered(readable(), batch_size)
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UsageError(
            "A batch exceeds the memory of the device. Give a smaller --batch-size, or --tile=512."
        ) from error


def predict_images(
    segmenter: Segmenter,
    items: Sequence[Item],
    root: Path,
    kinds: Sequence[str],
    journals: "Journals",
    batch_size: int | None,
    advance: Callable[[str], object] = lambda line: None,
    report: Callable[[str], object] = say,
) -> Counter:
    """Predicts pictures and writes the results; reports and skips those that cannot be read.

    Args:
      segmenter: the network.
      items: pictures of any sizes in any order.
      root: folder for the results.
      kinds: kinds of results from `outputs.ENDINGS`; others are ignored.
      journals: journals for COCO.
      batch_size: number of pictures of one canvas per batch; None for the default of the device.
      advance: called once per picture with a line about it.
      report: called with a line for each picture that cannot be read.

    Returns:
      The numbers of `images` that were predicted, and of those that `failed` because they could not be read.

    Raises:
      UsageError: the disk is full, or the batch exceeds the memory of the device.
    """
    failed = 0

    def unreadable(error: UsageError) -> None:
        nonlocal failed
        failed += 1
        report(f"skipped: {error}")
        advance("")

    def save(result: Segmentation, item: Item) -> None:
        outputs.write(result, root, item.name, kinds)
        journals.add(result, item.relative)

    pending: deque[Future] = deque()
    before = time.monotonic()
    with ThreadPoolExecutor(2) as writers:
        for item, result in segment_images(segmenter, items, batch_size, unreadable):
            pending.append(writers.submit(save, result, item))
            height, width = result.image.shape[:2]
            now = time.monotonic()
            advance(f"{item.relative}: {width}x{height}, {now - before:.2f} s")
            before = now
            while len(pending) > _WRITES_WAITING:
                pending.popleft().result()
        while pending:
            pending.popleft().result()
    return Counter(images=len(items) - failed, failed=failed)
