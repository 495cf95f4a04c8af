"""Writes the matrix of checkpoints and datasets as a table, CSV and heat maps, next to the published matrix."""

import csv
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from refinenet_jax.evaluation.cvpr18 import dataset_of
from refinenet_jax.evaluation.report import figures, page, plots, published

NAME = "cross_dataset"
# Protocol, figure and title.
MEASURES = (
    ("cvpr18", "per_image_iou", "cvpr18: hand IoU, mean per image"),
    ("strict", "per_image_iou", "strict: hand IoU, mean per image"),
    ("strict", "hand_iou", "strict: hand IoU, all pixels"),
    ("seed", "mean_iou", "seed: mean IoU"),
)
PUBLISHED = "published (Urooj and Borji, CVPR 2018; RefineNet-Res101; compare cvpr18)"
_LABEL = 26  # characters of a row label
_COLUMNS = ("source", "checkpoint", "trained_on", "tested_on", "images", "measure", "value", "low", "high", "note")


class Cell(NamedTuple):
    """The scores of a checkpoint on a dataset.

    Attributes:
      checkpoint: path.
      trained_on: training dataset, '' if unknown.
      dataset: test dataset.
      entry: result of `protocols.figures`.
    """

    checkpoint: str
    trained_on: str
    dataset: str
    entry: Mapping


def matrices(cells: Sequence[Cell]) -> list[figures.Cells]:
    """Returns a matrix for each requested measure; the second one is the published matrix, after the one to compare with."""
    checkpoints, datasets = (list(dict.fromkeys(cell[i] for cell in cells)) for i in (0, 2))
    labels = _row_labels(cells)
    result = []
    for protocol, key, title in MEASURES:
        values = {
            (cell.checkpoint, cell.dataset): cell.entry[protocol][key] for cell in cells if protocol in cell.entry
        }
        if values:
            rows = [[values.get((row, column)) for column in datasets] for row in checkpoints]
            result.append(_matrix(title, [labels[row] for row in checkpoints], datasets, rows))
    known = list(dict.fromkeys(name for name in map(dataset_of, datasets) if name in published.MATRIX))
    if known:
        texts = [[published.MATRIX[row][column] for column in known] for row in published.MATRIX]
        columns = [published.DATASETS[name] for name in known]
        values = np.array([[published.value(text) for text in row] for row in texts])
        result.insert(1, figures.Cells(PUBLISHED, list(published.DATASETS.values()), columns, values, texts))
    return result


def table(cells: Sequence[Cell]) -> str:
    """Formats the matrices (rows: trained on, columns: tested on)."""
    return "\n".join(line for matrix in matrices(cells) for line in _lines(matrix)).rstrip()


def write(workdir: Path, cells: Sequence[Cell]) -> Path:
    """Writes cross_dataset.csv, and each heat map into figures/; returns the path of the first.

    Raises:
      OSError: they cannot be written.
    """
    path = workdir / f"{NAME}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(_rows(cells))
    for matrix in matrices(cells):
        name = f"{NAME}_{re.sub('[^a-z0-9]+', '_', matrix.title.partition('(')[0].lower()).strip('_')}"
        plots.write(figures.matrix(matrix), workdir / "figures", name)
    return path


def _rows(cells: Sequence[Cell]) -> Iterator[dict]:
    """Yields a row per figure, followed by the published figures of the same datasets."""
    for cell in cells:
        place = {"source": "measured", "checkpoint": cell.checkpoint}
        place |= {"trained_on": cell.trained_on, "tested_on": cell.dataset}
        for protocol, key, title in MEASURES:
            if protocol in cell.entry:
                scores, ends = cell.entry[protocol], cell.entry.get("intervals", {}).get(key)
                low, high = ends if ends and protocol == "strict" else ("", "")
                figure = {"measure": title, "value": scores[key], "low": low, "high": high}
                yield {**place, "images": scores.get("images", ""), **figure}
    known = {dataset_of(cell.dataset) for cell in cells}
    for trained_on, scores in published.MATRIX.items():
        for dataset, text in scores.items():
            if dataset in known:
                place = {"source": PUBLISHED, "trained_on": trained_on, "tested_on": dataset}
                note = "last digit uncertain" if "~" in text else ""
                yield {**place, "measure": "hand IoU, mean per image", "value": published.value(text), "note": note}


def _matrix(title: str, rows: list[str], columns: list[str], values: list[list[float | None]]) -> figures.Cells:
    numbers = np.array([[math.nan if value is None else value for value in row] for row in values], float)
    return figures.Cells(title, rows, columns, numbers, [[page.fraction(value) for value in row] for row in values])


def _row_labels(cells: Sequence[Cell]) -> dict[str, str]:
    """Returns a label per checkpoint: training dataset, folder name or path, the first unique one; shortened at the front."""
    choices = [
        {cell.checkpoint: cell.trained_on for cell in cells},
        {cell.checkpoint: Path(cell.checkpoint).name for cell in cells},
        {cell.checkpoint: cell.checkpoint for cell in cells},
    ]
    labels = next(names for names in choices if all(names.values()) and len(set(names.values())) == len(names))
    return {path: label if len(label) <= _LABEL else f"...{label[3 - _LABEL :]}" for path, label in labels.items()}


def _lines(matrix: figures.Cells) -> Iterator[str]:
    width = max(map(len, matrix.rows))
    yield matrix.title
    for name, texts in (("", matrix.columns), *zip(matrix.rows, matrix.texts, strict=True)):
        cells = (f"{text:>{max(len(column), 6) + 2}}" for text, column in zip(texts, matrix.columns, strict=True))
        yield f"{name:<{width}}{''.join(cells)}"
    yield ""
