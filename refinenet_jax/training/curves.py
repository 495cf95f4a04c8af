"""Draws curves of a run by step, as SVG for a page."""

import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Curve = Mapping[float, float]  # value by step, NaN if missing

# Distinguishable for color-blind readers and in gray: blue, orange, green, violet, gray.
COLORS = ("#1f5f99", "#d0722a", "#2f8f6b", "#8c5aa8", "#8a8f98")
_QUIET, _LINE = "#5b6472", "#c3c8d0"
_STYLE = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "text.parse_math": False,
    "font.size": 8,
    "axes.edgecolor": _LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#eceef1",
    "axes.axisbelow": True,
    "text.color": _QUIET,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _QUIET,
    "ytick.labelcolor": _QUIET,
    "axes.labelcolor": _QUIET,
    "lines.linewidth": 1.3,
}
_UNDATED = dict.fromkeys(("Date", "Creator", "Format", "Type"))
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


def draw(name: str, curves: Sequence[Curve], axis: str) -> str:
    """Draws curves by step; the same arguments give the same text.

    Args:
      name: name of the picture, unique on its page.
      curves: drawable curves, in the order of `COLORS`.
      axis: the y axis starts at 'zero', fits the 'values', or is 'log' if the values vary widely.

    Returns:
      An svg element; a curve of more than 600 points is averaged over neighboring points.
    """
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    # Ids within an SVG are derived from the salt, so that they are unique on a page.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(4.6, 2.5), layout="constrained")
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
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=_UNDATED)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    used = set(re.findall(r"#([\w-]+)", text))
    # Unused ids would be repeated by every figure on the page.
    return re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in used else "", text)


def _thin(points: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Returns steps and values, averaged over neighbors to at most `_MAX_POINTS` points."""
    pairs = np.array(sorted(points.items()))
    if len(pairs) > _MAX_POINTS:
        parts = np.array_split(pairs, _MAX_POINTS)
        pairs = np.array(
            [(part if np.isnan(part).all(0)[1] else part[~np.isnan(part[:, 1])]).mean(0) for part in parts]
        )
    return pairs[:, 0], pairs[:, 1]
