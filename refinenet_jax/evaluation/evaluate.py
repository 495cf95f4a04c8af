"""Evaluates a checkpoint, or masks in a folder, on a dataset."""

import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from refinenet_jax import parallel
from refinenet_jax.data.examples import Source
from refinenet_jax.data.reading import read_ahead
from refinenet_jax.data.sources import check_masks, open_source
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import cvpr18, metrics, predictions, protocols
from refinenet_jax.evaluation.analysis import corruptions
from refinenet_jax.evaluation.mask_store import MaskStore
from refinenet_jax.evaluation.report import evaluation_report
from refinenet_jax.evaluation.report.evaluation_report import Evaluation
from refinenet_jax.evaluation.scores import Prediction, Scores, gather, measure
from refinenet_jax.inference import crf
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.segmenter import Prepared, Segmenter
from refinenet_jax.progress import progress_bar


def count(
    segmenter: Segmenter, source: Source, batch_size: int, progress: Callable[[int, int], None] | None = None
) -> np.ndarray:
    """Returns the confusion matrix of every image of a source, at its own size. Training uses it; `score` measures more.

    Args:
      segmenter: with the classes of the source.
      source: pictures and truth. Several processes share the work, and each returns all counts.
      batch_size: number of pictures of one canvas per batch; 0 for the default of the device.
      progress: called after every picture with the number done and the total of this process.

    Returns:
      int64 [n, c, c], in the source's order.

    Raises:
      UsageError: a picture cannot be read; on all processes.
    """
    mine = parallel.share(len(source))
    indices, counts = [], np.zeros((len(mine), *[len(segmenter.class_names)] * 2), np.int64)
    with parallel.raise_on_all_processes():
        for (index, example), result in _segment(segmenter, source, mine, batch_size):
            counts[len(indices)] = metrics.count(example["mask"], result.mask, len(segmenter.class_names))
            indices.append(index)
            if progress:
                progress(len(indices), len(mine))
    return parallel.gather_rows(np.array(indices, np.int64), counts, len(source))


def _segment(
    segmenter: Segmenter, source: Source, indices: Iterable[int], batch_size: int
) -> Iterator[tuple[tuple[int, dict], Segmentation]]:
    """Yields ((index, example), result) for the examples at `indices`, in the order in which batches are completed."""

    def read(index: int) -> tuple[tuple[int, dict], Prepared]:
        example = source[index]
        return (index, example), segmenter.prepare(example["image"])

    return segmenter.unordered(read_ahead(read, indices), batch_size or None)


def score(
    segmenter: Segmenter,
    source: Source,
    options: ConfigDict,
    folder: Path | None = None,
    store: MaskStore | None = None,
) -> Scores:
    """Segments every image of a source once and measures the masks at the images' own size.

    Threads on the host measure the masks while the network computes the next ones. The counts are those of masks that were
    written and read again. Several processes share the images, and each returns the whole table. The protocol cvpr18 needs a
    second pass, because its predictions differ.

    Args:
      segmenter: with the classes of the source.
      source: pictures and truth.
      options: `config.evaluate`; only `protocols` and `batch_size` are used.
      folder: masks are written there as strict/ID.png, and those of the second pass as cvpr18/ID.png; None writes nothing.
      store: also keeps this process's masks in memory.

    Raises:
      UsageError: a picture cannot be read or a mask cannot be written; raised on all processes.
    """
    protocols.check(options.protocols)
    published = None

    def keep(kind: str) -> Callable[[str, np.ndarray], object]:
        sinks = [partial(predictions.write, folder / kind)] if folder else []
        if store is not None and kind == "strict":
            sinks.append(store.add)
        return lambda name, mask: [sink(name, mask) for sink in sinks]

    mine, keep_strict = parallel.share(len(source)), keep("strict")
    with parallel.raise_on_all_processes(), progress_bar("evaluating", len(mine)) as bar:

        def predicted() -> Iterator[Prediction]:
            for (index, example), result in _segment(segmenter, source, mine, options.batch_size):
                keep_strict(example["id"], result.mask)
                yield Prediction(index, example, result.mask, probabilities=result.scores)
                bar.update()

        rows = measure(predicted(), source.info)
    if "cvpr18" in options.protocols:
        with progress_bar("evaluating, cvpr18", len(mine)) as bar:
            published = cvpr18.count(segmenter, source, options.batch_size, bar.update, keep("cvpr18"))
    return gather(rows, source.info, len(source), published)


def load(path: str | os.PathLike, options: ConfigDict) -> Segmenter:
    """Loads a network with the test-time settings of `config.evaluate`."""
    parameters = crf.parse_parameters(options.crf) if options.crf else None
    return Segmenter.from_checkpoint(
        path, scales=options.scales, longest_side=options.longest_side, flip=options.flip, crf=parameters
    )


def evaluate_checkpoint(
    config: ConfigDict,
    workdir: str | os.PathLike,
    directory: str | os.PathLike,
    *,
    save_predictions: bool = False,
    corrupted: bool = False,
) -> dict:
    """Scores a checkpoint on `config.evaluate.split`, prints the figures and writes them into `workdir`.

    Args:
      config: uses its fields `data` and `evaluate`.
      workdir: folder for metrics.json, the table of all images, the page and the pictures.
      directory: run folder with the checkpoint.
      save_predictions: whether to write the masks as well.
      corrupted: whether to score under all `corruptions` as well, which takes 30 times as long.

    Returns:
      The figures by protocol (`protocols.figures`).

    Raises:
      UsageError: there is no checkpoint or dataset, or the dataset has other classes than the model.
    """
    options = config.evaluate
    with parallel.raise_on_all_processes():
        protocols.check(options.protocols)
        source = open_source(config.data.name, options.split, config.data.dir)
        check_masks(source)
    segmenter = load(directory, options)
    check_classes(segmenter, source, directory)
    workdir = epath.Path(workdir)
    folder = workdir / f"predictions_{evaluation_report.slug(source, options.split)}" if save_predictions else None
    store = MaskStore()
    scores = score(segmenter, source, options, folder, store)
    store.gather()
    worse = None
    if corrupted:
        strict = ConfigDict({"protocols": ("strict",), "batch_size": options.batch_size})
        worse = corruptions.curves(source, scores, lambda source: score(segmenter, source, strict))
    scales = ", ".join(map(str, options.scales))
    title = f"{source.info.name} [{options.split}], scales {scales}{', flipped' if options.flip else ''}"
    title += f", longest side {options.longest_side}" if options.longest_side else ""
    title += f", CRF {options.crf}" if options.crf else ""
    about = {"checkpoint": str(directory)}
    evaluation = Evaluation(source, options.split, scores, store.mask, options.protocols, title, about, worse)
    figures = evaluation_report.write(workdir, evaluation)
    if folder and parallel.is_main_process():
        print(f"Masks: {folder}")
    return figures


def evaluate_predictions(
    config: ConfigDict, workdir: str | os.PathLike, folder: str | os.PathLike, *, resize: bool = False
) -> dict:
    """Scores masks in a folder, made by any program, as `evaluate_checkpoint` scores a network.

    Args:
      config: uses its fields `data` and `evaluate`.
      workdir: folder for the figures and pictures.
      folder: folder of masks; see `predictions`.
      resize: whether masks of another size than their picture are resized by nearest neighbor instead of refused.

    Returns:
      The figures by protocol (`protocols.figures`).

    Raises:
      UsageError: there is no dataset, or masks are missing or wrong.
    """
    options = config.evaluate
    with parallel.raise_on_all_processes():
        protocols.check(options.protocols)
        source = open_source(config.data.name, options.split, config.data.dir)
        masks = predictions.Predictions(folder, source.info, resize)
        check_masks(source)
    scores = predictions.score(masks, source, options)
    title = f"{source.info.name} [{options.split}], masks in {folder}"
    about = {"predictions": str(folder)}

    def predict(example: dict) -> np.ndarray:
        pair = masks.read(example)
        return np.zeros_like(example["mask"]) if pair is None else pair[1]

    evaluation = Evaluation(source, options.split, scores, predict, options.protocols, title, about)
    return evaluation_report.write(epath.Path(workdir), evaluation)


def check_classes(segmenter: Segmenter, source: Source, directory: str | os.PathLike) -> None:
    """Raises UsageError if the classes of the model in `directory` do not fit those of the dataset."""
    ours, theirs = segmenter.class_names, source.info.class_names
    if len(ours) != len(theirs):
        raise UsageError(
            f"The model in {directory} has the classes {', '.join(ours)}, {source.info.name} has {', '.join(theirs)}. Give a "
            "dataset with the same classes: --config.data.name=..."
        )
    if sorted(ours) == sorted(theirs) and ours != theirs:
        raise UsageError(
            f"The model in {directory} has the classes {', '.join(ours)}, {source.info.name} has them in another order: "
            f"{', '.join(theirs)}. Build or list them in the same order."
        )
