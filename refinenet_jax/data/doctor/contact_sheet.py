"""Draws the data doctor's contact sheet: examples of every split with their masks, and a row for each visible finding."""

import unicodedata
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from refinenet_jax import visualize
from refinenet_jax.data import images
from refinenet_jax.data.doctor.check_report import printable
from refinenet_jax.data.doctor.findings import Finding
from refinenet_jax.data.doctor.records import Record
from refinenet_jax.data.examples import DataError, Source

_COLUMNS = 6
_WIDTH, _HEIGHT, _CAPTION = 240, 180, 20  # pixels of a cell: width, largest image height, and caption height
_INK = (40, 40, 40)


def draw(
    sources: Mapping[str, Source], records: Mapping[str, Sequence[Record]], findings: Sequence[Finding]
) -> np.ndarray | None:
    """Returns a gallery, uint8 [h, w, 3] RGB, about 1,500 pixels wide; None if no image can be shown.

    Args:
      sources: source of each split; the examples shown are read again.
      records: records of each split.
      findings: findings, each shown by its first examples, with copies next to each other.
    """
    rows = []
    for split, of_split in records.items():
        readable = [record for record in of_split if not record.fault]
        picks = np.unique(np.linspace(0, len(readable) - 1, _COLUMNS).round().astype(int)) if readable else ()
        rows.append((f"{split}: {len(picks)} of {len(of_split)}, evenly spread", [readable[i] for i in picks]))
    for finding in findings:
        rows.append((f"{finding.severity.upper()} [{finding.name}] {finding.title}", _shown(finding)))
    blank = np.full((1, _WIDTH, 3), 255, np.uint8)
    captions, gallery = [], []
    for caption, shown in rows:
        if cells := [cell for record in shown if (cell := _cell(sources, record)) is not None]:
            captions.append(_ascii(caption))
            gallery.append(cells + [blank] * (_COLUMNS - len(cells)))
    return visualize.gallery(gallery, captions, width=_WIDTH) if gallery else None


def _shown(finding: Finding) -> list[Record]:
    """Returns as many examples as fit in a row: of copies the first and the last, which are of two splits if possible."""
    shown: list[Record] = []
    for group in finding.groups:
        pair = [*group[:1], *group[1:][-1:]]
        if len(shown) + len(pair) > _COLUMNS:
            break
        shown += pair
    return shown


def _cell(sources: Mapping[str, Source], record: Record) -> np.ndarray | None:
    """Draws an example with mask overlay and id, 240 pixels wide; without mask if the mask cannot be read."""
    source = sources[record.split]
    try:
        if record.fault:
            image, mask = images.decode_rgb(source.encoded(record.index)[0], record.id), None
        else:
            example = source[record.index]
            image, mask = example["image"], example["mask"]
    except (DataError, OSError):
        return None
    height, width = image.shape[:2]
    scale = min(_WIDTH / width, _HEIGHT / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    if mask is not None:
        image = visualize.overlay(image, cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT))
    cell = np.full((size[1] + _CAPTION, _WIDTH, 3), 255, np.uint8)
    left = (_WIDTH - size[0]) // 2
    cell[: size[1], left : left + size[0]] = image
    text = _ascii(f"{record.split}: {record.id}")
    text = text if len(text) <= 36 else f"{text[:12]}..{text[-22:]}"
    return cv2.putText(cell, text, (2, size[1] + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.36, _INK, 1, cv2.LINE_AA)


def _ascii(text: str) -> str:
    """Returns the text without accents, with `?` for other letters that the font lacks."""
    text = "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return printable(text.encode("ascii", "replace").decode())
