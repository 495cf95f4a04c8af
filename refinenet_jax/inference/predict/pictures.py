"""Predicts pictures of any sizes in batches; files are read and written while the network runs."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import jax

from refinenet_jax.data.reading import read_ahead
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import reading
from refinenet_jax.inference.predict import coco, outputs
from refinenet_jax.inference.predict.items import Item, PredictOptions
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.segmenter import Prepared, Segmenter
from refinenet_jax.progress import say


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
    options: PredictOptions,
    process: str = "0",
    advance: Callable[[str], object] = lambda line: None,
    report: Callable[[str], object] = say,
) -> Counter:
    """Predicts pictures and writes the results; reports and skips those that cannot be read.

    Args:
      segmenter: the network.
      items: pictures of any sizes in any order.
      root: folder for the results.
      options: kinds of results, and batch size.
      process: unique name of the process among all that write into `root`.
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

    before = time.monotonic()
    with coco.Journal(root, options.kinds, process) as journal:

        def save(segmented: tuple[Item, Segmentation]) -> str:
            item, result = segmented
            outputs.write(result, root, item.name, options.kinds)
            journal.add(result, item.relative)
            height, width = result.image.shape[:2]
            return f"{item.relative}: {width}x{height}"

        results = segment_images(segmenter, items, options.batch_size, unreadable)
        for line in read_ahead(save, results, window=4):
            now = time.monotonic()
            advance(f"{line}, {now - before:.2f} s")
            before = now
    return Counter(images=len(items) - failed, failed=failed)
