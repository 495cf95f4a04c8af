"""Writes report.html: a run on one self-contained page.

It is made from the files in the folder: model.json, log.jsonl, metrics.json and evaluation_*.png. Missing files are skipped,
and damaged ones are named; the same folder gives the same page.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from statistics import median
from typing import Any

import cv2
from etils import epath

from refinenet_jax import parallel, text_files
from refinenet_jax.checkpoint import BEST, DESCRIPTION
from refinenet_jax.data import images
from refinenet_jax.data.examples import DataError
from refinenet_jax.evaluation.report.page import (
    descriptions,
    figure,
    label,
    page,
    panels,
    paragraph,
    picture,
    swatches,
    table,
    text,
)
from refinenet_jax.evaluation.report.plots import COLORS
from refinenet_jax.training import log
from refinenet_jax.training.curves import LEFT_OUT, RESUMED, curve, draw, is_drawable, number

NAME = "report.html"
_MAX_EVENTS, _MAX_PICTURES, _MAX_FIGURES = 200, 20, 500
_PICTURE = (1400, 6000)  # largest width and height in pixels
_SCORES = (BEST, "hand_iou", "hand_precision", "hand_recall", "pixel_accuracy")
_MAX_CLASSES = 8  # largest number of classes in the table of evaluations
_SIDE_BY_SIDE = 3  # number of evaluations in one table of figures
_LABELS = {"variant": "network", "class_names": "classes", "dtype": "computed in", "scales": "evaluated at scales"}


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
        ("Curves", _curves(training, evaluations, events)),
        ("Evaluations during training", _evaluations(evaluations)),
        ("Evaluations of checkpoints", _metrics(_load(workdir / "metrics.json")) + _pages(workdir)),
        ("Pictures", _pictures(workdir)),
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
    speeds = [speed for speed in curve(training, "images_per_second").values() if isfinite(speed)]
    if speeds:
        tiles.append(("images/s", f"{median(speeds):.3g}", "median, training alone"))
    return descriptions("tiles", tiles)


def _network(model: Mapping[str, Any]) -> str:
    facts = {key: text(value) for key, value in model.items()}
    try:
        classes = model["class_names"]
        facts["flip_pairs"] = ", ".join(f"{classes[a]} and {classes[b]}" for a, b in model["flip_pairs"]) or "none"
    except (KeyError, TypeError, ValueError, IndexError):
        pass  # the pairs are invalid and shown as they are
    return descriptions("facts", [(_LABELS.get(key, label(key)), fact) for key, fact in facts.items()])


def _curves(training: Sequence[dict], evaluations: Sequence[dict], events: Sequence[dict]) -> str:
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
    steps = curve((*training, *evaluations), "step")
    if not steps:
        return ""
    resumed, left_out = (_marks(events, what, max(steps)) for what in ("resumed", "step skipped"))
    marks = {"span": (min(steps), max(steps)), "resumed": resumed, "left_out": left_out}
    figures = []
    for name, axis, curves in charts:
        curves = {legend: points for legend, points in curves.items() if is_drawable(points)}
        if curves:
            legend = swatches(COLORS, curves) if len(curves) > 1 else ""
            svg = draw(name, list(curves.values()), axis=axis, **marks)
            figures.append(figure(name, svg, legend))
    key = swatches([RESUMED], ["dotted line: resumed"]) if resumed else ""
    key += swatches([LEFT_OUT], ["triangle: step skipped"]) if left_out else ""
    return f"{panels(figures, 'curves')}<p class=key>{key}</p>\n" if figures else ""


def _marks(events: Sequence[dict], what: str, last: float) -> list[float]:
    """Returns the sorted steps of a kind of event, up to the last step of the curves."""
    return sorted(step for step in curve((e for e in events if e.get("what") == what), "step") if step <= last)


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


def _metrics(metrics: Mapping[str, Any]) -> str:
    """Returns tables with a column for every evaluation."""
    columns = {title: dict(_flatten(_without_corruptions(value))) for title, value in metrics.items()}
    tables = []
    for first in range(0, len(columns), _SIDE_BY_SIDE):
        titles = list(columns)[first : first + _SIDE_BY_SIDE]
        names = list(dict.fromkeys(name for title in titles for name in columns[title]))[:_MAX_FIGURES]
        rows = [[name, *(columns[title].get(name, "") for title in titles)] for name in names]
        tables.append(table("figures", ["", *titles], rows))
    return "".join(tables)


def _without_corruptions(summary: Any) -> Any:
    """Removes the figures of corruptions, which are drawn as curves on the page of the evaluation."""
    return (
        {key: value for key, value in summary.items() if key != "corruptions"} if isinstance(summary, dict) else summary
    )


def _pages(workdir: epath.Path) -> str:
    names = [path.name for path in sorted(workdir.glob("evaluation_*.html"))[:_MAX_PICTURES]]
    return paragraph(f"More of each in the same folder: {', '.join(names)}") if names else ""


def _pictures(workdir: epath.Path) -> str:
    paths = sorted(workdir.glob("evaluation_*.png"))[:_MAX_PICTURES]
    return "".join(figure(path.stem, _picture(path), kind="picture") for path in paths)


def _picture(path: epath.Path) -> str:
    """Embeds the picture as a JPEG, reduced if it is too large."""
    try:
        pixels = images.decode_rgb(path.read_bytes(), path.name)
    except (DataError, OSError) as error:
        return paragraph(str(error))
    height, width = pixels.shape[:2]
    factor = min(_PICTURE[0] / width, _PICTURE[1] / height, 1)
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    return picture(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), path.stem)


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


def _flatten(value: Any, names: tuple[str, ...] = ()) -> Iterable[tuple[str, str]]:
    """Yields every figure in nested mappings, with its path."""
    if isinstance(value, dict) and len(names) < 4:
        for name, part in value.items():
            yield from _flatten(part, (*names, name))
    else:
        yield " · ".join([*map(label, names[:1]), *names[1:]]), text(value, ".4f")
