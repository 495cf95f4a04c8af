"""Pictures of any sizes -> files of results, in batches, read ahead and written beside the next prediction."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np

from refinenet_jax.data import images, read_ahead
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import coco, outputs, shapes
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.sources import Item
from refinenet_jax.progress import say

_WRITES_WAITING = 4  # pictures, while the network works on the next ones


def arrange(segmenter: Segmenter, items: Sequence[Item]) -> tuple[Segmenter, list[Item], str]:
    """Few padded sizes for pictures of many sizes, by their headers.

    Returns:
      The segmenter with these sizes; the pictures sorted by them, so that neighbours share batches; a line about it, '' where
      no header can be read.
    """
    sizes = dict(zip(items, read_ahead(images.upright_size, [item.path for item in items], window=64), strict=True))
    known = [segmenter.fitted_size(size) for size in sizes.values() if size]
    plan = shapes.plan(known, segmenter.size_multiple)
    return (
        segmenter.with_shapes(plan),
        sorted(items, key=lambda item: plan[segmenter.fitted_size(sizes[item])] if sizes[item] else ()),
        shapes.describe(plan, known) if known else "",
    )


def predict_images(
    segmenter: Segmenter,
    items: Sequence[Item],
    root: Path,
    kinds: Sequence[str],
    journals: coco.Journals,
    batch_size: int,
    advance: Callable[[], object] = lambda: None,
    tell: Callable[[str], object] = say,
) -> Counter:
    """Predicts pictures and writes the results; one that cannot be read is named and passed over.

    Args:
      segmenter: the network.
      items: pictures, those of one padded size together.
      root: folder of the results.
      kinds: what to save, of `outputs.ENDINGS`; others are passed over.
      journals: for COCO.
      batch_size: pictures of one padded size that go through the network together.
      advance: called once for each picture.
      tell: takes a line for each picture that cannot be read.

    Returns:
      How many `images` were predicted, and how many `failed`: could not be read.

    Raises:
      UsageError: there is no room, on the disk or for the batch on the device.
    """
    waiting: deque[Item] = deque()
    failed = 0

    def readable() -> Iterator[np.ndarray]:
        nonlocal failed
        for item, image in zip(items, read_ahead(_read, items), strict=True):
            if isinstance(image, UsageError):
                failed += 1
                tell(f"skipped: {image}")
                advance()
            else:
                waiting.append(item)
                yield image

    def save(result: Segmentation, item: Item) -> None:
        outputs.write(result, root, item.name, kinds)
        journals.add(result, item.relative)

    pending: deque[Future] = deque()
    try:
        with ThreadPoolExecutor(2) as writers:
            for result in segmenter.stream(readable(), batch_size):
                pending.append(writers.submit(save, result, waiting.popleft()))
                advance()
                while len(pending) > _WRITES_WAITING:
                    pending.popleft().result()
            while pending:
                pending.popleft().result()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise UsageError(
            f"The device has no room for {batch_size} pictures at a time; give a smaller --batch-size, or --tile=512."
        ) from error
    return Counter(images=len(items) - failed, failed=failed)


def _read(item: Item) -> np.ndarray | UsageError:
    """The decoded picture, upright, or the reason why there is none."""
    try:
        encoded = images.read(Path(item.path))
        return images.turn_upright(images.decode_rgb(encoded, item.path), images.orientation(encoded))
    except UsageError as error:
        return error
