"""Writes the results of an evaluation: a table in the terminal, and metrics.json, per_image_*.csv, pictures and a page."""

import re
from pathlib import Path

from refinenet_jax import parallel
from refinenet_jax.data.examples import Source
from refinenet_jax.evaluation import metrics
from refinenet_jax.evaluation.report import evaluation_report, gallery, report
from refinenet_jax.evaluation.report.evaluation_report import Evaluation


def write(workdir: Path, evaluation: Evaluation) -> dict:
    """Prints the table and writes metrics.json, a row per image, the best and worst pictures, and the page.

    All processes may call it; only the main process writes. The folder is created if necessary.

    Returns:
      The figures of `protocols.figures`.
    """
    if parallel.is_main_process():
        workdir.mkdir(parents=True, exist_ok=True)
        print(report.table(evaluation.title, evaluation.figures))
        name = slug(evaluation.source, evaluation.split)
        picture, rows = workdir / f"evaluation_{name}.png", workdir / f"per_image_{name}.csv"
        more = {"flicker": evaluation.flicker.figures()} if evaluation.flicker else {}
        more |= {"corruptions": _for_json(evaluation.corruptions)} if evaluation.corruptions else {}
        summary = {**evaluation.about, **evaluation.figures, **more}
        report.write_metrics(workdir / "metrics.json", evaluation.title, summary)
        report.write_per_image(rows, evaluation.scores)
        print(f"Figures: {workdir / 'metrics.json'}\nEach image: {rows}")
        if gallery.write(picture, evaluation.predict, evaluation.source, evaluation.scores):
            print(f"Pictures: {picture}")
        print(f"Page: {evaluation_report.write(workdir, name, evaluation)}")
    return evaluation.figures


def slug(source: Source, split: str) -> str:
    """Returns a dataset and split as part of a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{source.info.name}_{split}").strip("_")


def _for_json(corrupted: dict[str, dict]) -> dict:
    """Returns the curves with None for NaN."""
    return {
        kind: {s: {name: metrics.number(value) for name, value in figures.items()} for s, figures in rows.items()}
        for kind, rows in corrupted.items()
    }
