"""Derives the data doctor's findings from its records, each with severity, examples and advice."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from refinenet_jax.data.doctor.fingerprints import earlier_lookalikes
from refinenet_jax.data.doctor.records import Record
from refinenet_jax.data.examples import DatasetInfo
from refinenet_jax.data.folders.dataset_yaml import flip_pairs_line

SEVERITIES = ("problem", "warning", "note")  # spoils training or its scores, may do so, or is for information

# Severity of each kind of finding, its effect on training or scores, and what to do. The faults of examples.FAULTS come first.
KINDS = {
    "undecodable": ("problem", "Training stops at such a file. Get these files again, or remove them."),
    "size-mismatch": (
        "problem",
        "Training stops there. Pair each image with the mask that was drawn on it, at its size.",
    ),
    "mask-value": (
        "problem",
        "Such pixels belong to no class. Store class ids, or 255 for void, as PNG; resize masks by nearest neighbor only.",
    ),
    "mask-format": ("problem", "Follow the message; PNG of one channel with 8 bits is always right, JPEG never."),
    "missing": ("problem", "Follow the message, or remove the image from its folder and list."),
    "annotation": ("problem", "No mask can be drawn from it. Correct the annotation as the message says."),
    "unusable": ("problem", "It cannot be read. Follow the message."),
    "binary-masks": (
        "problem",
        "255 means void, which is ignored: the network learns that everything is background. Store class ids, 0 and 1"
        " (mask = mask == 255); for a folder, write `binary: true` in its dataset.yaml.",
    ),
    "inverted": (
        "problem",
        "The network learns the background as the hand, if the masks are inverted. Check the contact sheet, and swap the ids.",
    ),
    "absent-class": (
        "problem",
        "The network cannot learn a class that it never sees. Add examples, correct the class ids, or remove the class.",
    ),
    "conflicting-masks": (
        "problem",
        "One picture has two answers: it cannot be learned, and its score is meaningless. Keep the correct mask, and remove"
        " the other examples.",
    ),
    "leak": (
        "problem",
        "The network is tested on pictures that it was trained on: the scores are too high. Remove the copies from one of the"
        " splits.",
    ),
    "near-leak": (
        "problem",
        "Recompressed copies or neighboring frames of training pictures: the scores are too high. Split by video or place"
        " rather than by picture, or remove the copies.",
    ),
    "video-in-several-splits": (
        "problem",
        "Frames of one video share hands, room and light: the scores are too high. Split by video. If the official split is"
        " like this, accept it: --allow video-in-several-splits near-leak",
    ),
    "duplicate-ids": ("problem", "Results are stored by id, and overwrite each other. Give every example its own id."),
    "unpaired-classes": (
        "warning",
        "Training mirrors pictures: a left hand that keeps its label in the mirror is learned as a right hand. Write the pairs"
        " into dataset.yaml, or `flip_pairs: []` if classes have no sides; or train with --config.augment.flip=False",
    ),
    "no-foreground": ("note", "Correct if there are no hands; wrong if a mask was lost. Check the contact sheet."),
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """A finding of the data doctor.

    Attributes:
      name: name of its kind, a key of KINDS.
      title: summary in one line.
      groups: examples; each group holds copies of one picture, or a single example.
      details: further lines, or what the finding concerns if there are no examples.
      allowed: whether the user accepts it; it is then at most a warning.
    """

    name: str
    title: str
    groups: Sequence[Sequence[Record]] = ()
    details: Sequence[str] = ()
    allowed: bool = False

    @property
    def severity(self) -> str:
        return "warning" if self.allowed else KINDS[self.name][0]


def find(
    records: Mapping[str, Sequence[Record]],
    info: DatasetInfo | None,
    faults: Sequence[tuple[str, str]] = (),
    allow: Sequence[str] = (),
) -> list[Finding]:
    """Returns all findings, worst first.

    Args:
      records: records of each split. Each split is compared with the earlier ones, so training comes first.
      info: description of the dataset; None if no split could be opened.
      faults: (fault, message) of each split that could not be opened.
      allow: names of problems that the user accepts; they become warnings.
    """
    readable = {split: [record for record in of_split if not record.fault] for split, of_split in records.items()}
    findings = [
        *_unreadable([record for split in records.values() for record in split], faults),
        *_masks(readable, info),
        *_copies(readable),
    ]
    if info and info.unpaired:
        title = f"{count(len(info.unpaired), 'class')} without known left and right: {', '.join(info.unpaired)}"
        findings.append(Finding("unpaired-classes", title, (), [f"For example:  {flip_pairs_line(info.unpaired)}"]))
    findings = [dataclasses.replace(f, allowed=f.name in allow and f.severity == "problem") for f in findings]
    order = list(KINDS)
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), order.index(f.name)))


def count(number: int, noun: str) -> str:
    """Returns number and noun, as `1 image` or `2 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


def is_for_training(split: str) -> bool:
    """Returns whether a split of this name is used for training."""
    return split.startswith("train")


def _singles(name: str, title: str, records: Sequence[Record]) -> Iterator[Finding]:
    """Yields a finding about single records, if there are any."""
    if records:
        yield Finding(name, f"{count(len(records), 'image')} {title}", [[record] for record in records])


def _groups(name: str, noun: str, title: str, groups: Sequence[Sequence[Record]], **details) -> Iterator[Finding]:
    """Yields a finding about groups of records, if there are any."""
    if groups:
        yield Finding(name, f"{count(len(groups), noun)} {title}", groups, **details)


def _unreadable(records: Sequence[Record], faults: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    by_fault, messages = defaultdict(list), defaultdict(list)
    for record in records:
        if record.fault:
            by_fault[record.fault].append(record)
    for fault, message in dict.fromkeys(faults):
        messages[fault].append(message)
    for fault in sorted({*by_fault, *messages}):
        hit = by_fault[fault]
        title = f"{count(len(hit), 'example')} unreadable: {fault}" if hit else "Splits of the dataset cannot be opened"
        details = [*messages[fault], *(record.message for record in hit[:1])]
        if rotated := sum(record.orientation != 1 for record in hit):
            details.insert(0, f"Images rotated by EXIF: {rotated}. Were their masks drawn on the rotated image?")
        yield Finding(fault.replace(" ", "-"), title, [[record] for record in hit], details)


def _masks(splits: Mapping[str, Sequence[Record]], info: DatasetInfo) -> Iterator[Finding]:
    """Yields findings about splits, classes and examples whose masks are unlikely or useless."""
    empty, absent = [], []
    for split, records in splits.items():
        if not records:
            continue
        pixels = np.sum([record.pixels for record in records], axis=0)
        if pixels[-1] and not pixels[1:-1].any():
            yield from _singles("binary-masks", f"of {split} have masks of only 0 and 255", records)
            continue
        full = [r for r in records if r.foreground > 0.95 * r.labeled]
        if 2 * len(full) > len(records):
            yield from _singles("inverted", f"of {len(records)} of {split} are almost entirely foreground", full)
        empty += [r for r in records if not r.foreground]
        if is_for_training(split):
            absent += [f"{split}: {info.class_names[i]}" for i in np.flatnonzero(pixels[:-1] == 0)]
    if absent:
        yield Finding("absent-class", "Classes that do not occur in training", (), absent)
    yield from _singles("no-foreground", "without foreground", empty)


def _copies(splits: Mapping[str, Sequence[Record]]) -> Iterator[Finding]:
    """Yields findings about repeated ids, exact and near copies of pictures, and videos with frames in several splits."""
    records = [record for split in splits.values() for record in split]
    if not records:
        return
    same = [group for group in _grouped(records, "id") if len(group) > 1]
    yield from _groups("duplicate-ids", "id", "used more than once", same)
    copies = [group for group in _grouped(records, "image_digest") if len(group) > 1]
    conflicting = [group for group in copies if len({r.mask_digest for r in group}) > 1]
    yield from _groups("conflicting-masks", "picture", "with different masks", conflicting)
    leaks = [group for group in copies if len({r.split for r in group}) > 1]
    yield from _groups("leak", "picture", "in more than one split", leaks)

    exact = {id(r) for group in leaks for r in group}
    earlier = earlier_lookalikes(np.stack([r.fingerprint for r in records]), [len(s) for s in splits.values()])
    near = [(records[j], r) for r, j in zip(records, earlier, strict=True) if j >= 0 and id(r) not in exact]
    pairs = Counter(f"{a.split} and {b.split}" for a, b in near)
    details = [f"{pair}: {number}" for pair, number in pairs.items()]
    yield from _groups("near-leak", "image", "nearly the same as one of another split", near, details=details)

    videos = _grouped([r for r in records if r.video], "video")
    divided = [group for group in videos if len({r.split for r in group}) > 1]
    details = []
    for group in divided:
        parts = ", ".join(f"{split} {number}" for split, number in Counter(r.split for r in group).items())
        details.append(f"{group[0].video}: {parts}")
    title = "with frames in more than one split"
    yield from _groups("video-in-several-splits", "video", title, divided, details=details)


def _grouped(records: Sequence[Record], attribute: str) -> list[list[Record]]:
    groups = defaultdict(list)
    for record in records:
        groups[getattr(record, attribute)].append(record)
    return list(groups.values())
