"""What an evaluation leaves behind: a table in the terminal; in the folder metrics.json, per_image_*.csv, pictures, a page."""

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


def tell(
    scores: Scores,
    source: Source,
    options: ConfigDict,
    workdir: Path,
    title: str,
    about: dict[str, str],
    predict: Callable[[dict], np.ndarray],
    facts: dict[str, str] | None = None,
    worse: dict[str, dict] | None = None,
) -> dict:
    """Prints the table, and writes metrics.json, a row for each image, the best and worst pictures, and the page of all.

    All processes may call it; the main one writes.

    Args:
      scores: of the split.
      source: its images.
      options: `config.evaluate`, of which `split` and `protocols` count.
      workdir: where the files go; made if need be.
      title: of the table, and key of metrics.json.
      about: what was scored, for metrics.json.
      predict: gives the scored mask of an example, uint8 [h, w].
      facts: more for the page, how it was made.
      worse: of `corruptions.curves`, None where nobody asked for it.

    Returns:
      `protocols.figures`.
    """
    figures = protocols.figures(scores, source.info.name, options.protocols)
    if parallel.is_main_process():
        workdir.mkdir(parents=True, exist_ok=True)
        print(report.table(title, figures))
        name = slug(source, options.split)
        picture, rows = workdir / f"evaluation_{name}.png", workdir / f"per_image_{name}.csv"
        steadiness = flicker.measure(scores, source, predict)
        more = {"flicker": steadiness.figures()} if steadiness else {}
        more |= {"corruptions": _for_json(worse)} if worse else {}
        report.write_metrics(workdir / "metrics.json", title, {**about, **figures, **more})
        report.write_per_image(rows, scores)
        is_drawn = gallery.write(picture, predict, source, scores)
        print(f"Figures: {workdir / 'metrics.json'}\nEach image: {rows}")
        if is_drawn:
            print(f"Pictures: {picture}")
        classes = ", ".join(scores.class_names)
        facts = {**about, **(facts or {}), "dataset": source.info.name, "split": options.split, "classes": classes}
        evaluation = evaluation_report.Evaluation(
            f"{source.info.name} [{options.split}]", source.info.name, scores, figures, steadiness, worse, facts
        )
        print(f"Page: {evaluation_report.write(workdir, name, evaluation, source, predict)}")
    return figures


def slug(source: Source, split: str) -> str:
    """A dataset and its split as part of a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{source.info.name}_{split}").strip("_")


def _for_json(worse: dict[str, dict]) -> dict:
    return {
        kind: {
            str(strength): {name: metrics.number(value) for name, value in told.items()}
            for strength, told in rows.items()
        }
        for kind, rows in worse.items()
    }
