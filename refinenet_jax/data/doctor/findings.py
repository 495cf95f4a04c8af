"""Derives the data doctor's findings from its records, each with severity and examples."""

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from refinenet_jax.data.doctor.finding_kinds import KINDS, SEVERITIES
from refinenet_jax.data.doctor.fingerprints import earlier_lookalikes
from refinenet_jax.data.doctor.records import Record
from refinenet_jax.data.examples import DatasetInfo
from refinenet_jax.data.folders.dataset_yaml import flip_pairs_line

_UNREADABLE = {
    "undecodable": "that cannot be decoded",
    "size mismatch": "whose mask has another size",
    "mask value": "with mask values that are not classes",
    "mask format": "whose mask does not contain class ids",
    "missing": "whose files are missing",
    "annotation": "with a faulty annotation",
    "unusable": "that cannot be used",
}


@dataclasses.dataclass(frozen=True)
class Finding:
    """A finding of the data doctor.

    Attributes:
      name: name of its kind, a key of KINDS.
      severity: severity of its kind; 'warning' if a problem was allowed.
      title: summary in one line.
      count: number of examples, pairs, videos or classes concerned.
      groups: examples; each group holds copies of one picture, or a single example.
      details: further lines, or what the finding concerns if there are no examples.
      allowed: whether the user accepts it.
    """

    name: str
    severity: str
    title: str
    count: int
    groups: tuple[tuple[Record, ...], ...] = ()
    details: tuple[str, ...] = ()
    allowed: bool = False


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
    all_records = [record for split in records.values() for record in split]
    readable = {split: [record for record in of_split if not record.fault] for split, of_split in records.items()}
    findings = [
        *_unreadable(all_records, faults),
        *_masks(readable, info),
        *_sides(info),
        *_files([record for split in readable.values() for record in split]),
        *_copies(readable),
        *_groups(readable),
    ]
    findings = [
        dataclasses.replace(f, severity="warning", allowed=True) if f.name in allow and f.severity == "problem" else f
        for f in findings
    ]
    order = list(KINDS)
    return sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), order.index(f.name)))


def count(number: int, noun: str) -> str:
    """Returns number and noun, as `1 image` or `2 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 'es' if noun.endswith('s') else 's'}"


def _finding(name: str, title: str, number: int, groups: Sequence = (), details: Sequence[str] = ()) -> Finding:
    return Finding(name, KINDS[name].severity, title, number, tuple(map(tuple, groups)), tuple(details))


def _singles(name: str, title: str, records: Sequence[Record], details: Sequence[str] = ()) -> Iterator[Finding]:
    """Yields a finding about single records, if there are any."""
    if records:
        yield _finding(name, f"{count(len(records), 'image')} {title}", len(records), [[r] for r in records], details)


def _unreadable(records: Sequence[Record], faults: Sequence[tuple[str, str]]) -> Iterator[Finding]:
    by_fault = defaultdict(list)
    for record in records:
        if record.fault:
            by_fault[record.fault].append(record)
    messages = defaultdict(list)
    for fault, message in dict.fromkeys(faults):
        messages[fault].append(message)
    for fault in sorted({*by_fault, *messages}):
        hit, opening = by_fault[fault], messages[fault]
        title = (
            f"{count(len(hit), 'example')} {_UNREADABLE[fault]}" if hit else "Splits of the dataset cannot be opened"
        )
        details = [*opening, *(record.message for record in hit[:1])]
        if turned := sum(record.orientation != 1 for record in hit):
            details.append(f"Images rotated by EXIF: {turned}. Were their masks drawn on the rotated image?")
        yield _finding(fault.replace(" ", "-"), title, len(hit) or len(opening), [[r] for r in hit], details)


def _masks(splits: Mapping[str, Sequence[Record]], info: DatasetInfo) -> Iterator[Finding]:
    """Yields findings about splits, classes and examples whose masks are unlikely or useless."""
    void, empty, absent, unmeasured = [], [], [], []
    for split, records in splits.items():
        if not records:
            continue
        pixels = np.sum([record.pixels for record in records], axis=0)
        if pixels[-1] and not pixels[1:-1].any():
            title = f"The masks of {split} contain only 0 and 255"
            yield _finding("binary-masks", title, len(records), [[r] for r in records])
            continue
        full = [r for r in records if r.labeled and r.foreground > 0.95 * r.labeled]
        if 2 * len(full) > len(records):
            title = f"{len(full)} of {count(len(records), 'image')} of {split} are almost entirely foreground"
            yield _finding("inverted", title, len(full), [[r] for r in full])
        void += [r for r in records if not r.labeled]
        without = [r for r in records if r.labeled and not r.foreground]
        if 2 * len(without) > len(records) and pixels[1:-1].any():
            title = f"{len(without)} of {count(len(records), 'image')} of {split} have no foreground"
            yield _finding("mostly-empty", title, len(without), [[r] for r in without])
        else:
            empty += without
        missing = [f"{split}: {info.class_names[i]}" for i in np.flatnonzero(pixels[:-1] == 0)]
        (absent if is_for_training(split) else unmeasured).extend(missing)
    if absent:
        yield _finding("absent-class", "Classes that do not occur in training", len(absent), (), absent)
    if unmeasured:
        yield _finding("unmeasured-class", "Classes that do not occur in evaluation", len(unmeasured), (), unmeasured)
    yield from _singles("all-void", "all void", void)
    yield from _singles("no-foreground", "without foreground", empty)


def _sides(info: DatasetInfo | None) -> Iterator[Finding]:
    if info and info.unpaired:
        title = f"{count(len(info.unpaired), 'class')} without known left and right: {', '.join(info.unpaired)}"
        details = [f"For example:  {flip_pairs_line(info.unpaired)}"]
        yield _finding("unpaired-classes", title, len(info.unpaired), (), details)


def is_for_training(split: str) -> bool:
    """Returns whether a split of this name is used for training."""
    return split.startswith("train")


def _files(records: Sequence[Record]) -> Iterator[Finding]:
    shows = [r for r in records if r.shows_mask]
    yield from _singles("mask-as-image", "that are their own mask", shows)
    yield from _singles("rotation", "with EXIF rotation", [r for r in records if r.orientation != 1])


def _copies(splits: Mapping[str, Sequence[Record]]) -> Iterator[Finding]:
    """Yields findings about exact and near copies of pictures."""
    records = [record for split in splits.values() for record in split]
    copies = [group for group in _grouped(records, "image_digest") if len(group) > 1]
    conflicting = [group for group in copies if len({r.mask_digest for r in group}) > 1]
    leaks = [group for group in copies if len({r.split for r in group}) > 1]
    repeats = [own for group in copies for own in _grouped(group, "split") if len(own) > 1]
    if conflicting:
        title = f"{count(len(conflicting), 'picture')} with different masks"
        yield _finding("conflicting-masks", title, len(conflicting), conflicting)
    if leaks:
        yield _finding("leak", f"{count(len(leaks), 'picture')} in more than one split", len(leaks), leaks)
    if repeats:
        title = f"{count(len(repeats), 'picture')} more than once in a split"
        yield _finding("duplicates", title, len(repeats), repeats)
    if not records:
        return
    exact = {id(r) for group in leaks for r in group}
    earlier = earlier_lookalikes(np.stack([r.fingerprint for r in records]), [len(s) for s in splits.values()])
    near = [(records[j], r) for r, j in zip(records, earlier, strict=True) if j >= 0 and id(r) not in exact]
    if near:
        pairs = Counter(f"{a.split} and {b.split}: {{}}" for a, b in near)
        title = f"{count(len(near), 'image')} nearly the same as one of another split"
        yield _finding("near-leak", title, len(near), near, [pair.format(n) for pair, n in pairs.items()])


def _groups(splits: Mapping[str, Sequence[Record]]) -> Iterator[Finding]:
    """Yields findings about videos in several splits and duplicate ids."""
    records = [record for split in splits.values() for record in split]
    videos = _grouped([r for r in records if r.video], "video")
    divided = [group for group in videos if len({r.split for r in group}) > 1]
    if divided:
        details = []
        for group in divided:
            parts = ", ".join(f"{split} {n}" for split, n in Counter(r.split for r in group).items())
            details.append(f"{group[0].video}: {parts}")
        title = f"{count(len(divided), 'video')} with frames in more than one split"
        yield _finding("video-in-several-splits", title, len(divided), divided, details)
    same = [group for group in _grouped(records, "id") if len(group) > 1]
    if same:
        yield _finding("duplicate-ids", f"{count(len(same), 'id')} used more than once", len(same), same)


def _grouped(records: Sequence[Record], attribute: str) -> list[list[Record]]:
    groups = defaultdict(list)
    for record in records:
        groups[getattr(record, attribute)].append(record)
    return list(groups.values())
