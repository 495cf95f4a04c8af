"""Writes the matrix of checkpoints and datasets as text and as a page of heat maps, next to the published matrix."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from refinenet_jax import text_files
from refinenet_jax.evaluation.cvpr18 import dataset_of
from refinenet_jax.evaluation.report import figures, page, plots, published

# Protocol, figure and title.
MEASURES = (
    ("cvpr18", "per_image_iou", "cvpr18: hand IoU, mean per image"),
    ("strict", "per_image_iou", "strict: hand IoU, mean per image"),
    ("strict", "hand_iou", "strict: hand IoU, all pixels"),
    ("seed", "mean_iou", "seed: mean IoU"),
)
PUBLISHED = "published (Urooj and Borji, CVPR 2018; RefineNet-Res101; compare cvpr18)"
_LABEL = 26  # characters of a row label


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


class Matrix(NamedTuple):
    """A matrix of scores as text."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    texts: Sequence[Sequence[str]]


def matrices(cells: Sequence[Cell]) -> list[Matrix]:
    """Returns a matrix for each requested measure; the second one is the published matrix, after the one to compare with."""
    checkpoints, datasets = (list(dict.fromkeys(cell[i] for cell in cells)) for i in (0, 2))
    labels = _row_labels(cells)
    result = []
    for protocol, key, title in MEASURES:
        values = {
            (cell.checkpoint, cell.dataset): cell.entry[protocol][key] for cell in cells if protocol in cell.entry
        }
        if values:
            texts = [[page.fraction(values.get((row, column))) for column in datasets] for row in checkpoints]
            result.append(Matrix(title, [labels[row] for row in checkpoints], datasets, texts))
    known = list(dict.fromkeys(name for name in map(dataset_of, datasets) if name in published.MATRIX))
    if known:
        texts = [[published.MATRIX[row][column] for column in known] for row in published.MATRIX]
        columns = [published.DATASETS[name] for name in known]
        result.insert(1, Matrix(PUBLISHED, list(published.DATASETS.values()), columns, texts))
    return result


def table(cells: Sequence[Cell]) -> str:
    """Formats the matrices (rows: trained on, columns: tested on)."""
    return "\n".join(line for matrix in matrices(cells) for line in _lines(matrix)).rstrip()


def write(workdir: Path, cells: Sequence[Cell]) -> Path:
    """Writes heat maps of the matrices into cross_dataset.html, a self-contained page; returns its path.

    Raises:
      OSError: it cannot be written.
    """
    panels = [page.figure(title, plots.svg(title, figures.matrix, *matrix)) for title, *matrix in matrices(cells)]
    note = "Rows: trained on; columns: tested on. Published scores marked ~ have an uncertain last digit."
    sections = [("Scores", page.panels(panels))]
    return text_files.replace(workdir / "cross_dataset.html", page.page("Across datasets", note, sections))


def _row_labels(cells: Sequence[Cell]) -> dict[str, str]:
    """Returns a label per checkpoint: training dataset, folder name or path, the first unique one; shortened at the front."""
    choices = [
        {cell.checkpoint: cell.trained_on for cell in cells},
        {cell.checkpoint: Path(cell.checkpoint).name for cell in cells},
        {cell.checkpoint: cell.checkpoint for cell in cells},
    ]
    labels = next(names for names in choices if all(names.values()) and len(set(names.values())) == len(names))
    return {path: label if len(label) <= _LABEL else f"...{label[3 - _LABEL :]}" for path, label in labels.items()}


def _lines(matrix: Matrix) -> Iterator[str]:
    width = max(map(len, matrix.rows))
    yield matrix.title
    for name, texts in (("", matrix.columns), *zip(matrix.rows, matrix.texts, strict=True)):
        cells = (f"{text:>{max(len(column), 6) + 2}}" for text, column in zip(texts, matrix.columns, strict=True))
        yield f"{name:<{width}}{''.join(cells)}"
    yield ""
