"""Draws curves of a run by step."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from refinenet_jax.evaluation.report.plots import COLORS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = Mapping[float, float]  # value by step, NaN if missing

_MAX_POINTS = 600  # per curve; more could not be distinguished
_LOG_FROM = 50  # ratio of largest to smallest value from which a logarithmic axis is used


def number(value: Any) -> float:
    """Returns a figure of a log as float; NaN if it is not a number or too large to draw."""
    is_number = isinstance(value, int | float) and abs(value) < 1e30
    return float(value) if is_number else math.nan


def curve(entries: Iterable[Mapping[str, Any]], key: str) -> dict[float, float]:
    """Returns the figure `key` of each entry, by step."""
    points = ((number(entry["step"]), number(entry.get(key))) for entry in entries)
    return {step: value for step, value in points if math.isfinite(step)}


def is_drawable(points: Curve) -> bool:
    """Returns whether the curve has at least one finite value."""
    return any(map(math.isfinite, points.values()))


def draw(figure: "Figure", curves: Sequence[Curve], axis: str) -> None:
    """Draws curves by step, for `plots.svg`; a curve of more than 600 points is averaged over neighboring points.

    Args:
      figure: empty figure.
      curves: drawable curves, in the order of `COLORS`.
      axis: the y axis starts at 'zero', fits the 'values', or is 'log' if the values vary widely.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes = figure.add_subplot(xlabel="step")
    values = []
    for points, color in zip(curves, COLORS, strict=False):
        x, y = _thin(points)
        values.append(y[np.isfinite(y)])
        axes.plot(x, y, color=color, marker="o" if len(x) <= 30 else "", markersize=2.5)
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


def _thin(points: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Returns steps and values, averaged over neighbors to at most `_MAX_POINTS` points."""
    pairs = np.array(sorted(points.items()))
    if len(pairs) > _MAX_POINTS:
        parts = np.array_split(pairs, _MAX_POINTS)
        pairs = np.array(
            [(part if np.isnan(part).all(0)[1] else part[~np.isnan(part[:, 1])]).mean(0) for part in parts]
        )
    return pairs[:, 0], pairs[:, 1]
