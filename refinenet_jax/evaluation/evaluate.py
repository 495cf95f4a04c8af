"""A dataset -> the confusion of each of its images, and from them the figures and pictures of a checkpoint."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from refinenet_jax import parallel
from refinenet_jax.data import Source, check_masks, open_source, read_ahead
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import report
from refinenet_jax.evaluation.metrics import confusion, summarise
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.progress import progress_bar

Evaluate = Callable[..., np.ndarray]


def make_evaluate(segmenter: Segmenter) -> Evaluate:
    """Returns `evaluate(variables, source, batch_size, progress=None)`, compiled once for any weights of the model.

    It segments every image of the source and compares it at its own size, each exactly once, and returns the confusion
    matrices int64 [n, c, c] in the source's order. `progress(done, total)` is called after every batch. Several processes
    share the images, and all get all counts.
    """

    def count(variables: dict, batch: tuple[jax.Array, jax.Array]) -> jax.Array:
        images, masks = batch
        prediction = jnp.argmax(segmenter.probabilities(variables, images), -1)
        return confusion(masks, prediction, len(segmenter.class_names))

    count_batch = parallel.parallel_map(count)

    def evaluate(
        variables: dict, source: Source, batch_size: int, progress: Callable[[int, int], None] | None = None
    ) -> np.ndarray:
        mine = range(jax.process_index(), len(source), jax.process_count())
        classes = len(segmenter.class_names)
        counts = np.zeros((len(mine), classes, classes), np.int64)
        done = 0
        for batch in segmenter.batches(read_ahead(source.__getitem__, mine), batch_size):
            pair = segmenter.stack(batch), segmenter.stack(batch, "mask")
            counts[done : done + len(batch)] = count_batch(variables, pair)
            done += len(batch)
            if progress:
                progress(done, len(mine))
        return parallel.gather_rows(np.array(mine, np.int64), counts, len(source))

    return evaluate


def evaluate_checkpoint(config: ConfigDict, workdir: str | os.PathLike, directory: str | os.PathLike) -> dict:
    """Scores a checkpoint on `config.evaluate.split`; prints a table, adds to metrics.json, draws the best and the worst.

    Args:
      config: its `data` and `evaluate` say on what and how.
      workdir: where metrics.json and the pictures go.
      directory: training folder that holds the checkpoint.

    Returns:
      The summary (`metrics.summarise`).

    Raises:
      UsageError: no checkpoint, no dataset, or one with other classes than the model's.
    """
    options = config.evaluate
    source = open_source(config.data.name, options.split, config.data.dir)
    segmenter = Segmenter.from_checkpoint(directory, scales=options.scales, flip=options.flip)
    if len(segmenter.class_names) != source.info.num_classes:
        raise UsageError(
            f"The model in {directory} knows {', '.join(segmenter.class_names)}; {source.info.name} has "
            f"{', '.join(source.info.class_names)}. Evaluate it on a dataset with its classes: --config.data.name=..."
        )
    theirs = source.info.class_names
    if sorted(segmenter.class_names) == sorted(theirs) and segmenter.class_names != theirs:
        raise UsageError(
            f"The model in {directory} has the classes {', '.join(segmenter.class_names)}, {source.info.name} has them in "
            f"another order: {', '.join(theirs)}."
        )
    check_masks(source)
    with progress_bar("evaluating", len(source)) as bar:
        counts = make_evaluate(segmenter)(
            segmenter.variables, source, options.batch_size, lambda done, total: bar.update(done - bar.n)
        )
    summary = summarise(counts, source.info.class_names)
    scales = ", ".join(map(str, options.scales))
    title = f"{source.info.name} [{options.split}], scales {scales}{', flipped' if options.flip else ''}"
    if parallel.is_main_process():
        workdir = Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        picture = (
            workdir
            / f"evaluation_{re.sub(r'[^A-Za-z0-9]+', '_', source.info.name + '_' + options.split).strip('_')}.png"
        )
        report.write_metrics(workdir / "metrics.json", title, {"checkpoint": str(directory), **summary})
        report.write_gallery(picture, segmenter, source, counts)
        print(report.table(title, summary))
        print(f"Figures: {workdir / 'metrics.json'}\nPictures: {picture}")
    return summary
