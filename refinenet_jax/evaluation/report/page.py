"""Building blocks of a self-contained HTML page without scripts. All text is escaped here."""

import base64
import json
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import cv2
import numpy as np

_MAX_TEXT = 400  # characters of one value

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
:root { --ink: #1c2430; --quiet: #667080; --line: #e3e6ea; --best: #eef5f0; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; }
main { max-width: 960px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { margin: 0; font-size: 1.7rem; font-weight: 600; letter-spacing: -0.01em; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 3rem 0 1rem; padding-bottom: 0.35rem; border-bottom: 1px solid var(--line); font-size: 1.05rem; font-weight: 600; }
p { margin: 0.5rem 0; }
.quiet, .key, figcaption, summary { color: var(--quiet); font-size: 0.87rem; }
dl { margin: 0; display: grid; }
dd { margin: 0; overflow-wrap: anywhere; }
dt { color: var(--quiet); font-size: 0.87rem; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: 1.5rem; }
.tiles dd { font-size: 0.87rem; color: var(--quiet); }
.tiles dt + dd { font-size: 1.9rem; line-height: 1.25; color: var(--ink); font-variant-numeric: tabular-nums; }
.facts { grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 0.75rem 2rem; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 26rem), 1fr)); gap: 1.75rem 2rem;
  align-items: end; margin-bottom: 1.5rem; }
.panels:has(p) { align-items: start; }
figure { margin: 0; break-inside: avoid; }
figcaption { margin-bottom: 0.35rem; }
figcaption b { margin-right: 0.6rem; color: var(--ink); font-weight: 600; }
figcaption span, .key span { margin-right: 0.8rem; white-space: nowrap; }
.swatch { display: inline-block; width: 0.9rem; height: 3px; margin-right: 0.35rem; vertical-align: middle; }
.boxes .swatch { height: 0.6rem; border-radius: 2px; }
svg, img { display: block; width: 100%; height: auto; }
svg text { font-family: inherit !important; }
summary { margin-bottom: 1rem; cursor: pointer; }
.case { margin-bottom: 1.5rem; }
.case div { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(48%, 12rem), 1fr)); gap: 0.35rem; }
.case img { border-radius: 3px; }
.points { margin: 0.5rem 0; padding-left: 1.1rem; }
.points li { margin: 0.4rem 0; }
.scroll { overflow: auto; max-height: 36rem; margin-bottom: 1.5rem; }
table { border-collapse: collapse; width: 100%; font-size: 0.87rem; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: #fff; color: var(--quiet); font-weight: 500; vertical-align: bottom; }
th, td { padding: 0.35rem 0.9rem 0.35rem 0; border-bottom: 1px solid var(--line); text-align: left; }
td { vertical-align: top; overflow-wrap: anywhere; }
.figures th, .figures td { text-align: right; padding: 0.35rem 0.4rem; }
.figures th:first-child, .figures td:first-child { text-align: left; }
.scores td, .scores th { text-align: right; white-space: nowrap; padding: 0.35rem 0.4rem; }
.scores th { white-space: normal; }
.scores td:first-child, .scores th:first-child { text-align: left; padding-left: 0; }
.sources td { overflow-wrap: normal; }
.figures td:first-child, .events td:first-child, .events td:last-child { white-space: nowrap; }
.best { background: var(--best); font-weight: 600; }
@media print { body { font-size: 11px; } main { max-width: none; padding: 0; } h2 { break-after: avoid; }
  .scroll { max-height: none; overflow: visible; } tr { break-inside: avoid; } th { position: static; } }
"""


def page(title: str, note: str, sections: Iterable[tuple[str, str]]) -> str:
    """Returns a whole page.

    Args:
      title: heading (text).
      note: text below the heading.
      sections: heading (text) and content (HTML) of each section; sections without content are skipped.
    """
    body = [f"<section>\n<h2>{escape(name)}</h2>\n{content}</section>" for name, content in sections if content]
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        # Names come from files: if one gets past the escaping, nothing is run and nothing is fetched.
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        f"<main>\n<header><h1>{escape(title)}</h1>{paragraph(note)}</header>",
        *(body or [paragraph("There is nothing to show yet.")]),
        "</main>\n</html>\n",
    ]
    return "\n".join(lines)


def paragraph(text: str) -> str:
    return f"<p class=quiet>{escape(text)}</p>\n" if text else ""


def points(texts: Iterable[str]) -> str:
    """Returns a list of sentences."""
    items = "".join(f"<li>{escape(text)}</li>\n" for text in texts)
    return f"<ul class=points>\n{items}</ul>\n" if items else ""


def figure(title: str, content: str, legend: str = "", kind: str = "") -> str:
    """Returns a picture below its title; `content` and `legend` are HTML, `kind` is a CSS class such as case."""
    kind = f" class={kind}" if kind else ""
    return f"<figure{kind}><figcaption><b>{escape(title)}</b> {legend}</figcaption>\n{content}</figure>\n"


def panels(figures: Iterable[str]) -> str:
    """Returns figures in columns, as many as fit."""
    return f"<div class=panels>\n{''.join(figures)}</div>\n"


def folded(title: str, content: str) -> str:
    """Returns HTML that is hidden until its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>\n{content}</details>\n"


def picture(pixels: np.ndarray, alt: str, quality: int = 88) -> str:
    """Returns an image, uint8 [h, w, 3] RGB, embedded as JPEG."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality))
    source = f"data:image/jpeg;base64,{base64.b64encode(encoded).decode()}"
    return f'<img src="{source}" width={pixels.shape[1]} height={pixels.shape[0]} alt="{escape(alt)}">'


def descriptions(kind: str, entries: Iterable[Sequence[str]]) -> str:
    """Returns a list of names, each with one or more texts; `kind` is a CSS class, tiles or facts."""
    groups = [
        f"<div><dt>{escape(name)}</dt>{''.join(f'<dd>{escape(text)}</dd>' for text in texts)}</div>\n"
        for name, *texts in entries
    ]
    return f"<dl class={kind}>\n{''.join(groups)}</dl>\n" if groups else ""


def table(kind: str, header: Sequence[str], rows: Sequence[Sequence[str]], best: int | None = None) -> str:
    """Returns a table of texts, '' without rows; `kind` is a CSS class such as scores; row `best` is highlighted."""

    def cells(tag: str, texts: Sequence[str]) -> str:
        return "".join(f"<{tag}>{escape(text)}</{tag}>" for text in texts)

    if not rows:
        return ""
    body = [f"<tr{' class=best' if i == best else ''}>{cells('td', row)}</tr>\n" for i, row in enumerate(rows)]
    head = f"<thead><tr>{cells('th', header)}</tr></thead>"
    return f"<div class=scroll><table class={kind}>{head}\n<tbody>\n{''.join(body)}</tbody></table></div>\n"


def swatches(colors: Iterable[str], texts: Iterable[str]) -> str:
    """Returns a legend of colors."""
    return "".join(
        f"<span><i class=swatch style='background:{color}'></i>{escape(text)}</span> "
        for color, text in zip(colors, texts, strict=False)
    )


def text(value: Any, form: str = ".6g") -> str:
    """Formats a JSON value for a reader: floats in the given form, '-' for None and NaN."""
    if isinstance(value, dict):
        value = [f"{name} {_inner(part, form)}" for name, part in value.items()]
    if isinstance(value, list):
        value = ", ".join(_inner(part, form) for part in value[:100]) or "none"
    if value is None or value != value:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format(value, "," if isinstance(value, int) else form)
    return value if len(value) <= _MAX_TEXT else value[:_MAX_TEXT] + " …"


def fraction(value: float | None) -> str:
    """Formats a number in [0, 1]."""
    return text(value, ".3f")


def interval(ends: Sequence[float] | None) -> str:
    """Formats an interval, '-' for None."""
    return "-" if ends is None else f"{ends[0]:.3f} - {ends[1]:.3f}"


def label(key: str) -> str:
    """Returns the name of a figure for a reader: 'mean IoU' for 'mean_iou'."""
    return " ".join("IoU" if word == "iou" else word for word in key.split("_"))


def _inner(value: Any, form: str) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else text(value, form)
