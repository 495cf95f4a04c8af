"""The file dataset.yaml in a folder of pictures: what its classes are called, and all that the files do not say."""

import dataclasses
import math
import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from refinenet_jax.data.examples import VOID, DataError
from refinenet_jax.errors import UsageError, require

FILE = "dataset.yaml"
LAYOUTS = ("masks", "voc", "labelme", "coco", "yolo", "cvat", "supervisely", "via")

_MAX_BYTES = 64 << 10
_MAX_PATTERN = 100


@dataclasses.dataclass(frozen=True)
class Split:
    """How pictures are divided where no list and no folder says: shares from 0 to 1, the rest is for training."""

    validation: float = 0.1
    test: float = 0.1
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Settings:
    """What dataset.yaml says; without the file, the defaults.

    Attributes:
      name: of the dataset; empty for the folder's own.
      classes: for each class, by id, its name -> the labels that annotations use for it. Empty: to be found in the data.
      flip_pairs: names of classes that a left-right flip exchanges; None for those that differ by left and right.
      binary: True if masks are bright where the second class is; False if their values are class ids, whatever the colors
        of a palette; None where the file does not say.
      negatives: whether the pictures show none of the classes above 0: all that masks hold is background and void.
      colors: (red, green, blue) -> class id, or VOID, of masks in colors.
      ignore: labels that are left out.
      void: labels that are painted as void.
      unannotated: what pictures without mask or annotation are: 'background', or 'skip' for left out; empty: an error.
      layout: one of LAYOUTS; empty: to be recognized.
      group: its first group, searched in an id, names what must not be divided between splits.
      split: None where the file does not speak of it.
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
      DataError: the file cannot be read, has an unknown field, or a field cannot be what it says.
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
    """The content of a YAML file without aliases, deep nesting or a key that stands twice.

    Raises:
      DataError: it has one of these, is too large, or no YAML.
    """
    if path.stat().st_size > _MAX_BYTES:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes; at most {_MAX_BYTES:,} are read.")
    try:
        # Files that macOS wrote hold letters and accents apart (NFD); names of classes are compared.
        text = unicodedata.normalize("NFC", path.read_bytes().decode("utf-8-sig"))
        _refuse_bombs(text)
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as YAML ({error}).") from error


def as_yaml(value: Any) -> str:
    """One line of YAML, quoted where it must be."""
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=math.inf).strip()


def flip_pairs_line(unpaired: Sequence[str]) -> str:
    """What the file could say of classes of which it does not know whether they have sides."""
    return f"flip_pairs: {as_yaml([list(pair) for pair in zip(unpaired[::2], unpaired[1::2], strict=False)])}"


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice, of which YAML's loader silently takes the later."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        lines: dict[tuple, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = key.tag, str(key.value)
            line = key.start_mark.line + 1
            if name in lines:
                raise ValueError(f"{key.value!r} stands in lines {lines[name]} and {line}; keep one of them")
            lines[name] = line
        return super().construct_mapping(node, deep)


def _refuse_bombs(text: str) -> None:
    """A few lines of aliases stand for gigabytes, and a few pages of brackets take minutes."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > 8:
            raise ValueError("aliases (*name) and lists in lists in lists are not allowed")


def _settings(fields: Any) -> Settings:
    fields = dict(_mapping(fields, "the file"))
    if "colours" in fields and "colors" not in fields:  # its name in earlier files
        fields["colors"] = fields.pop("colours")
    for key in fields:
        require(key, [field.name for field in dataclasses.fields(Settings)], "field")
    values: dict[str, Any] = {}
    if "name" in fields:
        values["name"] = _string(fields["name"], "name")
    for key in ("binary", "negatives"):
        if key in fields:
            values[key] = fields[key]
            if not isinstance(fields[key], bool):
                raise UsageError(f"{key} is {fields[key]!r}, not true or false")
    if fields.get("binary") or "classes" in fields or "colors" in fields:
        values["classes"] = _classes(fields)
    names = list(values.get("classes", ()))
    if fields.get("binary") and len(names) != 2:
        raise UsageError(f"binary masks have two classes, background first; classes names {len(names)}")
    if fields.get("binary") and "colors" in fields:
        raise UsageError("binary and colors exclude each other")
    if "colors" in fields:
        values["colors"] = _colors(fields["colors"], names)
    if "flip_pairs" in fields:
        values["flip_pairs"] = _flip_pairs(fields["flip_pairs"], names)
    for key in ("ignore", "void"):
        if key in fields:
            values[key] = _strings(fields[key], key)
    for key, valid in (("layout", LAYOUTS), ("unannotated", ("background", "skip"))):
        if key in fields:
            values[key] = require(fields[key], valid, key)
    if "group" in fields:
        values["group"] = _pattern(fields["group"])
    if "split" in fields:
        values["split"] = _split(fields["split"])
    return Settings(**values)


def _classes(fields: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Class names by id, each with its labels: from classes, else the names in colors, else background and hand."""
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
            raise UsageError(f"classes names one twice: {', '.join(names)}")
    for name in classes:
        _string(name, "a name in classes")
    if not 1 <= len(classes) <= VOID:
        raise UsageError(f"classes names {len(classes)}; it must be 1 to {VOID}")
    return classes


def _colors(colors: Any, names: list[str]) -> dict[tuple[int, int, int], int]:
    ids: dict[tuple[int, int, int], int] = {}
    for name, color in _mapping(colors, "colors").items():
        class_id = VOID if name == "void" else names.index(require(name, names, "class in colors"))
        if not (isinstance(color, list) and len(color) == 3 and all(type(c) is int and 0 <= c <= 255 for c in color)):
            raise UsageError(f"the color of {name} is {color!r}, not [red, green, blue] from 0 to 255")
        if tuple(color) in ids:
            raise UsageError(
                f"two classes have the color {color}: {name} and another; masks could not distinguish them"
            )
        ids[tuple(color)] = class_id
    return ids


def _flip_pairs(pairs: Any, names: list[str]) -> tuple[tuple[str, str], ...]:
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise UsageError(f"flip_pairs is {pairs!r}, not a list of pairs of classes such as [[left hand, right hand]]")
    members = [_string(name, "a class in flip_pairs") for pair in pairs for name in pair]
    for name in members if names else ():  # else they are compared with the classes that are found
        require(name, names, "class in flip_pairs")
    if len(set(members)) < len(members):
        raise UsageError(f"flip_pairs names a class twice: {', '.join(members)}")
    return tuple((a, b) for a, b in pairs)


def _pattern(pattern: Any) -> re.Pattern:
    pattern = _string(pattern, "group")
    # A repeated group, as in (a+)+, or many repetitions, as in .*.*.*.*.*.*x, can search for ever.
    if len(pattern) > _MAX_PATTERN or re.search(r"\)[*+{]", pattern) or len(re.findall("[*+?{]", pattern)) > 5:
        raise UsageError(
            f"group is longer than {_MAX_PATTERN} characters, repeats more than 5 times or repeats what is in brackets, as"
            rf" in (ab)+; such a search can take for ever. Write it simpler, for instance '(video\d+)_': {pattern}"
        )
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"group is no regular expression ({error}): {pattern}") from error
    if compiled.groups < 1:
        raise UsageError(rf"group has no brackets around what names the group, as in '(video\d+)_': {pattern}")
    return compiled


def _split(split: Any) -> Split:
    valid = [field.name for field in dataclasses.fields(Split)]
    for key, value in _mapping(split, "split").items():
        require(key, valid, "field of split")
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (type(value) is int if key == "seed" else is_number and 0 <= value <= 1):
            raise UsageError(f"split: {key} is {value!r}; it must be {'whole' if key == 'seed' else 'from 0 to 1'}")
    result = Split(**split)
    if result.validation + result.test > 1:
        raise UsageError(f"split: validation {result.validation} and test {result.test} are more than all pictures")
    return result


def _mapping(value: Any, what: str) -> Mapping:
    if not isinstance(value, Mapping):
        raise UsageError(f"{what} is {str(value)[:80]!r}, not 'field: value' lines")
    return value


def _strings(values: Any, what: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise UsageError(f"{what} is {values!r}, not a list such as [left hand, right hand]")
    return tuple(_string(value, f"an entry of {what}") for value in values)


def _string(value: Any, what: str) -> str:
    # YAML reads yes, no, on, off and numbers as something else.
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{what} is {value!r}, not text; write it in 'quotes'")
    return value
