"""Figures of an evaluation: each function draws the given numbers into an empty matplotlib figure, for `plots.svg`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from refinenet_jax.evaluation.analysis import calibration
from refinenet_jax.evaluation.report.plots import COLORS, INK, LINE, QUIET

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def matrix(figure: "Figure", rows: Sequence[str], columns: Sequence[str], texts: Sequence[Sequence[str]]) -> None:
    """Draws a heat map, light to dark from 0 to 1.

    Args:
      figure: empty figure.
      rows: name of each row.
      columns: name of each column.
      texts: score of each cell as printed, such as '0.814', '~0.503', or '-' (gray) if there is none.
    """
    from matplotlib import colormaps

    values = np.array([[float(text.lstrip("~").replace("-", "nan")) for text in row] for row in texts])
    figure.set_size_inches(max(4.6, 1.8 + 0.4 * len(columns)), 0.9 + 0.3 * len(rows))
    axes = figure.add_subplot()
    axes.imshow(values, cmap=colormaps["YlGnBu"].with_extremes(bad="#f4f5f7"), vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        axes.text(j, i, texts[i][j], ha="center", va="center", color="white" if value > 0.55 else INK)
    axes.set_xticks(range(len(columns)), columns, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def intervals(
    figure: "Figure",
    rows: Sequence[tuple[str, float, tuple[float, float] | None]],
    whole: float,
    span: tuple[float, float],
) -> None:
    """Draws hand IoU as a point with its interval, one row for each slice.

    Args:
      figure: empty figure.
      rows: name, hand IoU and interval (None if unknown) of each slice, from above.
      whole: hand IoU of the whole set, drawn as a line.
      span: limits of the axis.
    """
    figure.set_figheight(0.45 + 0.22 * len(rows))
    axes = figure.add_subplot(xlabel="hand IoU", xlim=span, ylim=(len(rows) - 0.5, -0.5))
    axes.axvline(whole, color=COLORS[1], linewidth=1)
    for i, (_, value, interval) in enumerate(rows):
        axes.plot(interval or (), (i, i) if interval else (), color=COLORS[0])
        axes.plot(value, i, "o", color=COLORS[0], markersize=4.5)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.grid(True, axis="x")


def reliability(figure: "Figure", histogram: np.ndarray) -> None:
    """Draws accuracy over confidence from counts [BINS, columns] of `calibration.histogram`, and the share of pixels below."""
    curve = calibration.curve(histogram)
    used = curve["share"] > 0
    low = np.arange(calibration.BINS)[used] / calibration.BINS
    confidence, accuracy, share = (curve[key][used] for key in ("confidence", "accuracy", "share"))
    bar = {"width": 1 / calibration.BINS, "align": "edge", "edgecolor": "white"}
    figure.set_figheight(3.6)
    axes, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    axes.plot((0, 1), (0, 1), "--", color=QUIET, linewidth=0.9, label="perfect calibration")
    axes.bar(low, accuracy, color=COLORS[0], alpha=0.75, label="accuracy", **bar)
    axes.plot(confidence, accuracy, "o", color=INK, markersize=3, label="at the mean confidence")
    axes.set(ylabel="accuracy", ylim=(0, 1.02))
    figure.legend(loc="outside upper left", ncols=3)
    below.bar(low, share, color=LINE, **bar)
    below.set(xlabel="confidence", ylabel="pixels", xlim=(0, 1), ylim=(0, 1))
    below.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def corruptions(figure: "Figure", table: Mapping[str, Mapping[int, Mapping[str, float]]]) -> None:
    """Draws hand IoU over strength for each kind of `corruptions.curves`, and their mean in black."""
    figure.set_figheight(3.1)
    axes = figure.add_subplot(xlabel="strength", ylabel="hand IoU")
    strengths = sorted(table["mean"])
    for kind, color, marker in zip(table, COLORS, "os^DvpX", strict=False):
        style = (
            {"color": INK, "linewidth": 2.4}
            if kind == "mean"
            else {"color": color, "marker": marker, "markersize": 3.5}
        )
        axes.plot(strengths, [table[kind][s]["hand_iou"] for s in strengths], label=kind.replace("_", " "), **style)
    axes.set_xticks(strengths, ["none", *map(str, strengths[1:])])
    axes.set_ylim(bottom=0)
    axes.legend(ncols=2)
