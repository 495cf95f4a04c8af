"""Curves of a run by step, as SVG to be put into a page."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from refinenet_jax import plots
from refinenet_jax.plots import COLORS

Curve = Mapping[float, float]  # value by step, NaN where there is none

RESUMED, LEFT_OUT = "#9aa3af", "#c0392b"
_MAX_POINTS = 600  # of a curve; more could not be told apart
_LOG_FROM = 50  # largest over smallest value from which a logarithmic axis shows more


def number(value: Any) -> float:
    """A figure of a log as float; NaN for what is none, or is too large to draw."""
    is_number = isinstance(value, int | float) and abs(value) < 1e30
    return float(value) if is_number else math.nan


def curve(entries: Iterable[Mapping[str, Any]], key: str) -> dict[float, float]:
    """The figure `key` by step."""
    points = ((number(entry["step"]), number(entry.get(key))) for entry in entries)
    return {step: value for step, value in points if math.isfinite(step)}


def is_drawable(points: Curve) -> bool:
    """Whether there is a number to see."""
    return any(map(math.isfinite, points.values()))


def draw(
    name: str,
    curves: Sequence[Curve],
    *,
    axis: str,
    span: tuple[float, float],
    resumed: Sequence[float],
    left_out: Sequence[float],
) -> str:
    """Draws curves over the same steps; the same arguments give the same text.

    Args:
      name: of the picture, another one for each picture on a page.
      curves: drawable ones, in the order of `COLORS`.
      axis: the y axis begins at 'zero'; or fits the 'values'; or is 'log', where the values spread widely.
      span: the first and the last step to show.
      resumed: steps to mark with a dotted line.
      left_out: steps to mark on the axis.

    Returns:
      An svg element; more than 600 points of a curve are means of neighbours.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    with plots.style():
        figure = Figure(figsize=(4.6, 2.5), layout="constrained")
        axes = figure.add_subplot(xlabel="step")
        values = []
        for points, colour in zip(curves, COLORS, strict=False):
            x, y = _thin(points)
            values.append(y[np.isfinite(y)])
            axes.plot(x, y, color=colour, marker="o" if len(x) <= 30 else "", markersize=2.5)
        values = np.concatenate(values)
        if axis == "log" and values.min() > 0 and values.max() > _LOG_FROM * values.min():
            axes.set_yscale("log")
        else:
            axes.yaxis.set_major_locator(MaxNLocator(5))
            if axis == "zero":
                axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axes.yaxis.set_minor_formatter("")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        axes.update_datalim([(step, values[0]) for step in span])
        axes.autoscale_view()
        for step in resumed:
            axes.axvline(step, color=RESUMED, linestyle=":", linewidth=1, zorder=0)
        at_the_bottom = {"transform": axes.get_xaxis_transform(), "clip_on": False}
        axes.plot(left_out, np.zeros(len(left_out)), "^", color=LEFT_OUT, markersize=4, **at_the_bottom)
        return plots.svg(figure, name)


def _thin(points: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values, at most `_MAX_POINTS`: means of neighbours."""
    pairs = np.array(sorted(points.items()))
    if len(pairs) > _MAX_POINTS:
        parts = np.array_split(pairs, _MAX_POINTS)
        pairs = np.array(
            [(part if np.isnan(part).all(0)[1] else part[~np.isnan(part[:, 1])]).mean(0) for part in parts]
        )
    return pairs[:, 0], pairs[:, 1]
