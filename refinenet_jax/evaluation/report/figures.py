"""Figures of an evaluation: functions from numbers to matplotlib figures in the style of `plots`."""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from refinenet_jax.evaluation.analysis import calibration
from refinenet_jax.evaluation.report import plots
from refinenet_jax.evaluation.report.plots import COLORS, INK, LINE, QUIET

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PREDICTED, TRUE = COLORS[0], COLORS[1]
# Colors and markers of curves in one figure.
_LINES = tuple(zip((*COLORS[:4], "#b23a6f", "#4a9cc0"), "os^Dvp", strict=True))


class Estimate(NamedTuple):
    """A score with its interval: a row of `intervals`.

    Attributes:
      label: label of the row.
      value: in [0, 1], or NaN.
      interval: (low, high), or None if unknown.
      images: number of images.
      few: whether there are too few images for a conclusion.
    """

    label: str
    value: float
    interval: tuple[float, float] | None
    images: int
    few: bool = False


class Cells(NamedTuple):
    """A matrix to draw: values float [rows, columns] in [0, 1] (NaN if missing), and the text of each cell."""

    title: str
    rows: Sequence[str]
    columns: Sequence[str]
    values: np.ndarray
    texts: Sequence[Sequence[str]]


def _styled(draw: Callable[..., "Figure"]) -> Callable[..., "Figure"]:
    @functools.wraps(draw)
    def styled(*arguments, **options):
        with plots.style():
            return draw(*arguments, **options)

    return styled


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _name_rows(axes: "Axes", rows: Sequence) -> None:
    """Labels the rows at the left, with vertical grid lines only."""
    axes.set_yticks(range(len(rows)), [row.label for row in rows])
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


@_styled
def intervals(rows: Sequence[Estimate], whole: Estimate, span: tuple[float, float], axis: str = "hand IoU") -> "Figure":
    """Dots with intervals, one row each, before the value of the whole set and its interval.

    Args:
      rows: from above; few images have a hollow dot.
      whole: the whole set.
      span: of the axis.
      axis: its name.
    """
    figure = _figure(3.6, 0.45 + 0.22 * len(rows))
    axes = figure.add_subplot(xlabel=axis)
    if whole.interval:
        axes.axvspan(*whole.interval, color="#f0f2f5", linewidth=0)
    axes.axvline(whole.value, color=LINE, linewidth=1)
    for i, row in enumerate(rows):
        if row.interval:
            axes.plot(row.interval, (i, i), color=COLORS[0], linewidth=1.4, solid_capstyle="butt")
        axes.plot(row.value, i, "o", color=COLORS[0], markersize=4.5, markerfacecolor="white" if row.few else COLORS[0])
        axes.text(1.02, i, f"{row.images:,}", transform=axes.get_yaxis_transform(), va="center", fontsize=7)
    axes.set(xlim=span, ylim=(len(rows) - 0.5, -0.5))
    _name_rows(axes, rows)
    return figure


@_styled
def reliability(histogram: np.ndarray) -> "Figure":
    """The reliability diagram of counts [BINS, columns] of `calibration.histogram`, with the share of pixels of each bin."""
    curve = calibration.curve(histogram)
    used = curve["share"] > 0
    low, confidence, accuracy, share = (curve[key][used] for key in ("low", "confidence", "accuracy", "share"))
    width = 1 / calibration.BINS
    figure = _figure(4.4, 3.9)
    axes, below = figure.subplots(2, sharex=True, height_ratios=(3.2, 1))
    axes.plot((0, 1), (0, 1), "--", color=QUIET, linewidth=0.9, label="perfect calibration")
    axes.bar(low, accuracy, width, align="edge", color=COLORS[0], alpha=0.75, edgecolor="white", label="accuracy")
    axes.plot(confidence, accuracy, "o", color=INK, markersize=3, label="at the mean confidence")
    axes.set(ylabel="accuracy", ylim=(0, 1.02))
    figure.legend(frameon=False, loc="outside upper left", ncols=3)
    below.bar(low, share, width, align="edge", color=COLORS[4], edgecolor="white")
    start = math.floor(10 * low.min()) / 10 if len(low) else 0
    below.set(xlabel="confidence", ylabel="pixels", xlim=(start, 1), ylim=(0, 1))
    below.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    return figure


@_styled
def distributions(values: Mapping[str, np.ndarray]) -> "Figure":
    """Draws the share of images that reach a score: name -> float [n]; NaN are ignored."""
    figure = _figure(4.4, 2.9)
    axes = figure.add_subplot(xlabel="score of an image", ylabel="images that reach it")
    for (name, scores), (color, _), dashes in zip(values.items(), _LINES, ("-", "--", ":"), strict=False):
        known = np.sort(scores[~np.isnan(scores)])
        if len(known):
            reached = 1 - np.arange(len(known)) / len(known)
            axes.step([0, *known, 1], [1, *reached, 0], where="pre", color=color, linestyle=dashes, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.legend(frameon=False, loc="lower left")
    return figure


@_styled
def corruptions(table: Mapping[str, Mapping[int, Mapping[str, float]]]) -> "Figure":
    """Draws hand IoU over strength for each kind of `corruptions.curves`, and their mean in black."""
    figure = _figure(4.6, 3.1)
    axes = figure.add_subplot(xlabel="strength", ylabel="hand IoU")
    strengths = sorted(table["mean"])
    styles = [{"color": color, "marker": marker, "markersize": 3.5} for color, marker in _LINES]
    mean = {"color": INK, "linewidth": 2.4}
    for (kind, rows), style in zip(table.items(), [*styles[: len(table) - 1], mean], strict=True):
        axes.plot(strengths, [rows[s]["hand_iou"] for s in strengths], label=kind.replace("_", " "), **style)
    axes.set_xticks(strengths, ["none", *map(str, strengths[1:])])
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=2, fontsize=7)
    return figure


@_styled
def videos(rows: Sequence[Estimate], frames: Sequence[np.ndarray]) -> "Figure":
    """Draws a bar for the hand IoU of each video and a dot for each of its frames (float [n]; NaN are ignored)."""
    figure = _figure(4.6, 0.5 + 0.24 * len(rows))
    axes = figure.add_subplot(xlabel="hand IoU")
    axes.barh(range(len(rows)), [row.value for row in rows], 0.7, color=COLORS[0], alpha=0.3, linewidth=0)
    for i, values in enumerate(frames):
        spread = 0.22 * np.sin(7 * np.arange(len(values)))  # keeps dots from hiding each other
        axes.plot(values, i + spread, "o", color=COLORS[0], markersize=2, alpha=0.55, markeredgewidth=0)
    for i, row in enumerate(rows):
        axes.plot((row.value, row.value), (i - 0.35, i + 0.35), color=INK, linewidth=1.6)
        axes.text(1.01, i, f"{row.images:,}", transform=axes.get_yaxis_transform(), va="center", fontsize=7)
    axes.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5))
    _name_rows(axes, rows)
    return figure


@_styled
def flicker(predicted: Mapping[str, np.ndarray], true: Mapping[str, np.ndarray], max_gap: int, top: float) -> "Figure":
    """Draws the flicker of one video over its frames, for the predicted and the true masks.

    Args:
      predicted, true: curves of `flicker.Flicker`.
      max_gap: points further apart than this, in frames, are not connected.
      top: upper limit of the axis.
    """
    figure = _figure(3.6, 1.75)
    axes = figure.add_subplot(xlabel="frame", ylabel="flicker")
    for curve, color, marker, name in ((true, TRUE, "s", "true masks"), (predicted, PREDICTED, "o", "predicted")):
        gaps = np.flatnonzero(np.diff(curve["frames"]) > max_gap) + 1
        x, y = (np.insert(curve[key].astype(float), gaps, np.nan) for key in ("frames", "flicker"))
        axes.plot(x, y, color=color, marker=marker, markersize=2.5, linewidth=1, label=name)
    axes.set_ylim(0, top)
    axes.legend(frameon=False, ncols=2, fontsize=7, loc="upper right")
    return figure


@_styled
def matrix(cells: Cells) -> "Figure":
    """Draws a heat map, light to dark from 0 to 1; cells without a value are gray."""
    from matplotlib import colormaps

    widest = max(map(len, cells.rows))
    figure = _figure(0.3 + 0.06 * widest + 0.78 * len(cells.columns), 0.9 + 0.48 * len(cells.rows))
    axes = figure.add_subplot()
    colors = colormaps["YlGnBu"].with_extremes(bad="#f4f5f7")
    axes.imshow(np.ma.masked_invalid(cells.values), cmap=colors, vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(cells.values):
        axes.text(j, i, cells.texts[i][j], ha="center", va="center", color="white" if value > 0.55 else INK)
    axes.set_xticks(range(len(cells.columns)), cells.columns, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(cells.rows)), cells.rows)
    axes.tick_params(length=0)
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure
