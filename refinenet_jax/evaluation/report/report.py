"""Figures of an evaluation as a table for the terminal, metrics.json, and a CSV with a row per image."""

import csv
import io
import json
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from refinenet_jax import text_files
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import boundary, metrics
from refinenet_jax.evaluation.protocols import PROTOCOLS
from refinenet_jax.evaluation.scores import Scores

WIDTH = 80
_NAMES = 30  # characters of a figure's name

Row = tuple[str, dict[str, float | None], list[float] | None]


def table(title: str, figures: Mapping[str, Mapping]) -> str:
    """Formats the figures of `protocols.figures`, protocols side by side, in at most WIDTH columns."""
    lines = cells(figures)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines = ["  ".join([f"{name:<{widths[0]}}", *map(str.rjust, texts, widths[1:])]) for name, *texts in lines]
    notes_below = [line for note in notes(figures) for line in textwrap.wrap(note, WIDTH)]
    return "\n".join([*textwrap.wrap(title, WIDTH), "-" * len(lines[0]), *map(str.rstrip, lines), *notes_below])


def cells(figures: Mapping[str, Mapping]) -> list[list[str]]:
    """Returns a table of texts: a header and a row per figure, with the protocols and the intervals of strict as columns."""
    columns = [name for name in PROTOCOLS if name in figures]
    texts = [["", *(part for name in columns for part in ((name, "95 % interval") if name == "strict" else (name,)))]]
    for name, values, interval in _rows(figures):
        row = [name]
        for column in columns:
            value = values.get(column)
            row.append(f"{value:.4f}" if value is not None else "absent" if column in values else "")
            if column == "strict":
                row.append("{:.3f} - {:.3f}".format(*interval) if interval else "")
        texts.append(row)
    return texts


def read_results(path: Path) -> dict[str, dict]:
    """Returns the summaries in a JSON file by their keys; {} if the file does not exist.

    Raises:
      UsageError: the file is not a JSON object of objects.
    """
    try:
        content = json.loads(path.read_text()) if path.exists() else {}
        if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
            raise ValueError("it is not a JSON object of objects")
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({error}). Move it to another folder.") from error
    return content


def write_metrics(path: Path, key: str, summary: Mapping) -> None:
    """Adds a summary under `key` to a JSON file and keeps its other entries.

    Raises:
      UsageError: the file exists but is not a JSON object of objects.
    """
    text_files.replace(path, json.dumps({**read_results(path), key: summary}, indent=2) + "\n")


def write_per_image(path: Path, scores: Scores) -> None:
    """Writes a CSV file with a row per image: id, video, figures and attributes.

    IoU, precision and recall of the hand, IoU of each class, boundary scores, the hand in cvpr18, and the attributes; undefined
    values are empty.
    """
    columns: dict[str, np.ndarray] = {f"hand_{name}": v for name, v in metrics.hand_scores(scores.counts).items()}
    by_class = metrics.iou(scores.counts)
    columns |= {f"iou_{name}": by_class[:, i] for i, name in enumerate(scores.class_names)}
    columns |= boundary.scores(scores.boundary)
    if scores.cvpr18 is not None:
        columns |= {f"cvpr18_{name}": np.nan_to_num(v) for name, v in metrics.hand_scores(scores.cvpr18).items()}
    if scores.found is not None and not scores.found.all():
        columns["has_prediction"] = scores.found.astype(int)
    columns |= scores.attributes
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "video", *columns])
    for i, (name, video) in enumerate(zip(scores.ids, scores.videos, strict=True)):
        writer.writerow([name, video, *(_cell(values[i]) for values in columns.values())])
    text_files.replace(path, text.getvalue())


def _rows(figures: Mapping[str, Mapping]) -> Iterator[Row]:
    """Yields the name of each figure, its value by protocol, and its interval in the strict protocol."""

    def row(name: str, key: str, *protocols: str) -> Iterator[Row]:
        values = {protocol: figures[protocol][key] for protocol in protocols if protocol in figures}
        if values:
            yield name, values, figures.get("intervals", {}).get(key) if "strict" in values else None

    yield from row("mean IoU", "mean_iou", "strict", "seed")
    for name, value in figures.get("strict", {"iou": {}})["iou"].items():
        yield f"IoU of {name}"[:_NAMES], {"strict": value}, None
    yield from row("hand IoU, all pixels", "hand_iou", "strict", "seed")
    yield from row("hand precision, all pixels", "hand_precision", "strict")
    yield from row("hand recall, all pixels", "hand_recall", "strict")
    yield from row("hand IoU, mean per image", "per_image_iou", "strict", "cvpr18")
    yield from row("hand precision, per image", "per_image_precision", "strict", "cvpr18")
    yield from row("hand recall, per image", "per_image_recall", "strict", "cvpr18")
    yield from row("boundary F, per image", "boundary_f", "strict")
    yield from row("boundary IoU, per image", "boundary_iou", "strict")
    yield from row("pixel accuracy", "pixel_accuracy", "strict")
    if "strict" in figures and "calibration" in figures:
        yield "calibration error", {"strict": figures["calibration"]["ece"]}, None


def notes(figures: Mapping[str, Mapping]) -> Iterator[str]:
    """Yields notes for below the table."""
    if strict := figures.get("strict"):
        yield f"{strict['images']} images, {strict['empty_images']} of them without hands in truth and prediction"
        if strict["missing_predictions"]:
            yield f"missing predictions: {strict['missing_predictions']}, counted as all background"
        yield figures["intervals"]["about"]
    if published := figures.get("cvpr18"):
        images, divisor = published["images"], published["divided_by"]
        if divisor != images:
            yield f"cvpr18: sums over {images} images, divided by {divisor} as the published script does"


def _cell(value: object) -> object:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.6g}"
    return value
