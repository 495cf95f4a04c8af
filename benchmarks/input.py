"""Measures the training crops per second of the input pipeline: each stage and the whole pipeline, on 1, 2 and all cores.

    python -m benchmarks.input [--data=egohands/hands_available] [--config=configs/egohands.py] [--seconds=10]

Crops are made as in the config, including pastes. Stages run one after the other in one thread; the whole pipeline (Grain,
with threads or worker processes) runs in separate processes bound to the given number of cores. Prints Markdown tables, with
the number of cores needed for a GPU that consumes --step-rate crops per second.
"""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import islice
from statistics import mean, median

import numpy as np

from benchmarks import tables

EXAMPLES = 64  # examples of the split used to measure stages
WARM = 8  # crops before the measured ones


def _opened(args: argparse.Namespace):
    """Opens the datasets, augmentation and pastes as in training."""
    from refinenet_jax.data.augment import Augmentation
    from refinenet_jax.data.mix import open_mix
    from refinenet_jax.training.setup import open_paste

    module = args.config.removesuffix(".py").replace("/", ".")
    config = importlib.import_module(module).get_config()
    parts = ((args.data, 1.0),) if args.data else config.data.mix or ((config.data.name, 1.0),)
    augment = {**config.augment, **({"scales": tuple(args.scales)} if args.scales else {})}
    return open_mix(parts, args.split), Augmentation(**augment), open_paste(config)


def stages(args: argparse.Namespace) -> dict[str, float]:
    """Returns the median milliseconds of each stage per example of the first dataset."""
    import cv2

    cv2.setNumThreads(1)
    mix, augmentation, paste = _opened(args)
    source = mix[0][0]
    indices = np.linspace(0, len(source) - 1, EXAMPLES).astype(int).tolist()
    examples = [source.undecoded(i) for i in indices[:WARM]]
    rngs = [np.random.default_rng(i) for i in indices]

    def timed(work: Callable[[int], object], count: int, typical: Callable = median) -> float:
        work(0)
        return 1000 * typical([tables.seconds(partial(work, i)) for i in range(count)])

    read = timed(lambda i: source.encoded(indices[i]), EXAMPLES)
    record = timed(lambda i: source.undecoded(indices[i]), EXAMPLES)

    def augment(i: int) -> object:
        example = examples[i % WARM]
        return augmentation(example["image"], example["mask"], rngs[i])

    def put(i: int) -> object:
        shape = augmentation.shape
        return paste(np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8), rngs[i])

    pasting = {"pasting (the mean of all crops)": timed(put, EXAMPLES, mean)} if paste else {}
    return {
        "reading the record": read,
        "decoding and checking the mask": max(record - read, 0.0),
        "decoding the picture as far as needed, and augmenting": timed(augment, EXAMPLES),
        **pasting,
    }


def throughput(args: argparse.Namespace) -> float:
    """Returns the crops per second of `train_batches` on the cores of this process."""
    import cv2

    from refinenet_jax.data.pipeline import train_batches

    cv2.setNumThreads(0)  # as in training: Grain's threads run in parallel
    mix, augmentation, paste = _opened(args)
    batches = train_batches(
        mix, augmentation, batch_size=args.batch_size, seed=0, num_workers=args.num_workers, paste=paste
    )
    for _ in islice(batches, max(WARM // args.batch_size, 1)):
        pass
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < args.seconds:
        count += len(next(batches)["image"])
    rate = count / (time.perf_counter() - began)
    batches.close()
    return rate


def _on_cores(args: argparse.Namespace, cores: int, workers: int) -> float:
    bound = sorted(os.sched_getaffinity(0))[:cores]
    flags = [*sys.argv[1:], f"--num-workers={workers}", "--worker"]
    return tables.measured("input", *flags, preexec_fn=lambda: os.sched_setaffinity(0, bound))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="", help="a built dataset or a folder (default: the config's)")
    parser.add_argument("--split", default="train")
    parser.add_argument("--config", default="configs/egohands.py", help="config whose augmentation is used")
    parser.add_argument("--scales", nargs="+", type=float, help="random scales (default: the config's)")
    parser.add_argument("--cores", nargs="+", type=int, metavar="N", help="numbers of cores (default: 1, 2 and all)")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="duration of the measurement of the whole pipeline")
    parser.add_argument("--step-rate", type=float, default=230.0, metavar="CROPS", help="crops/s that the GPU consumes")
    parser.add_argument("--num-workers", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        print(json.dumps(throughput(args)))
        return
    times = stages(args)
    tables.header("stage", "ms per example, one thread")
    for name, milliseconds in {**times, "total": sum(times.values())}.items():
        tables.row(name, f"{milliseconds:.1f}")
    print()
    tables.header("cores", "with", "crops/s", "crops/s per core", f"cores for {args.step_rate:g} crops/s")
    available = len(os.sched_getaffinity(0))
    for cores in args.cores or sorted({1, min(2, available), available}):
        for workers in (0, cores) if cores > 1 else (0,):
            rate = _on_cores(args, cores, workers)
            how = f"{workers} worker processes" if workers else "threads"
            needed = np.ceil(args.step_rate / (rate / cores))
            tables.row(cores, how, f"{rate:.1f}", f"{rate / cores:.1f}", f"{needed:.0f}")


if __name__ == "__main__":
    main()
