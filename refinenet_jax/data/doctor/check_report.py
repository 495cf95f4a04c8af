"""Formats the data doctor's results: a table and findings for the terminal, and everything as JSON."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from refinenet_jax.data.doctor.findings import KINDS, Finding, count
from refinenet_jax.data.doctor.records import Record
from refinenet_jax.data.examples import DatasetInfo

_WIDTH = 80
_SHOWN = 4


def summarize(records: Mapping[str, Sequence[Record]], info: DatasetInfo | None) -> dict[str, dict[str, Any]]:
    """Returns statistics of each split: numbers of images and videos, sizes (`WIDTHxHEIGHT`), class shares from 0 to 1.

    Shares of pixels refer to all pixels, including void; shares of images refer to the readable images.
    """
    summary = {}
    for split, of_split in records.items():
        readable = [record for record in of_split if not record.fault]
        sizes = Counter(record.size for record in readable)
        pixels = np.array([record.pixels for record in readable]).reshape(len(readable), info.num_classes + 1)
        shares = pixels.sum(axis=0) / max(pixels.sum(), 1)
        present = (pixels > 0).sum(axis=0) / max(len(readable), 1)
        summary[split] = {
            "images": len(of_split),
            "unreadable": len(of_split) - len(readable),
            "videos": len({record.video for record in readable} - {None}),
            "without_foreground": sum(not r.foreground for r in readable),
            "sizes": {f"{w}x{h}": n for (h, w), n in sorted(sizes.items(), key=lambda s: np.prod(s[0]))},
            "classes": {
                name: {"pixels": float(share), "images": float(part)}
                for name, share, part in zip((*info.class_names, "void"), shares, present, strict=True)
            },
        }
    return summary


def table(summary: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yields the summary as lines, with one column per split."""
    splits = summary.values()
    rows = [["", *summary]]
    for key in ("images", "unreadable", "videos", "without_foreground"):
        rows.append([key.replace("_", " "), *(f"{split[key]:,}" for split in splits)])
    rows.append(["sizes", *(_sizes(list(split["sizes"])) for split in splits)])
    for name in next(iter(splits))["classes"]:
        shares = [split["classes"][name] for split in splits]
        rows.append([f"pixels (images) of {name}", *(f"{s['pixels']:.1%} ({s['images']:.0%})" for s in shares)])
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, *cells in rows:
        columns = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        yield printable("  ".join([f"{name:<{first}}", *columns]))


def _sizes(sizes: Sequence[str]) -> str:
    return sizes[0] if len(sizes) == 1 else f"{len(sizes):,} from {sizes[0]} to {sizes[-1]}" if sizes else "-"


def describe(finding: Finding) -> Iterator[str]:
    """Yields a finding as lines of at most 80 columns; longer words are not broken."""
    allowed = ", allowed" if finding.allowed else ""
    yield from _wrap(f"{finding.severity.upper():<7} {finding.title} [{finding.name}{allowed}]", 0)
    for line in "\n".join(finding.details[:_SHOWN]).splitlines():
        yield from _wrap(textwrap.shorten(line, 300, placeholder=" ..."))
    if finding.name != "video-in-several-splits":  # its details name the videos
        groups = ([f"{record.split}: {record.id}" for record in group[:_SHOWN]] for group in finding.groups[:_SHOWN])
        yield from _wrap(", ".join(map(" = ".join, groups)))
    hidden = max(len(finding.groups), len(finding.details)) - _SHOWN
    if hidden > 0:
        yield from _wrap(f"and {hidden:,} more")
    yield from _wrap(KINDS[finding.name][1])


def verdict(findings: Sequence[Finding], images: int) -> str:
    """Returns the final summary: the number of findings by severity and the names of the problems."""
    problems = [finding.name for finding in findings if finding.severity == "problem"]
    others = Counter(finding.severity for finding in findings if finding.severity != "problem")
    rest = ", ".join(count(n, severity) for severity, n in others.items())
    text = f"{count(len(problems), 'problem') if problems else 'No problems'} in {count(images, 'image')}"
    text += (f" ({rest})" if rest else "") + (f": {', '.join(problems)}" if problems else "")
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def as_json(finding: Finding) -> dict[str, Any]:
    """Returns a finding with all its examples in JSON types."""
    examples = [
        [{"split": r.split, "index": r.index, "id": r.id, "message": r.message} for r in group]
        for group in finding.groups
    ]
    keys = ("name", "severity", "allowed", "title")
    return {key: getattr(finding, key) for key in keys} | {
        "details": list(finding.details),
        "examples": examples,
        "advice": KINDS[finding.name][1],
    }


def printable(text: str) -> str:
    """Returns the text without control characters, which file names may contain and which would disturb the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _wrap(text: str, indent: int = 10) -> list[str]:
    margin = " " * indent
    options = {"initial_indent": margin, "subsequent_indent": margin, "break_long_words": False}
    return textwrap.wrap(printable(text), _WIDTH, break_on_hyphens=False, **options)
