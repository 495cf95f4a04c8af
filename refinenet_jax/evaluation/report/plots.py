"""The style of all figures, and their output as files and SVG elements. matplotlib is imported only when drawing."""

import io
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Distinguishable for color-blind readers and in gray: blue, orange, green, violet, gray.
COLORS = ("#1f5f99", "#d0722a", "#2f8f6b", "#8c5aa8", "#8a8f98")
INK, QUIET, LINE = "#1c2430", "#5b6472", "#c3c8d0"
_STYLE = {
    "svg.fonttype": "none",  # text stays text, in the page's font
    "text.parse_math": False,
    "font.size": 8,
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


def style(salt: str | None = None) -> AbstractContextManager:
    """Returns a context with the style; ids within an SVG are derived from the salt, so that they are unique on a page."""
    import matplotlib

    return matplotlib.rc_context({**_STYLE, "svg.hashsalt": salt})


def svg(figure: "Figure", name: str) -> str:
    """Returns a figure as an svg element for a page; the same figure and name give the same text.

    Args:
      figure: figure made in `style`.
      name: unique name on the page.
    """
    file = io.StringIO()
    with style(name):
        figure.savefig(file, format="svg", transparent=True, metadata=_UNDATED)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    used = set(re.findall(r"#([\w-]+)", text))
    # Unused ids would be repeated by every figure on the page.
    return re.sub(r' id="([^"]*)"', lambda name: name[0] if name[1] in used else "", text)


def write(figure: "Figure", folder: Path, name: str) -> str:
    """Writes NAME.png (200 dots per inch) and NAME.svg; returns the svg element.

    Raises:
      OSError: they cannot be written.
    """
    with style():
        figure.draw_without_rendering()  # lays it out, which takes longest, once for both files
        figure.set_layout_engine("none")
    element = svg(figure, name)
    folder.mkdir(parents=True, exist_ok=True)
    with style(), (folder / f"{name}.png").open("wb") as file:
        figure.savefig(file, format="png", dpi=200)
    (folder / f"{name}.svg").write_text(f'<?xml version="1.0" encoding="utf-8"?>\n{element}', encoding="utf-8")
    return element
