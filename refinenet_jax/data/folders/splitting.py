"""Divides the pictures of a folder into training, validation and test: by lists, subfolders or a seeded hash."""

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from refinenet_jax.data.examples import DataError, first_few, raise_together
from refinenet_jax.data.folders.dataset_yaml import FILE, Settings, Split
from refinenet_jax.data.folders.layouts import Item
from refinenet_jax.data.folders.listing import SPLIT_NAMES, composed, read_text

_MAX_ID = 128


def divide(
    items: Sequence[Item], folder: Path, images: Path, list_folders: Sequence[Path], settings: Settings
) -> dict[str, list[Item]]:
    """Assigns a video and a split to every item.

    The first of these that exists decides: lists; splits named in annotation files; subfolders that are all named as splits;
    otherwise a hash, with the shares in dataset.yaml.

    Args:
      items: all items of the folder, sorted.
      folder: folder of the dataset.
      images: folder of the pictures; lines of lists are relative to it or to `folder`.
      list_folders: folders that may contain lists; the first one that has any is used.
      settings: content of dataset.yaml.

    Returns:
      Items by split, training first. With lists, an item may be in no split or in several.

    Raises:
      DataError: a list is faulty, `group` does not match an id, or dataset.yaml gives shares although splits are defined.
    """
    lists = _find_lists(list_folders)
    items = _split_by_folders(items, images, bool(lists))
    items = _with_videos(items, settings.group, folder / FILE)
    if (lists or any(item.split for item in items)) and settings.split is not None:
        reason = f"the lists {first_few(list(lists.values()))}" if lists else "folders or files named as splits"
        raise DataError(f"{folder / FILE} has shares for split, but there are also {reason}. Remove one of the two.")
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
    """Returns the split of each picture by a hash of its group; a group is never divided.

    The position of a group, from 0 to 1, depends only on its name and the seed: the lowest share is the test set, followed by
    validation and training. Adding pictures therefore does not move others. Only if this leaves a split empty, as happens
    with few groups, the groups sorted by position are assigned by number: one to each split, the rest by the shares. In that
    case an added group can move others. With fewer groups than splits the first is for training, the second for validation.

    Args:
      groups: group of each picture.
      split: shares and seed.

    Returns:
      'train', 'validation' or 'test' for each picture.
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
    """Returns the items named in a text file, one id or path per line; blank lines are skipped.

    Raises:
      DataError: "missing": lines name no picture with a mask (all are counted). "unusable": a picture is named twice, or the
        file is not text.
    """
    by_id = {item.id: item for item in items}
    files = ((item.image.relative_to(images), item) for item in items if item.image.is_relative_to(images))
    by_name = {composed(file.as_posix()): item for file, item in files} | by_id
    named: dict[str, int] = {}
    missing, twice = [], []
    for number, line in enumerate(composed(read_text(path)).splitlines(), 1):
        line = line.strip()
        if not line:
            continue
        name = line.replace("\\", "/").removeprefix("./").removeprefix(f"{images.relative_to(folder).as_posix()}/")
        item = by_name.get(name)
        if item is None:
            missing.append(f"{line[:200]!r} (line {number})")
        elif item.id in named:
            twice.append(f"{item.id!r} (lines {named[item.id]} and {number})")
        else:
            named[item.id] = number
    faults = []
    if missing:
        text = f"{path} names {len(missing)} pictures that are not in {images} with a mask or annotation"
        fix = f"Write ids or paths below {images}, and add the pictures or remove the lines."
        faults.append(DataError(f"{text}: {first_few(missing)}. {fix}", "missing"))
    if twice:
        faults.append(
            DataError(f"{path} names {len(twice)} pictures twice: {first_few(twice)}. Remove the duplicates.")
        )
    raise_together(faults)
    return [by_id[item_id] for item_id in named]


def _find_lists(folders: Sequence[Path]) -> dict[str, Path]:
    """Returns the list of each split, from the first folder that has any."""
    for folder in folders:
        lists: dict[str, Path] = {}
        for word, split in SPLIT_NAMES.items():
            path = folder / f"{word}.txt"
            if os.path.lexists(path):
                if split in lists:
                    raise DataError(f"{lists[split]} and {path} are lists of the same split. Keep one.")
                lists[split] = path
        if not lists and (folder / "trainval.txt").is_file():  # VOC: all pictures for training
            lists["train"] = folder / "trainval.txt"
        if lists:
            return lists
    return {}


def _split_by_folders(items: Sequence[Item], images: Path, has_lists: bool) -> list[Item]:
    """Sets the split of items if all of them are in folders named as splits (train/, val/, ...)."""
    parts = [item.id.partition("/") for item in items]
    tops = {top if slash else "." for top, slash, _ in parts}
    if any(item.split for item in items):  # set by an annotation file
        return list(items)
    if not all(top.lower() in SPLIT_NAMES for top in tops):
        if "train" in tops and not has_lists:
            others = [str(images / top) for top in sorted(tops) if top.lower() not in SPLIT_NAMES]
            raise DataError(
                f"{images / 'train'} is named as a split, but {first_few(others)} are not. Rename or move them."
            )
        return list(items)
    return [
        dataclasses.replace(item, split=SPLIT_NAMES[top.lower()], name=name)
        for item, (top, _, name) in zip(items, parts, strict=True)
    ]


def _with_videos(items: Sequence[Item], group: re.Pattern | None, where: Path) -> list[Item]:
    """Sets the video: what `group` captures in the name, or else the first subfolder in it, or else ''."""
    if group is None:
        return [dataclasses.replace(item, video=item.name.rpartition("/")[0].partition("/")[0]) for item in items]
    matched, others = [], []
    for item in items:
        match = group.search(item.name) if len(item.name) <= _MAX_ID else None
        if match is None or not match[1]:
            others.append(item.name)
            continue
        matched.append(dataclasses.replace(item, video=match[1]))
    if others:
        raise DataError(
            f"{where}: group {group.pattern!r} captures nothing in {len(others)} of {len(items)} ids (of at most"
            f" {_MAX_ID} characters): {first_few(others)}. Write a pattern that matches all."
        )
    return matched


def _place(group: str, seed: int) -> float:
    """Returns a position in [0, 1), uniformly distributed over groups."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64
