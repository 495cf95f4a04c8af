"""The classes of a folder: named in dataset.yaml, or inferred from masks and labels."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from refinenet_jax.data.examples import VOID, DataError, first_few
from refinenet_jax.data.folders.dataset_yaml import FILE, Settings, as_yaml
from refinenet_jax.data.folders.listing import read_text
from refinenet_jax.data.folders.sides import left_right_pairs
from refinenet_jax.data.masks import colors_line, contents
from refinenet_jax.data.reading import read_all
from refinenet_jax.errors import UsageError, require
from refinenet_jax.progress import say_once

# The class id of each label; None if the label is ignored.
LabelIds = Mapping[str, int | None]

LABELMAP = "labelmap.txt"  # written by CVAT with masks in colors
_CLASS_NAMES = "class_names.txt"  # written by labelme2voc, one name per id
_IGNORE = "__ignore__"  # LabelMe's reserved label for void
_MAX_COLORS = 12


def classes_of_masks(masks: Sequence[Path], settings: Settings, folder: Path) -> tuple[str, ...]:
    """Returns the names of the classes by id: the user's, or else inferred from the values in all masks.

    Raises:
      DataError: some masks cannot be read (all are reported); or their values are not ids from 0 without gaps.
    """
    if settings.classes:
        return tuple(settings.classes)
    if names := _class_names(folder / _CLASS_NAMES):
        return names
    counts = sum(read_all(contents, masks, settings.binary), Counter())
    ids = sorted({value for value, _ in counts if value is not None} - {VOID})
    colors = Counter[tuple[int, int, int]]()
    for (value, color), number in counts.items():
        colors[color or (value,) * 3] += number
    if any(value is None for value, _ in counts):
        raise DataError(f"The masks of {folder} are in colors. {_named_colors(colors, folder)}", "mask format")
    values_of = defaultdict(set)
    for value, color in counts:
        values_of[color].add(value)
    twice = [list(color) for color, values in values_of.items() if color and len(values) > 1]
    if twice and settings.binary is None:
        raise DataError(
            f"The masks of {folder} have different palettes: the color {first_few(twice)} has several values."
            f" {_named_colors(colors, folder)}\nor, if the values are class ids and colors do not matter,\n  binary: false",
            "mask format",
        )
    if VOID in {value for value, _ in counts} and ids in ([], [0]):
        raise DataError(
            f"The masks of {folder} contain only the values {sorted([*ids, VOID])}. They look like black and white masks, but"
            f" 255 means void, which is ignored. If white is the hand, write into {folder / FILE}:\n  binary: true",
            "mask value",
        )
    if ids[-1] <= 1:
        return "background", "hand"
    if set(range(1, ids[-1] + 1)) - set(ids):
        raise DataError(
            f"The masks of {folder} contain the values {first_few(ids, 12)}, which are not class ids from 0 without"
            f" gaps. {_named_colors(colors, folder)}\nor, if they are class ids, a name for each id from 0, as in\n"
            "  classes: [background, left hand, right hand]",
            "mask value",
        )
    names = ("background", "hand", *(f"class {i}" for i in ids if i > 1))
    _say_classes(names, folder)
    return names


def _class_names(path: Path) -> tuple[str, ...]:
    """Returns the names by id from a file of labelme2voc; empty if they do not start with the background."""
    lines = [line.strip() for line in read_text(path).splitlines()] if path.is_file() else []
    names = tuple(line.strip("_") for line in lines if line and line != _IGNORE)
    return names if names[:1] == ("background",) else ()


def read_labelmap(path: Path) -> dict[str, tuple[int, int, int]]:
    """Returns the RGB color of each label from lines of label:red,green,blue:parts:actions; empty if there is no file.

    Raises:
      DataError: a line is of another form.
    """
    colors = {}
    for number, line in enumerate(read_text(path).splitlines() if path.is_file() else (), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.match(r"(.+?):(\d+),(\d+),(\d+)(:|$)", line)
        if not match or max(color := tuple(map(int, match.groups()[1:4]))) > 255:
            raise DataError(
                f"{path}, line {number}, is {line[:80]!r} instead of label:red,green,blue::. Export it again."
            )
        colors[match[1].strip()] = color
    return colors


def _named_colors(colors: Mapping[tuple[int, int, int], int], folder: Path) -> str:
    """Returns advice on what to write if colors or gray values mean classes."""
    is_gray = all(max(color) == min(color) for color in colors)
    if len(colors) > _MAX_COLORS:
        return (
            f"There are {len(colors)} of them, as in masks that were saved as JPEG or resized smoothly: use PNG and"
            " nearest-neighbor interpolation."
            + (f" If white is the hand, write into {folder / FILE}:\n  binary: true" if is_gray else "")
        )
    return f"Write into {folder / FILE}, with the names of your classes:\n{colors_line(colors)}"


def classes_of_labels(labels: Iterable[str], settings: Settings, folder: Path) -> tuple[tuple[str, ...], LabelIds]:
    """Returns the names of the classes by id, and the class id of each label in its normalized form (see `plain`).

    Args:
      labels: labels of all annotations.
      settings: settings from dataset.yaml.
      folder: folder of the dataset.

    Raises:
      DataError: "annotation": dataset.yaml does not mention some labels (all are named), or there are no labels. Or
        dataset.yaml assigns one label twice.
    """
    labels = sorted({plain(label) for label in labels} - {_IGNORE})
    ids: dict[str, int | None] = {}
    meanings = [(None, settings.ignore), (VOID, settings.void), *enumerate(settings.classes.values())]
    for meaning, words in meanings:
        for word in words:
            if ids.setdefault(plain(word), meaning) != meaning:
                raise DataError(f"{folder / FILE} gives the label {word!r} two meanings. Keep one of them.")
    ids.setdefault(_IGNORE, VOID)
    unknown = [label for label in labels if label not in ids]
    if settings.classes:
        # A mapping need not list the class's own name as a label.
        ids = {plain(name): class_id for class_id, name in enumerate(settings.classes)} | ids
        unknown = [label for label in unknown if label not in ids]
        if unknown:
            raise DataError(
                f"The annotations in {folder} have labels that {folder / FILE} does not mention: {first_few(unknown, 20)}."
                " Add each to a class, as in\n"
                f"  classes: {as_yaml({'background': [], 'hand': unknown[:1]})}\n"
                f"or ignore them by the line\n  ignore: {as_yaml([*settings.ignore, *unknown])}",
                "annotation",
            )
        return tuple(settings.classes), ids
    unknown = [label for label in unknown if label != "background"]
    if not unknown:
        raise DataError(f"The annotations in {folder} have no labels. Label at least one object.", "annotation")
    names = ("background", *unknown)
    _say_classes(names, folder)
    return names, {name: class_id for class_id, name in enumerate(names)} | ids


def plain(label: str) -> str:
    """Returns the normalized form in which labels are compared: case-folded, with single spaces and no underscores."""
    label = unicodedata.normalize("NFC", label.strip())
    if label == _IGNORE:
        return label
    return " ".join(label.replace("_", " ").split()).casefold()


def flip_pairs(names: Sequence[str], settings: Settings, where: Path | str = FILE) -> tuple[tuple[int, int], ...]:
    """Returns pairs of class ids that a flip exchanges: the user's, or else names that differ by left and right."""
    if settings.flip_pairs is None:
        return left_right_pairs(names)
    try:
        for name in (name for pair in settings.flip_pairs for name in pair):
            require(name, names, "class in flip_pairs")
    except UsageError as error:
        raise DataError(f"{where}: {error}") from error
    return tuple((names.index(a), names.index(b)) for a, b in settings.flip_pairs)


def unpaired(names: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """Returns foreground classes that neither their names nor dataset.yaml describe as paired or unpaired."""
    if settings.flip_pairs is not None:
        return ()
    paired = {class_id for pair in left_right_pairs(names) for class_id in pair}
    others = tuple(name for i, name in enumerate(names) if i and i not in paired)
    return others if len(others) > 1 else ()


def _say_classes(names: Sequence[str], folder: Path) -> None:
    found = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    line = f"classes: {as_yaml(list(names))}"
    say_once(f"{folder}: found the classes {found}. To name or order them, write into {folder / FILE}:\n  {line}")
