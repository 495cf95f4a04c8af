"""Training batches with Grain: seeded order, augmentation, sharding by process, and resuming at any step."""

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
from refinenet_jax.data.examples import VOID, DataError, Source
from refinenet_jax.data.folders.dataset_yaml import flip_pairs_line
from refinenet_jax.data.mix import Mix
from refinenet_jax.data.paste import CopyPaste
from refinenet_jax.progress import say_once

# More than any run needs; an endless repeat() overflows in Grain with one example per batch.
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
    """Yields endless batches; batch i depends only on (mix, augmentation, paste, batch_size, seed, i).

    Each epoch of a dataset shows every example once, in a new order and with new augmentation; a batch may span two epochs.
    Several datasets are interleaved by their weights, each with its own epochs.

    Args:
      mix: (source, weight) of each dataset.
      augmentation: augmentation of the examples.
      batch_size: examples per step, over all processes.
      seed: random seed, from 0 to 2**32 - 1.
      start_step: first batch to yield; earlier ones are not read.
      process_index: index of this process. The batches of one step, in this order, make up the global batch.
      process_count: number of processes.
      num_workers: number of worker processes; with 0, threads of this process do the work. Decoding and resizing release the
        GIL, so threads suffice on a few cores; many cores need processes, which require an `if __name__ == '__main__'` guard
        in the caller.
      overfit_batches: if not 0, only this many first batches are repeated.
      paste: augmentation that pastes objects onto the crops.

    Returns:
      An iterator of dicts with b = batch_size // process_count: `image` uint8 [b, height, width, 3], `mask` uint8
      [b, height, width], `weight` float32 [b], `id` str [b] (prefixed by the dataset name if there are several) and `fault`
      str [b]: the reason why an example could not be read, with weight 0 and a void mask; otherwise empty, with weight 1.
      Its `close()` stops threads and processes.

    Raises:
      ValueError: batch_size is not a multiple of process_count, or process_index is not below process_count.
    """
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(f"batch_size={batch_size} must be a positive multiple of the {process_count} processes")
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index={process_index} must be from 0 to {process_count - 1}")
    for info in (source.info for source, _ in mix):
        if augmentation.flip and info.unpaired:
            say_once(
                f"{info.name}: pictures are mirrored, but it is unknown which of the classes {', '.join(info.unpaired)} are"
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
    # Consecutive batches belong to consecutive processes.
    share = batches[start_step * process_count + process_index :: process_count]
    # Grain counts its buffer in elements, which are batches here; its default of 500 would fill the memory.
    threads = 1 if num_workers else os.cpu_count() or 1
    cv2.setNumThreads(0)  # Grain's threads, or the workers, already use all cores
    batches = share.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads))
    if num_workers:
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain reads its own flags, which otherwise require absl.app.run
        batches = batches.mp_prefetch(
            grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2), worker_init_fn=_init_worker
        )
    return iter(batches)


def _examples(source: Source, augment: Callable, seed: int, prefix: str) -> grain.MapDataset:
    """Returns the augmented examples of one dataset, repeated endlessly."""
    read = functools.partial(_read, source, augment, prefix)
    return grain.MapDataset.range(len(source)).seed(seed).shuffle().repeat(_MAX_EPOCHS).random_map(read)


def _other_seed(seed: int, number: int) -> int:
    """Returns a different seed for each dataset of a mix; otherwise two datasets of one length would share their order."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _read(source: Source, augment: Callable, prefix: str, index: int, rng: np.random.Generator) -> dict[str, Any]:
    """Returns an augmented example; one that cannot be read, or pasted onto, becomes void with the reason as its `fault`."""
    name, fault = f"example {index}", ""
    try:
        # The augmentation decodes a picture at the size that it needs.
        example = getattr(source, "undecoded", source.__getitem__)(int(index))
        name = example["id"]
        image, mask = augment(example["image"], example["mask"], rng)
    except DataError as error:
        fault = str(error)
        image, mask = np.zeros((1, 1, 3), np.uint8), np.full((1, 1), VOID, np.uint8)
        image, mask = augment(image, mask, rng, paste=None)
    return {"image": image, "mask": mask, "id": prefix + name, "fault": fault}


def _stack(examples: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    batch = {key: np.stack([example[key] for example in examples]) for key in ("image", "mask")}
    texts = {key: np.array([example[key] for example in examples]) for key in ("id", "fault")}
    return {**batch, "weight": (texts["fault"] == "").astype(np.float32), **texts}


def _init_worker(index: int, count: int) -> None:
    del index, count
    cv2.setNumThreads(0)  # the workers already use all cores
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C stops the main process, which stops the workers
