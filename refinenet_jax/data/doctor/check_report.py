"""Formats the data doctor's results: a table and findings for the terminal, and everything as JSON."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from refinenet_jax.data.doctor.finding_kinds import KINDS
from refinenet_jax.data.doctor.findings import Finding, count
from refinenet_jax.data.doctor.records import Record
from refinenet_jax.data.examples import DatasetInfo

_WIDTH = 80
_NAME, _CELL = 20, 15
_SHOWN = 4
_COLORS = {"problem": "\033[1;31m", "warning": "\033[1;33m", "note": "\033[1m"}


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
        present = (pixels > 0).mean(axis=0) if readable else np.zeros(info.num_classes + 1)
        summary[split] = {
            "images": len(of_split),
            "unreadable": len(of_split) - len(readable),
            "videos": len({record.video for record in readable} - {None}),
            "sizes": {f"{w}x{h}": n for (h, w), n in sorted(sizes.items(), key=lambda s: np.prod(s[0]))},
            "without_foreground": sum(bool(r.labeled and not r.foreground) for r in readable),
            "all_void": sum(not r.labeled for r in readable),
            "classes": {
                name: {"pixels": float(share), "images": float(part)}
                for name, share, part in zip((*info.class_names, "void"), shares, present, strict=True)
            },
        }
    return summary


def table(summary: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yields the summary as lines of at most 80 columns, with one column per split and up to four splits per block."""
    for first in range(0, len(summary), 4):
        part = dict(list(summary.items())[first : first + 4])
        if first:
            yield ""
        yield _row("", part)
        for key in ("images", "unreadable", "videos"):
            if key != "unreadable" or any(split[key] for split in part.values()):
                yield _row(key, [f"{split[key]:,}" for split in part.values()])
        yield from _sizes([split["sizes"] for split in part.values()])
        for key in ("without_foreground", "all_void"):
            yield _row(key.replace("_", " "), [f"{split[key]:,}" for split in part.values()])
        yield "share of pixels (of images that have any)"
        for name in next(iter(part.values()))["classes"]:
            shares = [split["classes"][name] for split in part.values()]
            yield _row(f"  {name}", [f"{s['pixels']:.1%} ({s['images']:.0%})" for s in shares])


def _sizes(splits: Sequence[Mapping[str, int]]) -> Iterator[str]:
    """Yields one row if each split has a single size, otherwise the smallest, most common and largest size."""
    yield _row("size" if all(len(s) < 2 for s in splits) else "sizes", [_one_or_number(list(s)) for s in splits])
    if any(len(sizes) > 1 for sizes in splits):
        yield _row("  smallest", [next(iter(sizes), "-") for sizes in splits])
        yield _row("  most common", [max(sizes, key=sizes.get, default="-") for sizes in splits])
        yield _row("  largest", [next(reversed(sizes), "-") for sizes in splits])


def _one_or_number(sizes: Sequence[str]) -> str:
    return sizes[0] if len(sizes) == 1 else f"{len(sizes):,}"


def _row(name: str, cells: Sequence[str] | Mapping[str, Any]) -> str:
    return f"{_cut(name, _NAME):<{_NAME}}" + "".join(f"{_cut(cell, _CELL - 1):>{_CELL}}" for cell in cells)


def _cut(text: str, width: int) -> str:
    text = printable(text)
    return text if len(text) <= width else text[: width - 1] + "~"


def describe(finding: Finding, color: bool = False) -> Iterator[str]:
    """Yields a finding as lines of at most 80 columns; longer words are not broken."""
    word = f"{finding.severity.upper():<8}"
    head = _wrap(f"{finding.title} [{finding.name}{', allowed' if finding.allowed else ''}]", len(word))
    head[0] = (f"{_COLORS[finding.severity]}{word}\033[0m" if color else word) + head[0][len(word) :]
    yield from head
    for line in "\n".join(finding.details[:_SHOWN]).splitlines():
        yield from _wrap(textwrap.shorten(line, 300, placeholder=" ..."), 10)
    if finding.name != "video-in-several-splits":  # its details name the videos
        yield from _examples(finding.groups[:_SHOWN])
    hidden = max(len(finding.groups), len(finding.details)) - _SHOWN
    if hidden > 0:
        yield from _wrap(f"and {hidden:,} more", 10)
    yield from _wrap(f"Effect: {KINDS[finding.name].effect}", 10)
    yield from _wrap(f"Fix: {KINDS[finding.name].fix}", 10)


def _examples(groups: Sequence[Sequence[Record]]) -> Iterator[str]:
    """Yields single examples in a row, and copies joined by `=` on a line, or one per line if that is too long."""
    if all(len(group) == 1 for group in groups):
        yield from _wrap(", ".join(_names([record for group in groups for record in group])), 10)
        return
    for group in groups:
        first, *others = _names(group[:_SHOWN]) + ["..."] * (len(group) > _SHOWN)
        line = " = ".join([first, *others])
        for part in [line] if len(line) <= _WIDTH - 10 else [first, *(f"= {other}" for other in others)]:
            yield from _wrap(part, 10)


def _names(records: Sequence[Record]) -> list[str]:
    """Returns the ids, prefixed by the split when it changes."""
    before = [None, *(record.split for record in records)]
    return [r.id if r.split == split else f"{r.split}: {r.id}" for r, split in zip(records, before, strict=False)]


def verdict(findings: Sequence[Finding], images: int) -> str:
    """Returns the final summary: the number of findings by severity and the names of the problems."""
    problems = [finding.name for finding in findings if finding.severity == "problem"]
    others = Counter(finding.severity for finding in findings if finding.severity != "problem")
    rest = ", ".join(count(n, severity) for severity, n in others.items())
    text = f"{count(len(problems), 'problem') if problems else 'No problems'} in {count(images, 'image')}"
    text += (f" ({rest})" if rest else "") + (f": {', '.join(problems)}" if problems else "")
    return textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)


def as_json(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """Returns the findings with all examples in JSON types."""
    return [
        {
            "name": finding.name,
            "severity": finding.severity,
            "allowed": finding.allowed,
            "title": finding.title,
            "count": finding.count,
            "details": list(finding.details),
            "examples": [
                [
                    {"split": record.split, "index": record.index, "id": record.id}
                    | ({"message": record.message} if record.fault else {})
                    for record in group
                ]
                for group in finding.groups
            ],
            "effect": KINDS[finding.name].effect,
            "fix": KINDS[finding.name].fix,
        }
        for finding in findings
    ]


def printable(text: str) -> str:
    """Returns the text without control characters, which file names may contain and which would disturb the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _wrap(text: str, indent: int) -> list[str]:
    margin = " " * indent
    return textwrap.wrap(
        printable(text),
        _WIDTH,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
