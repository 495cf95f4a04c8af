"""Formats the data doctor's results as text: a table and findings."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from refinenet_jax.data.doctor.findings import KINDS, Finding, count
from refinenet_jax.data.doctor.records import Record
from refinenet_jax.data.examples import DatasetInfo

_WIDTH = 80
_SHOWN = 4


def table(records: Mapping[str, Sequence[Record]], info: DatasetInfo) -> Iterator[str]:
    """Yields statistics as lines, with one column per split.

    Shares of pixels refer to all pixels, including void; shares of images refer to the readable images.
    """
    classes = (f"pixels (images) of {name}" for name in (*info.class_names, "void"))
    names = ["", "images", "unreadable", "videos", "without foreground", "sizes", *classes]
    columns = [[split, *_column(of_split, info)] for split, of_split in records.items()]
    first, *widths = (max(map(len, column)) for column in (names, *columns))
    for name, *cells in zip(names, *columns, strict=True):
        padded = (f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        yield printable("  ".join([f"{name:<{first}}", *padded]))


def _column(records: Sequence[Record], info: DatasetInfo) -> list[str]:
    readable = [record for record in records if not record.fault]
    sizes = [f"{w}x{h}" for h, w in sorted({record.size for record in readable}, key=np.prod)]
    counts = (
        len(records),
        len(records) - len(readable),
        len({record.video for record in readable} - {None}),
        sum(not record.foreground for record in readable),
    )
    pixels = np.array([record.pixels for record in readable]).reshape(len(readable), info.num_classes + 1)
    shares = pixels.sum(axis=0) / max(pixels.sum(), 1)
    present = (pixels > 0).sum(axis=0) / max(len(readable), 1)
    cells = (f"{share:.1%} ({part:.0%})" for share, part in zip(shares, present, strict=True))
    return [*(f"{number:,}" for number in counts), " to ".join(dict.fromkeys(sizes[:1] + sizes[-1:])) or "-", *cells]


def describe(finding: Finding, shown: int | None = _SHOWN) -> Iterator[str]:
    """Yields a finding as lines of at most 80 columns; longer words are not broken.

    Args:
      finding: the finding.
      shown: largest number of examples and of details; None for all, with their messages.
    """
    allowed = ", allowed" if finding.allowed else ""
    yield from _wrap(f"{finding.severity.upper():<7} {finding.title} [{finding.name}{allowed}]", 0)
    for line in "\n".join(finding.details[:shown]).splitlines():
        yield from _wrap(textwrap.shorten(line, 300, placeholder=" ..."))
    if finding.name != "video-in-several-splits":  # its details name the videos
        for group in finding.groups[:shown]:
            line = " = ".join(f"{record.split}: {record.id}" for record in group[:shown])
            yield from _wrap(line if shown else f"{line} {group[0].message}")
    hidden = max(len(finding.groups), len(finding.details)) - shown if shown else 0
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


def printable(text: str) -> str:
    """Returns the text without control characters, which file names may contain and which would disturb the terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _wrap(text: str, indent: int = 10) -> list[str]:
    margin = " " * indent
    options = {"initial_indent": margin, "subsequent_indent": margin, "break_long_words": False}
    return textwrap.wrap(printable(text), _WIDTH, break_on_hyphens=False, **options)
