"""Which pictures of a folder are for training, validation and test: by lists, by sub-folders, or by a seeded hash."""

import dataclasses
import hashlib
import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from refinenet_jax.data.examples import DataError, first_few, raise_together
from refinenet_jax.data.folders.dataset_yaml import FILE, Settings, Split
from refinenet_jax.data.folders.layouts import Item
from refinenet_jax.data.folders.listing import SPLIT_NAMES, composed, has_undecoded, read_text

_MAX_LIST_BYTES = 64 << 20
_MAX_ID = 128
_MAX_SECONDS = 20.0


def divide(
    items: Sequence[Item], folder: Path, images: Path, list_folders: Sequence[Path], settings: Settings
) -> dict[str, list[Item]]:
    """Gives every item its video, and its split.

    The first of these that there is decides: lists; what a COCO file says; sub-folders that are all named as splits; else the
    hash, by the shares that dataset.yaml gives.

    Args:
      items: of the whole folder, sorted.
      folder: the user's.
      images: where pictures lie; lines of lists are relative to it, or to `folder`.
      list_folders: where lists may lie; those of the first folder that has any are taken.
      settings: the user's.

    Returns:
      Items by split, training first. With lists, an item may be in none or in several.

    Raises:
      DataError: a list is faulty, `group` does not fit an id, or dataset.yaml asks for shares though the files say more.
    """
    lists = _find_lists(list_folders)
    items = _split_by_folders(items, images, bool(lists))
    items = _with_videos(items, settings.group, folder / FILE)
    if (lists or any(item.split for item in items)) and settings.split is not None:
        reason = f"the lists {first_few(list(lists.values()))}" if lists else "the folders or files are named as splits"
        raise DataError(f"{folder / FILE} has shares for split, but {reason}. Remove one of the two.")
    if lists:
        divided = {split: read_list(path, items, images, folder) for split, path in lists.items()}
    else:
        names = [item.split for item in items]
        if not any(names):
            names = hash_split([item.video or item.id for item in items], settings.split or Split())
        divided = {}
        for item, split in zip(items, names, strict=True):
            divided.setdefault(split, []).append(item)
    return {split: divided[split] for split in ("train", "validation", "test") if split in divided}


def hash_split(groups: Sequence[str], split: Split) -> list[str]:
    """The split of each picture by a hash of its group: pictures of one group are never divided.

    A group's place from 0 to 1 is a function of its name and the seed alone; the test set has those below its share, then
    comes validation, then training. Added pictures therefore move no other. Only where this would leave a split empty, as
    happens with few groups, the groups in the order of their places are dealt out by number: one to each split, the others
    by the shares. There an added group can move others. Of fewer groups than splits the first is for training, the second
    for validation.

    Args:
      groups: of each picture.
      split: the shares and the seed.

    Returns:
      For each picture 'train', 'validation' or 'test'.
    """
    places = {group: _place(group, split.seed) for group in groups}
    shares = {"test": split.test, "validation": split.validation, "train": 1 - split.test - split.validation}
    asked_for = [name for name, share in shares.items() if share > 1e-9]
    sides = {
        group: "test" if place < split.test else "validation" if place < split.test + split.validation else "train"
        for group, place in places.items()
    }
    if len(set(sides.values())) < len(asked_for):
        names = asked_for[-len(places) :]
        spare = len(places) - len(names)
        dealt = [name for name in names[:-1] for _ in range(1 + int(spare * shares[name]))]
        dealt += names[-1:] * (len(places) - len(dealt))
        sides = dict(zip(sorted(places, key=places.get), dealt, strict=True))
    return [sides[group] for group in groups]


def read_list(path: Path, items: Sequence[Item], images: Path, folder: Path) -> list[Item]:
    """The items that a text file names, one a line: an id or a path, with or without ending; blank lines are skipped.

    Raises:
      DataError: "missing": lines name no picture with a mask, all of them counted. "unusable": a picture is named twice, or
        a line is no text.
    """
    if path.stat().st_size > _MAX_LIST_BYTES:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes; at most {_MAX_LIST_BYTES:,} are read.")
    by_id = {item.id: item for item in items}
    files = ((item.image.relative_to(images), item) for item in items if item.image.is_relative_to(images))
    by_file = {composed(file.as_posix()): item for file, item in files}
    named: dict[str, int] = {}
    missing, twice = [], []
    for number, line in enumerate(composed(read_text(path)).splitlines(), 1):
        if not line.strip():
            continue
        item = next(
            (known[key] for key in _readings(line, images, folder) for known in (by_id, by_file) if key in known), None
        )
        if item is None and has_undecoded(line):
            raise DataError(f"{path}, line {number}, is no UTF-8 text and names no file; save the list as UTF-8.")
        if item is None:
            missing.append(f"{line.strip()[:200]!r} (line {number})")
        elif item.id in named:
            twice.append(f"{item.id!r} (lines {named[item.id]} and {number})")
        else:
            named[item.id] = number
    faults = []
    if missing:
        text = f"{path} names {len(missing)} pictures which are not in {images} with a mask or annotation"
        faults.append(DataError(f"{text}: {first_few(missing)}. Add them, or take the lines out.", "missing"))
    if twice:
        faults.append(DataError(f"{path} names {len(twice)} pictures twice: {first_few(twice)}. Take one out."))
    raise_together(faults)
    return [by_id[item_id] for item_id in named]


def _readings(line: str, images: Path, folder: Path) -> list[str]:
    """What a line can mean, as ids or paths below `images`: most literal first.

    Some lists have the mask's path after a space, quotes, and paths that begin with a slash or anywhere on another machine.
    """
    readings = []
    for text in dict.fromkeys((line.strip(), line.strip().strip("\"'"), line.split()[0])):
        text = text.replace("\\", "/").removeprefix("./")
        below = [
            text,
            text.lstrip("/"),
            *(text.split(f"{name}/")[-1] for name in (images.name, folder.name) if name in text),
        ]
        readings += [*below, *(re.sub(r"\.\w{1,4}$", "", key) for key in below)]
    return readings


def _find_lists(folders: Sequence[Path]) -> dict[str, Path]:
    """Split -> its list, from the first folder that has any."""
    for folder in folders:
        lists: dict[str, Path] = {}
        for word, split in SPLIT_NAMES.items():
            path = folder / f"{word}.txt"
            if os.path.lexists(path):
                if split in lists:
                    raise DataError(f"{lists[split]} and {path} are lists of the same split; keep one.")
                lists[split] = path
        if not lists and (folder / "trainval.txt").is_file():  # of VOC: all there is for training
            lists["train"] = folder / "trainval.txt"
        if lists:
            return lists
    return {}


def _split_by_folders(items: Sequence[Item], images: Path, has_lists: bool) -> list[Item]:
    """Sets the split of items in train/, val/, ... if all of them are in such a folder."""
    parts = [item.id.partition("/") for item in items]
    tops = {top if slash else "." for top, slash, _ in parts}
    if any(item.split for item in items):  # a COCO file has said it
        return list(items)
    if not all(top.lower() in SPLIT_NAMES for top in tops):
        if "train" in tops and not has_lists:
            others = [str(images / top) for top in sorted(tops) if top.lower() not in SPLIT_NAMES]
            raise DataError(
                f"{images / 'train'} is named as a split, but {first_few(others)} are not; rename or move them."
            )
        return list(items)
    return [
        dataclasses.replace(item, split=SPLIT_NAMES[top.lower()], name=name)
        for item, (top, _, name) in zip(items, parts, strict=True)
    ]


def _with_videos(items: Sequence[Item], group: re.Pattern | None, where: Path) -> list[Item]:
    """Sets the video: what `group` captures in the name, else the first sub-folder in it, else nothing."""
    if group is None:
        return [dataclasses.replace(item, video=item.name.rpartition("/")[0].partition("/")[0]) for item in items]
    found, others = [], []
    end = time.monotonic() + _MAX_SECONDS
    for item in items:
        match = group.search(item.name) if len(item.name) <= _MAX_ID else None
        if match is None or not match[1]:
            others.append(item.name)
            continue
        found.append(dataclasses.replace(item, video=match[1]))
        if time.monotonic() > end:
            raise DataError(f"{where}: group takes too long to search; write it simpler: {group.pattern}")
    if others:
        raise DataError(
            f"{where}: group {group.pattern!r} captures nothing in {len(others)} of {len(items)} ids (of at most"
            f" {_MAX_ID} characters): {first_few(others)}. Write it so that it fits all."
        )
    return found


def _place(group: str, seed: int) -> float:
    """Evenly spread from 0 to 1."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64
