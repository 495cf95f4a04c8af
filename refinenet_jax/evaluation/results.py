"""Writes the results of an evaluation: a table in the terminal, and metrics.json, per_image_*.csv, pictures and a page."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from refinenet_jax import parallel
from refinenet_jax.data.examples import Source
from refinenet_jax.evaluation import metrics, protocols
from refinenet_jax.evaluation.analysis import flicker
from refinenet_jax.evaluation.report import evaluation_report, gallery, report
from refinenet_jax.evaluation.scores import Scores


def write(
    scores: Scores,
    source: Source,
    options: ConfigDict,
    workdir: Path,
    title: str,
    about: dict[str, str],
    predict: Callable[[dict], np.ndarray],
    facts: dict[str, str] | None = None,
    corrupted: dict[str, dict] | None = None,
) -> dict:
    """Prints the table and writes metrics.json, a row per image, the best and worst pictures, and the page.

    All processes may call it; only the main process writes.

    Args:
      scores: scores of the split.
      source: images of the split.
      options: `config.evaluate`; only `split` and `protocols` are used.
      workdir: folder for the files, created if necessary.
      title: title of the table and key in metrics.json.
      about: what was scored, for metrics.json.
      predict: returns the scored mask of an example, uint8 [h, w].
      facts: settings to list on the page.
      corrupted: result of `corruptions.curves`; None if it was not requested.

    Returns:
      The figures of `protocols.figures`.
    """
    figures = protocols.figures(scores, source.info.name, options.protocols)
    if parallel.is_main_process():
        workdir.mkdir(parents=True, exist_ok=True)
        print(report.table(title, figures))
        name = slug(source, options.split)
        picture, rows = workdir / f"evaluation_{name}.png", workdir / f"per_image_{name}.csv"
        steadiness = flicker.measure(scores, source, predict)
        more = {"flicker": steadiness.figures()} if steadiness else {}
        more |= {"corruptions": _for_json(corrupted)} if corrupted else {}
        report.write_metrics(workdir / "metrics.json", title, {**about, **figures, **more})
        report.write_per_image(rows, scores)
        is_drawn = gallery.write(picture, predict, source, scores)
        print(f"Figures: {workdir / 'metrics.json'}\nEach image: {rows}")
        if is_drawn:
            print(f"Pictures: {picture}")
        classes = ", ".join(scores.class_names)
        facts = {**about, **(facts or {}), "dataset": source.info.name, "split": options.split, "classes": classes}
        evaluation = evaluation_report.Evaluation(
            f"{source.info.name} [{options.split}]", source.info.name, scores, figures, steadiness, corrupted, facts
        )
        print(f"Page: {evaluation_report.write(workdir, name, evaluation, source, predict)}")
    return figures


def slug(source: Source, split: str) -> str:
    """Returns a dataset and split as part of a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{source.info.name}_{split}").strip("_")


def _for_json(corrupted: dict[str, dict]) -> dict:
    return {
        kind: {
            str(strength): {name: metrics.number(value) for name, value in figures.items()}
            for strength, figures in rows.items()
        }
        for kind, rows in corrupted.items()
    }
