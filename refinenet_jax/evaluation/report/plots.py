"""Figures as SVG for a page, in one style. matplotlib is imported only when drawing."""

import io
import re
from collections.abc import Callable
from typing import Any

# Distinguishable for color-blind readers and in gray: blue, orange, green, violet, gray, red, light blue.
COLORS = ("#1f5f99", "#d0722a", "#2f8f6b", "#8c5aa8", "#8a8f98", "#b23a6f", "#4a9cc0")
INK, QUIET, LINE = "#1c2430", "#5b6472", "#c3c8d0"
_STYLE = {
    "figure.figsize": (4.6, 2.5),  # inches; text has the same size in all figures of this width
    "figure.constrained_layout.use": True,
    "svg.fonttype": "none",  # text stays text, in the page's font
    "text.parse_math": False,
    "font.size": 8,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#eceef1",
    "axes.axisbelow": True,
    "text.color": QUIET,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": QUIET,
    "ytick.labelcolor": QUIET,
    "axes.labelcolor": QUIET,
    "lines.linewidth": 1.3,
}
_UNDATED = dict.fromkeys(("Date", "Creator", "Format", "Type"))


def svg(name: str, draw: Callable[..., None], *arguments: Any) -> str:
    """Returns a figure as an svg element; the same arguments give the same text.

    Args:
      name: name of the figure, unique on its page.
      draw: draws into a matplotlib figure, its first parameter.
      *arguments: the other parameters of `draw`.
    """
    import matplotlib
    from matplotlib.figure import Figure

    # Ids within an SVG are derived from the salt, so that they are unique on a page.
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure, file = Figure(), io.StringIO()
        draw(figure, *arguments)
        figure.savefig(file, format="svg", transparent=True, metadata=_UNDATED)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    used = set(re.findall(r"#([\w-]+)", text))
    # Unused ids would be repeated by every figure on the page.
    return re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in used else "", text)
