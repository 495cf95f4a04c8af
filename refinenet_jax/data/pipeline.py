"""Training batches with Grain: seeded order, augmentation, a share for each host, and resuming at any step."""

import functools
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import cv2
import grain
import numpy as np
from absl import flags

from refinenet_jax.data.augment import Augmentation
from refinenet_jax.data.folders.dataset_yaml import flip_pairs_line
from refinenet_jax.data.mix import Mix
from refinenet_jax.data.paste import CopyPaste
from refinenet_jax.data.sources import VOID, DataError, Source
from refinenet_jax.progress import say_once

# Beyond any run; an endless repeat() overflows in Grain at one example per batch.
_MAX_EPOCHS = 10**9


def train_batches(
    mix: Mix,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    num_workers: int = 0,
    overfit_batches: int = 0,
    paste: CopyPaste | None = None,
) -> Iterator[dict[str, np.ndarray]]:
    """Yields batches without end; batch i is a function of (mix, augmentation, paste, batch_size, seed, i) and nothing else.

    Each epoch of a dataset shows every example once, in its own order and with its own augmentation; a batch may span two
    epochs. Several datasets take turns as their weights say, each at its own pace.

    Args:
      mix: the examples: (source, weight) for each dataset.
      augmentation: what is done to each.
      batch_size: examples per step, over all processes.
      seed: from 0 to 2**32 - 1.
      start_step: the first batch to yield; those before it are not read.
      process_index: which of the hosts this is. Their batches of one step, in this order, make up the global batch.
      process_count: the number of hosts.
      num_workers: worker processes; with 0, threads of this process do the work. Decoding and resizing release the GIL,
        so threads suffice on a few cores; the rest of the work holds it, so many cores want processes, and those want
        the caller's `if __name__ == '__main__'` guard.
      overfit_batches: not 0: only the first so many batches, again and again.
      paste: objects that are pasted on the crops.

    Returns:
      An iterator of dicts with b = batch_size // process_count: `image` uint8 [b, height, width, 3], `mask` uint8
      [b, height, width], `weight` float32 [b], `id` str [b] (after the name of its dataset if there are several) and `fault`
      str [b]: why an example could not be read; its weight is then 0 and its mask void. Otherwise `fault` is empty and the
      weight 1. Its `close()` ends threads and processes.

    Raises:
      ValueError: batch_size is no multiple of process_count, or process_index is not below it.
    """
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(f"batch_size={batch_size} must be a positive multiple of the {process_count} processes")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index={process_index} must be from 0 to {process_count - 1}")
    for info in (source.info for source, _ in mix):
        if augmentation.flip and info.unpaired:
            say_once(
                f"{info.name}: pictures are mirrored, but nothing says which of the classes {', '.join(info.unpaired)} are"
                f" left and right. Name the pairs in its dataset.yaml, as in\n  {flip_pairs_line(info.unpaired)}\n"
                "or, if there are none,\n  flip_pairs: []\nor set --config.augment.flip=False"
            )
    parts = [
        _examples(
            source,
            functools.partial(augmentation, flip_pairs=source.info.flip_pairs, paste=paste),
            seed if i == 0 else _other_seed(seed, i),
            f"{source.info.name}: " * (len(mix) > 1),
        )
        for i, (source, _) in enumerate(mix)
    ]
    examples = parts[0] if len(mix) == 1 else grain.MapDataset.mix(parts, [weight for _, weight in mix])
    batches = examples.batch(batch_size // process_count, batch_fn=_stack)
    if overfit_batches:
        batches = batches[: overfit_batches * process_count].repeat(_MAX_EPOCHS, reseed_each_epoch=False)
    # Consecutive batches are the shares of consecutive processes.
    share = batches[start_step * process_count + process_index :: process_count]
    # Grain counts its buffer in elements, here batches; its default of 500 would fill the memory.
    threads = 1 if num_workers else os.cpu_count() or 1
    cv2.setNumThreads(0)  # Grain's threads, or the workers, already use all cores
    batches = share.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads))
    if num_workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain reads its own flags here, which otherwise exist only under absl.app.run
        batches = batches.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2), worker_init_fn=_init_worker
        )
    return iter(batches)


def _examples(source: Source, augment: Callable, seed: int, prefix: str) -> grain.MapDataset:
    """The augmented examples of one dataset, without end."""
    augment = functools.partial(_augment, augment, prefix)
    return grain.MapDataset.source(_Tolerant(source)).seed(seed).shuffle().repeat(_MAX_EPOCHS).random_map(augment)


class _Tolerant:
    """A source whose faulty examples are pictures of one void pixel, with the reason."""

    def __init__(self, source: Source):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        # The augmentation decodes a picture at the size that it needs.
        read = getattr(self._source, "undecoded", self._source.__getitem__)
        try:
            return {**read(index), "fault": ""}
        except DataError as error:
            return _faulty(f"example {index}", error)


def _faulty(name: str, error: DataError) -> dict[str, Any]:
    """An example of one void pixel, with the reason."""
    image, mask = np.zeros((1, 1, 3), np.uint8), np.full((1, 1), VOID, np.uint8)
    return {"image": image, "mask": mask, "id": name, "fault": str(error)}


def _other_seed(seed: int, number: int) -> int:
    """A seed of its own for another dataset of a mix, or two equally long ones would come in one order."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _augment(augment: Callable, prefix: str, example: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    try:
        image, mask = augment(example["image"], example["mask"], rng)
    except DataError as error:  # the picture, or an example that a paste was to be cut out of
        example = _faulty(example["id"], error)
        image, mask = augment(example["image"], example["mask"], rng, paste=None)
    return {"image": image, "mask": mask, "id": prefix + example["id"], "fault": example["fault"]}


def _stack(examples: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    batch = {key: np.stack([example[key] for example in examples]) for key in ("image", "mask")}
    texts = {key: np.array([example[key] for example in examples]) for key in ("id", "fault")}
    return {**batch, "weight": (texts["fault"] == "").astype(np.float32), **texts}


def _init_worker(index: int, count: int) -> None:
    del index, count
    cv2.setNumThreads(0)  # the workers already use all cores
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C asks the run to stop, not them
