"""The classes of a folder: as dataset.yaml names them, or as they are found in masks and labels."""

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from refinenet_jax.data.examples import VOID, DataError, first_few, raise_together
from refinenet_jax.data.folders.dataset_yaml import FILE, Settings
from refinenet_jax.data.folders.labelme import read_labelme
from refinenet_jax.data.masks import values_in
from refinenet_jax.progress import progress_bar, say

# What a label is painted as; None: it is left out.
LabelIds = Mapping[str, int | None]


def classes_of_masks(masks: Sequence[Path], settings: Settings, folder: Path) -> tuple[str, ...]:
    """The names of the classes by id: the user's, or by the values in all masks, all of which are then read.

    Raises:
      DataError: masks that cannot be read, all together; or their values are no ids from 0 on without gaps.
    """
    if settings.classes:
        return tuple(settings.classes)
    values = _values_in_all(_stamps(masks))
    ids = sorted(values - {VOID})
    if VOID in values and ids in ([], [0]):
        raise DataError(
            f"The masks of {folder} hold only the values {sorted(values)}. They look like black and white masks, but"
            f" 255 means void, which is ignored. If white is the hand, write into {folder / FILE}:\n  binary: true",
            "mask value",
        )
    if ids[-1] <= 1:
        return "background", "hand"
    if set(range(1, ids[-1] + 1)) - values:
        raise DataError(
            f"The masks of {folder} hold the values {first_few(ids, 12)}, which are no class ids from 0 on without"
            f" gaps. If they are right, write a name for each id into {folder / FILE}, as in\n"
            "  classes: [background, left hand, right hand]\n"
            "Many odd values come from masks saved as JPEG or resized smoothly: use PNG and nearest-neighbour.",
            "mask value",
        )
    names = ("background", "hand", *(f"class {i}" for i in ids if i > 1))
    _tell_classes(names, folder)
    return names


def classes_of_labels(labels: Iterable[str], settings: Settings, folder: Path) -> tuple[tuple[str, ...], LabelIds]:
    """The names of the classes by id, and what each label is painted as, by its plain form.

    Args:
      labels: those of all annotations.
      settings: the user's.
      folder: the user's.

    Raises:
      DataError: "annotation": there are labels that dataset.yaml does not mention, all of them named; or none at all. Or
        dataset.yaml gives one label two meanings.
    """
    found = sorted({plain(label) for label in labels})
    ids: dict[str, int | None] = {}
    meanings = [(None, settings.ignore), (VOID, settings.void), *enumerate(settings.classes.values())]
    for meaning, words in meanings:
        for word in words:
            if ids.setdefault(plain(word), meaning) != meaning:
                raise DataError(f"{folder / FILE} gives the label {word!r} two meanings.")
    unknown = [label for label in found if label not in ids]
    if settings.classes:
        # A mapping may leave the class's own name out.
        ids = {plain(name): class_id for class_id, name in enumerate(settings.classes)} | ids
        unknown = [label for label in unknown if label not in ids]
        if unknown:
            raise DataError(
                f"The annotations in {folder} have labels that {folder / FILE} does not mention: {first_few(unknown, 20)}."
                " Add each to a class, or leave it out, as in\n"
                f"  classes: {{background: [], hand: [{unknown[0]}]}}\n"
                f"  ignore: [{', '.join(unknown[:5])}]",
                "annotation",
            )
        return tuple(settings.classes), ids
    unknown = [label for label in unknown if label != "background"]
    if not unknown:
        raise DataError(f"The annotations in {folder} have no labels; there is nothing to learn.", "annotation")
    names = ("background", *unknown)
    _tell_classes(names, folder)
    return names, {name: class_id for class_id, name in enumerate(names)} | ids


def plain(label: str) -> str:
    """A label as labels are compared: without case, underscores as spaces, and no spaces to spare."""
    return " ".join(label.replace("_", " ").split()).casefold()


def labels_in(annotations: Sequence[Path]) -> frozenset[str]:
    """All labels in LabelMe files, every one of which is read.

    Raises:
      DataError: files that are faulty, all together.
    """
    return _labels_in_all(_stamps(annotations))


def flip_pairs(names: Sequence[str], settings: Settings) -> tuple[tuple[int, int], ...]:
    """Pairs of class ids that a flip exchanges: the user's, else names that differ by left and right."""
    if settings.flip_pairs is not None:
        return tuple((names.index(a), names.index(b)) for a, b in settings.flip_pairs)
    ids = {plain(name): i for i, name in enumerate(names)}
    others = {name: name.replace("left", "right") for name in ids if "left" in name}
    return tuple((ids[left], ids[right]) for left, right in others.items() if right in ids)


@functools.cache
def tell(text: str) -> None:
    """Says something once, however often the folder is opened."""
    say(text)


def _tell_classes(names: Sequence[str], folder: Path) -> None:
    found = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    quoted = ", ".join(names)
    tell(
        f"{folder}: found the classes {found}. To name or order them, write into {folder / FILE}:\n  classes: [{quoted}]"
    )


def _stamps(paths: Iterable[Path]) -> tuple[tuple[str, int, int], ...]:
    """Path, time and size of files: while these are the same, their content is not read again for another split."""
    return tuple((str(path), (about := os.stat(path)).st_mtime_ns, about.st_size) for path in paths)


@functools.lru_cache(maxsize=4)
def _values_in_all(stamps: tuple[tuple[str, int, int], ...]) -> frozenset[int]:
    return frozenset(value for values in _read_all(values_in, stamps, "Reading masks") for value in values)


@functools.lru_cache(maxsize=4)
def _labels_in_all(stamps: tuple[tuple[str, int, int], ...]) -> frozenset[str]:
    return frozenset(label for labels in _read_all(_labels_of, stamps, "Reading annotations") for label in labels)


def _labels_of(annotation: Path) -> set[str]:
    return {shape.label for shape in read_labelme(annotation).shapes}


def _read_all(read: Callable[[Path], Any], stamps: Sequence[tuple[str, int, int]], what: str) -> list[Any]:
    """What `read` gives for each file, or all its errors together."""

    def attempt(stamp: tuple[str, int, int]) -> Any:
        try:
            return read(Path(stamp[0]))
        except DataError as error:
            return error

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 16)) as pool, progress_bar(what, len(stamps)) as bar:
        results = []
        for result in pool.map(attempt, stamps):
            results.append(result)
            bar.update()
    faults = [result for result in results if isinstance(result, DataError)]
    raise_together(faults)
    return results
