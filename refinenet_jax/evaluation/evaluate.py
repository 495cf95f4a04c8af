"""A dataset -> a table of scores, and from it the figures and pictures of a checkpoint or of masks in a folder."""

import os
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from refinenet_jax import checkpoint, parallel
from refinenet_jax.data import Source, check_masks, open_source, read_ahead
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import calibration, corruptions, cvpr18, predictions, protocols, results
from refinenet_jax.evaluation.mask_store import MaskStore
from refinenet_jax.evaluation.metrics import confusion
from refinenet_jax.evaluation.scores import Collector, Scores
from refinenet_jax.inference import crf, shapes
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.progress import progress_bar, say

Evaluate = Callable[..., np.ndarray]


def make_evaluate(segmenter: Segmenter) -> Evaluate:
    """Returns `evaluate(variables, source, batch_size, progress=None)`, compiled once for any weights of the model.

    It segments every image of the source and compares it at its own size, each exactly once, and returns the confusion
    matrices int64 [n, c, c] in the source's order. `progress(done, total)` is called after every batch. Several processes
    share the images, and all get all counts. This is what training does; `score` tells more and takes longer.
    """

    def count(variables: dict, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        images, masks = batch
        prediction = jnp.argmax(segmenter.probabilities(variables, images), -1)
        return confusion(masks, prediction, len(segmenter.class_names))

    count_batch = parallel.parallel_map(count)

    def evaluate(
        variables: dict, source: Source, batch_size: int, progress: Callable[[int, int], None] | None = None
    ) -> np.ndarray:
        mine = parallel.share(len(source))
        classes = len(segmenter.class_names)
        counts = np.zeros((len(mine), classes, classes), np.int64)
        done = 0
        arranged, _ = arrange(segmenter, source)
        for batch in arranged.grouped(_numbered(source, mine), batch_size):
            pair = arranged.stack(batch), arranged.stack(batch, "mask")
            counts[[example["place"] for example in batch]] = count_batch(variables, pair)
            done += len(batch)
            if progress:
                progress(done, len(mine))
        return parallel.gather_rows(np.array(mine, np.int64), counts, len(source))

    return evaluate


def score(
    segmenter: Segmenter,
    source: Source,
    options: ConfigDict,
    folder: Path | None = None,
    store: MaskStore | None = None,
) -> Scores:
    """Segments every image of a source once and measures it at its own size.

    The masks come to the host, where the counts are made of them in threads beside the network: the same counts as of masks
    that were written and read again. Several processes share the images, and all get the whole table. The protocol cvpr18
    takes a second pass, for it has predictions of its own.

    Args:
      segmenter: with the classes of the source.
      source: pictures and truth.
      options: `config.evaluate`, of which only `protocols` and `batch_size` count.
      folder: where the masks are written as strict/ID.png, and those of the second pass as cvpr18/ID.png; None for nowhere.
      store: where this process's masks are kept, too.

    Raises:
      UsageError: a picture cannot be read, or a mask not be written; on all processes.
    """
    protocols.check(options.protocols)
    refused, published = None, None

    def keep(kind: str) -> Callable[[str, np.ndarray], object]:
        sinks = [partial(predictions.write, folder / kind)] if folder else []
        if store is not None and kind == "strict":
            sinks.append(store.add)
        return lambda name, mask: [sink(name, mask) for sink in sinks]

    with Collector(source.info, len(source)) as collector:
        try:
            histogram = _examine(segmenter, source, options.batch_size, collector, keep("strict"))
        except UsageError as error:
            refused = error
        parallel.agree(refused)
        if "cvpr18" in options.protocols:
            with progress_bar("evaluating after cvpr18", len(parallel.share(len(source)))) as bar:
                published = cvpr18.count(segmenter, source, options.batch_size, bar.update, keep("cvpr18"))
        return collector.scores(histogram, published)


def _examine(
    segmenter: Segmenter,
    source: Source,
    batch_size: int,
    collector: Collector,
    keep: Callable[[str, np.ndarray], object],
) -> np.ndarray:
    """Gives the collector this process's masks; returns the calibration, int64 [bins, k]."""

    examine_batch = _examiner(segmenter)
    mine = parallel.share(len(source))
    arranged, told = arrange(segmenter, source)
    programs = set()
    total = np.zeros((calibration.BINS, len(calibration.COLUMNS)), np.int64)
    with progress_bar("evaluating", len(mine)) as bar:
        for batch in arranged.grouped(_numbered(source, mine), batch_size):
            pair = arranged.stack(batch), arranged.stack(batch, "mask")
            masks, histograms = examine_batch(arranged, batch, pair)
            programs.add(pair[0].shape)
            total += histograms.sum(0, dtype=np.int64)
            for example, mask in zip(batch, masks, strict=True):
                height, width = example["mask"].shape
                mask = np.ascontiguousarray(mask[:height, :width])
                collector.add(mine[example.pop("place")], example, mask)
                keep(example["id"], mask)
            bar.update(len(batch))
    if told:
        say(f"{told}; compiled {len(programs)} times")
    return total


def arrange(segmenter: Segmenter, source: Source) -> tuple[Segmenter, str]:
    """The segmenter with few padded sizes for all images of a source, by their headers, and a line about it if they differ."""
    sizes = [size for size in read_ahead(source.size, range(len(source)), window=64) if size]
    plan = shapes.plan(sizes, segmenter.size_multiple)
    return segmenter.with_shapes(plan), shapes.describe(plan, sizes) if len(plan) > 1 else ""


def _numbered(source: Source, mine: range) -> Iterator[dict]:
    """The examples, each with its `place` among this process's."""
    for place, example in enumerate(read_ahead(source.__getitem__, mine)):
        yield {**example, "place": place}


@lru_cache(maxsize=1)  # of the last network: all corruptions of a source are scored by the same program
def _examiner(segmenter: Segmenter) -> Callable:
    """(segmenter, batch, (images, masks)) -> masks uint8 [b, h, w] and calibration counts [b, bins, k]."""

    def examine(variables: dict, batch: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        images, masks = batch
        probabilities = segmenter.probabilities(variables, images)
        return jnp.argmax(probabilities, -1).astype(jnp.uint8), calibration.histogram(probabilities, masks)

    on_devices = parallel.parallel_map(examine)

    def with_crf(arranged: Segmenter, batch: list[dict], pair: tuple) -> tuple[list[np.ndarray], np.ndarray]:
        masks, histograms = [], []
        for result in arranged.stream([example["image"] for example in batch], len(batch)):
            truth = batch[len(masks)]["mask"]
            histograms.append(np.asarray(histogram(result.scores[None], truth[None]))[0])
            masks.append(result.mask)
        return masks, np.stack(histograms)

    if segmenter.crf is None:
        return lambda arranged, batch, pair: tuple(map(np.asarray, on_devices(segmenter.variables, pair)))
    histogram = jax.jit(calibration.histogram)
    return with_crf


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
      config: its `data` and `evaluate` say on what and how.
      workdir: where metrics.json, the table of all images, the page and the pictures go.
      directory: training folder that holds the checkpoint.
      save_predictions: whether the masks are written there, too.
      corrupted: whether it is scored under all `corruptions`, too, which takes 30 times as long.

    Returns:
      The figures by protocol (`protocols.figures`).

    Raises:
      UsageError: no checkpoint, no dataset, or one with other classes than the model's.
    """
    options = config.evaluate
    protocols.check(options.protocols)
    source = open_source(config.data.name, options.split, config.data.dir)
    parameters = crf.read_parameters(options.crf) if options.crf else None
    segmenter = Segmenter.from_checkpoint(
        directory, scales=options.scales, longest_side=options.longest_side, flip=options.flip, crf=parameters
    )
    check_classes(segmenter, source, directory)
    check_masks(source)
    workdir = Path(workdir)
    folder = workdir / f"predictions_{results.slug(source, options.split)}" if save_predictions else None
    store = MaskStore()
    scores = score(segmenter, source, options, folder, store)
    store.gather()
    worse = _corruptions(segmenter, source, options, scores) if corrupted else None
    scales = ", ".join(map(str, options.scales))
    title = f"{source.info.name} [{options.split}], scales {scales}{', flipped' if options.flip else ''}"
    title += f", longest side {options.longest_side}" if options.longest_side else ""
    title += ", CRF" if options.crf else ""
    description = (checkpoint.read_description(directory) if Path(directory).is_dir() else None) or {}
    about = {"checkpoint": str(directory)}
    facts = {
        "network": description.get("variant", ""),
        "trained on": description.get("dataset", ""),
        "longest side": f"brought to {options.longest_side} pixels" if options.longest_side else "as it is",
        "scales": f"{scales}, on top of the network's {segmenter.model.input_scale}",
        "mirrored": "averaged with the mirrored image" if options.flip else "no",
        "dense CRF": options.crf or "no",
    }
    figures = results.tell(scores, source, options, workdir, title, about, store.mask, facts, worse)
    if folder and parallel.is_main_process():
        print(f"Masks: {folder}")
    return figures


def evaluate_predictions(
    config: ConfigDict, workdir: str | os.PathLike, folder: str | os.PathLike, *, resize: bool = False
) -> dict:
    """Scores the masks in a folder, whoever made them, as `evaluate_checkpoint` those of a network.

    Args:
      config: its `data` and `evaluate` say on what and how.
      workdir: where the figures and pictures go.
      folder: of the masks; see `predictions`.
      resize: whether masks of another size than their picture are resized by nearest neighbour, instead of refused.

    Returns:
      The figures by protocol (`protocols.figures`).

    Raises:
      UsageError: no dataset, no masks, or wrong ones.
    """
    options = config.evaluate
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

    return results.tell(scores, source, options, Path(workdir), title, about, predict)


def check_classes(segmenter: Segmenter, source: Source, directory: str | os.PathLike) -> None:
    """Raises UsageError where a model, of this folder, cannot be scored on a dataset because of its classes."""
    ours, theirs = segmenter.class_names, source.info.class_names
    if len(ours) != len(theirs):
        raise UsageError(
            f"The model in {directory} knows {', '.join(ours)}; {source.info.name} has {', '.join(theirs)}. Evaluate it on a "
            "dataset with its classes: --config.data.name=..."
        )
    if sorted(ours) == sorted(theirs) and ours != theirs:
        raise UsageError(
            f"The model in {directory} has the classes {', '.join(ours)}, {source.info.name} has them in another order: "
            f"{', '.join(theirs)}."
        )


def _corruptions(segmenter: Segmenter, source: Source, options: ConfigDict, clean: Scores) -> dict[str, dict]:
    """What `corruptions.curves` tells; all processes must call it."""
    strict = ConfigDict({"protocols": ("strict",), "batch_size": options.batch_size})
    return corruptions.curves(source, lambda worse: clean if worse is source else score(segmenter, worse, strict))
