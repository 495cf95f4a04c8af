"""Writes report.html: the training of a run on one self-contained page.

It is made from the files in the folder, model.json and log.jsonl. Missing files are skipped, and damaged ones are named; the
same folder gives the same page. Evaluations of checkpoints have pages of their own (evaluation_*.html), which are listed.
"""

import json
import os
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from etils import epath

from refinenet_jax import parallel, text_files
from refinenet_jax.checkpoint import BEST, DESCRIPTION
from refinenet_jax.evaluation.report.page import (
    descriptions,
    figure,
    label,
    page,
    panels,
    paragraph,
    swatches,
    table,
    text,
)
from refinenet_jax.evaluation.report.plots import COLORS, svg
from refinenet_jax.training import log
from refinenet_jax.training.curves import curve, draw, is_drawable, number

NAME = "report.html"
_MAX_EVENTS, _MAX_PAGES = 200, 20
_SCORES = (BEST, "hand_iou", "hand_precision", "hand_recall", "pixel_accuracy")
_MAX_CLASSES = 8  # largest number of classes in the table of evaluations


def write_report(workdir: str | os.PathLike) -> epath.Path:
    """Writes report.html into the folder of a run, in the main process only.

    Returns:
      The path of the report.

    Raises:
      OSError: the file cannot be written.
    """
    path = epath.Path(workdir) / NAME
    if parallel.is_main_process():
        text_files.replace(path, _page(path.parent))
    return path


def _page(workdir: epath.Path) -> str:
    entries = log.read(workdir)
    training, evaluations, events = (
        [entry for entry in entries if entry["kind"] == kind] for kind in ("train", "evaluation", "event")
    )
    model = _load(workdir / DESCRIPTION)
    title = " on ".join(text(model[key]) for key in ("variant", "dataset") if key in model)
    times = [text(entry["time"])[:16].replace("T", " ") for entry in entries if "time" in entry]
    sections = (
        ("Summary", _summary(training, evaluations)),
        ("Network", _network(model)),
        ("Curves", _curves(training, evaluations)),
        ("Evaluations during training", _evaluations(evaluations)),
        ("Evaluations of checkpoints", _pages(workdir)),
        ("Events", _events(events)),
    )
    name = workdir.name or workdir.absolute().name
    return page(title or name, f"{times[0]} to {times[-1]} UTC" if times else "", sections)


def _summary(training: Sequence[dict], evaluations: Sequence[dict]) -> str:
    """Returns tiles with the most important figures."""
    tiles = []
    best = _best(evaluations)
    if best is not None:
        entry = evaluations[best]
        when = f"best, at step {entry['step']:,}"
        tiles += [("mean IoU", text(entry[BEST], ".4f"), when), ("hand IoU", text(entry.get("hand_iou"), ".4f"), when)]
    if training or evaluations:
        steps = max(entry["step"] for entry in (*training, *evaluations))
        tiles.append(("steps", f"{steps:,}", f"evaluations: {len(evaluations):,}"))
    return descriptions("tiles", tiles)


def _network(model: Mapping[str, Any]) -> str:
    return descriptions("facts", [(label(key), text(value)) for key, value in model.items()])


def _curves(training: Sequence[dict], evaluations: Sequence[dict]) -> str:
    terms = sorted({key for entry in training for key in entry if key.startswith("loss_")})
    losses = ["loss", *(terms if len(terms) > 1 else [])]  # a single term equals the loss
    ious = {
        "mean, evaluation": curve(evaluations, BEST),
        "hand, evaluation": curve(evaluations, "hand_iou"),
        "mean, training crops": curve(training, "mean_iou"),
    }
    charts = (
        ("Loss", "log", {label(key.removeprefix("loss_")): curve(training, key) for key in losses}),
        ("IoU", "values", ious),
        ("Learning rate", "zero", {"": curve(training, "learning_rate")}),
        ("Gradient norm", "log", {"": curve(training, "gradient_norm")}),
        ("Images per second", "zero", {"": curve(training, "images_per_second")}),
    )
    figures = []
    for name, axis, curves in charts:
        curves = {legend: points for legend, points in curves.items() if is_drawable(points)}
        if curves:
            legend = swatches(COLORS, curves) if len(curves) > 1 else ""
            figures.append(figure(name, svg(name, draw, list(curves.values()), axis), legend))
    return panels(figures) if figures else ""


def _evaluations(evaluations: Sequence[dict]) -> str:
    keys = [key for key in _SCORES if any(key in entry for entry in evaluations)]
    ious = [entry["iou"] if isinstance(entry.get("iou"), dict) else {} for entry in evaluations]
    classes = list(dict.fromkeys(name for iou in ious for name in iou))[:_MAX_CLASSES]
    best = _best(evaluations)
    rows = [
        [f"{entry['step']:,}{' · best' if i == best else ''}"]
        + [text(entry.get(key), ".4f") for key in keys]
        + [text(iou.get(name), ".4f") for name in classes]
        for i, (entry, iou) in enumerate(zip(evaluations, ious, strict=True))
    ]
    return table("figures", ["step", *map(label, keys), *(f"IoU of {name}" for name in classes)], rows, best)


def _pages(workdir: epath.Path) -> str:
    names = [path.name for path in sorted(workdir.glob("evaluation_*.html"))[:_MAX_PAGES]]
    return paragraph(f"Figures and pictures of each in the same folder: {', '.join(names)}") if names else ""


def _events(events: Sequence[dict]) -> str:
    rows = []
    for entry in events[-_MAX_EVENTS:]:
        details = {key: value for key, value in entry.items() if key not in ("time", "step", "kind", "what")}
        description = "; ".join(f"{label(key)}: {text(value)}" for key, value in details.items())
        time = text(entry.get("time"))[:19].replace("T", " ")
        rows.append([f"{entry['step']:,}", text(entry.get("what")), description, time])
    earlier = len(events) - len(rows)
    note = f"These are the last {len(rows):,}; {log.NAME} has {earlier:,} more." if earlier else ""
    return paragraph(note) + table("events", ["step", "what", "details", "time (UTC)"], rows)


def _best(evaluations: Sequence[dict]) -> int | None:
    """Returns the index of the evaluation whose checkpoint is kept as the best; the last one of equal scores."""
    scores = [number(entry.get(BEST)) for entry in evaluations]
    scored = [i for i, score in enumerate(scores) if isfinite(score)]
    return max(scored, key=lambda i: (scores[i], i), default=None)


def _load(path: epath.Path) -> dict:
    """Reads a JSON object; returns {} if the file does not exist, and the error if it is damaged."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        return {path.name: f"cannot be read: {error}"}
    return content if isinstance(content, dict) else {path.name: "is not a JSON object"}
