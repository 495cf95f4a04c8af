"""Reads dataset.yaml in a folder of pictures: class names, splits and everything else that the files cannot express."""

import dataclasses
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from refinenet_jax.data.examples import VOID, DataError
from refinenet_jax.data.folders.listing import composed
from refinenet_jax.data.reading import read_bytes
from refinenet_jax.errors import UsageError, require

FILE = "dataset.yaml"
LAYOUTS = ("masks", "voc", "labelme", "coco", "yolo")

_MAX_BYTES = 64 << 10
_MAX_PATTERN = 100


@dataclasses.dataclass(frozen=True)
class Split:
    """Shares of the validation and test splits, from 0 to 1, if no lists or folders define splits; the rest is training."""

    validation: float = 0.1
    test: float = 0.1
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Settings:
    """Content of dataset.yaml; without the file, the defaults.

    Attributes:
      name: name of the dataset; if empty, the folder's name.
      classes: name of each class, in order of ids -> labels that annotations use for it. Empty: inferred from the data.
      flip_pairs: names of classes that a left-right flip exchanges; None: those that differ by left and right.
      binary: True if the second class is bright in masks; False if mask values are class ids, even with a palette; None if
        not given.
      negatives: whether the pictures show none of the classes above 0, so that masks contain only background and void.
      colors: (red, green, blue) -> class id, or VOID, for masks in colors.
      ignore: labels that are ignored.
      void: labels that are painted as void.
      unannotated: how pictures without mask or annotation are treated: 'background', 'skip', or empty: as an error.
      layout: one of LAYOUTS; empty: detected.
      group: regular expression searched in each id; its first group names what must not be divided between splits.
      split: shares of the splits; None if not given.
    """

    name: str = ""
    classes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    flip_pairs: tuple[tuple[str, str], ...] | None = None
    binary: bool | None = None
    negatives: bool = False
    colors: Mapping[tuple[int, int, int], int] = dataclasses.field(default_factory=dict)
    ignore: tuple[str, ...] = ()
    void: tuple[str, ...] = ()
    unannotated: str = ""
    layout: str = ""
    group: re.Pattern | None = None
    split: Split | None = None


def read_settings(folder: Path) -> Settings:
    """Reads dataset.yaml in a folder; a folder without one has the defaults.

    Raises:
      DataError: the file cannot be read, has an unknown field, or a field has an invalid value.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return Settings()
    fields = load_yaml(path)
    try:
        return _settings({} if fields is None else fields)
    except UsageError as error:
        raise DataError(f"{path}: {error}") from error


def load_yaml(path: Path) -> Any:
    """Returns the content of a YAML file without aliases, deep nesting or duplicate keys.

    Raises:
      DataError: the file has one of these, is too large, or is not YAML.
    """
    content = read_bytes(path, _MAX_BYTES)
    try:
        text = composed(content.decode("utf-8-sig"))  # class names are compared
        _refuse_bombs(text)
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as YAML ({error}).") from error


def as_yaml(value: Any) -> str:
    """Returns a value as one line of YAML, quoted if necessary."""
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=math.inf).strip()


def flip_pairs_line(unpaired: Sequence[str]) -> str:
    """Returns an example line of dataset.yaml that pairs these classes."""
    return f"flip_pairs: {as_yaml([list(pair) for pair in zip(unpaired[::2], unpaired[1::2], strict=False)])}"


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys; YAML's loader silently takes the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[tuple, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = key.tag, str(key.value)
            line = key.start_mark.line + 1
            if name in lines:
                raise ValueError(f"{key.value!r} is in lines {lines[name]} and {line}; keep one of them")
            lines[name] = line
        return super().construct_mapping(node, deep)


def _refuse_bombs(text: str) -> None:
    """Refuses aliases and deep nesting: a few lines of aliases expand to gigabytes, and pages of brackets take minutes."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > 8:
            raise ValueError("aliases (*name) and lists in lists in lists are not allowed")


def _settings(fields: Any) -> Settings:
    fields = dict(_mapping(fields, "the file"))
    if "colours" in fields and "colors" not in fields:  # the name in earlier files
        fields["colors"] = fields.pop("colours")
    for key in fields:
        require(key, [field.name for field in dataclasses.fields(Settings)], "field")
    if fields.get("binary") or "classes" in fields or "colors" in fields:
        fields["classes"] = _classes(fields)
    names = list(fields.get("classes", ()))
    if fields.get("binary") and len(names) != 2:
        raise UsageError(f"binary masks have two classes, background first, but classes has {len(names)}")
    if fields.get("binary") and "colors" in fields:
        raise UsageError("binary and colors exclude each other; remove one of them")
    read = {
        "name": lambda value: _string(value, "name"),
        "classes": lambda value: value,
        "flip_pairs": lambda value: _flip_pairs(value, names),
        "binary": lambda value: _boolean(value, "binary"),
        "negatives": lambda value: _boolean(value, "negatives"),
        "colors": lambda value: _colors(value, names),
        "ignore": lambda value: _strings(value, "ignore"),
        "void": lambda value: _strings(value, "void"),
        "unannotated": lambda value: require(value, ("background", "skip"), "unannotated"),
        "layout": lambda value: require(value, LAYOUTS, "layout"),
        "group": _pattern,
        "split": _split,
    }
    return Settings(**{key: read[key](value) for key, value in fields.items()})


def _classes(fields: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Returns class names by id with their labels: from classes, or the names in colors, or background and hand."""
    classes = fields.get("classes")
    if classes is None:
        names = [name for name in _mapping(fields.get("colors", {}), "colors") if name != "void"]
        classes = names or ["background", "hand"]
    if isinstance(classes, Mapping):
        classes = {
            name: _strings([labels] if isinstance(labels, str) else labels, name) for name, labels in classes.items()
        }
    else:
        names = _strings(classes, "classes")
        classes = {name: (name,) for name in names}
        if len(classes) < len(names):
            raise UsageError(f"classes has a name twice: {', '.join(names)}")
    for name in classes:
        _string(name, "a name in classes")
    if not 1 <= len(classes) <= VOID:
        raise UsageError(f"classes has {len(classes)} names; it must have 1 to {VOID}")
    return classes


def _colors(colors: Any, names: list[str]) -> dict[tuple[int, int, int], int]:
    ids: dict[tuple[int, int, int], int] = {}
    for name, color in _mapping(colors, "colors").items():
        class_id = VOID if name == "void" else names.index(require(name, names, "class in colors"))
        if not (isinstance(color, list) and len(color) == 3 and all(type(c) is int and 0 <= c <= 255 for c in color)):
            raise UsageError(f"the color of {name} is {color!r}; write [red, green, blue], each from 0 to 255")
        if tuple(color) in ids:
            raise UsageError(f"two classes have the color {color}, {name} and another; give each class its own color")
        ids[tuple(color)] = class_id
    return ids


def _flip_pairs(pairs: Any, names: list[str]) -> tuple[tuple[str, str], ...]:
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise UsageError(f"flip_pairs is {pairs!r}; write a list of pairs of classes, as [[left hand, right hand]]")
    members = [_string(name, "a class in flip_pairs") for pair in pairs for name in pair]
    for name in members if names else ():  # otherwise they are compared with the inferred classes
        require(name, names, "class in flip_pairs")
    if len(set(members)) < len(members):
        raise UsageError(f"flip_pairs names a class twice: {', '.join(members)}")
    return tuple((a, b) for a, b in pairs)


def _pattern(pattern: Any) -> re.Pattern:
    pattern = _string(pattern, "group")
    # A repeated group, as in (a+)+, or many repetitions, as in .*.*.*.*.*.*x, can take exponential time.
    if len(pattern) > _MAX_PATTERN or re.search(r"\)[*+{]", pattern) or len(re.findall("[*+?{]", pattern)) > 5:
        raise UsageError(
            f"group is longer than {_MAX_PATTERN} characters, repeats more than 5 times or repeats a group, as"
            rf" in (ab)+, which can take very long. Write a simpler pattern, for instance '(video\d+)_': {pattern}"
        )
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"group is not a regular expression ({error}): {pattern}") from error
    if compiled.groups < 1:
        raise UsageError(rf"group has no parentheses around the name of the group, as in '(video\d+)_': {pattern}")
    return compiled


def _split(split: Any) -> Split:
    valid = [field.name for field in dataclasses.fields(Split)]
    for key, value in _mapping(split, "split").items():
        require(key, valid, "field of split")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (type(value) is int if key == "seed" else is_number and 0 <= value <= 1):
            raise UsageError(
                f"split: {key} is {value!r}; it must be {'a whole number' if key == 'seed' else 'from 0 to 1'}"
            )
    result = Split(**split)
    if result.validation + result.test > 1:
        raise UsageError(f"split: validation {result.validation} and test {result.test} add up to more than 1")
    return result


def _mapping(value: Any, what: str) -> Mapping:
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} is {str(value)[:80]!r}; write 'field: value' lines")
    return value


def _boolean(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{what} is {value!r}; write true or false")
    return value


def _strings(values: Any, what: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise UsageError(f"{what} is {values!r}; write a list such as [left hand, right hand]")
    return tuple(_string(value, f"an entry of {what}") for value in values)


def _string(value: Any, what: str) -> str:
    # YAML reads yes, no, on, off and numbers as other types.
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{what} is {value!r}, not text; write it in 'quotes'")
    return value
