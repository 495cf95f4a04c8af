"""Reads lists of pictures, one per line, and formats lists of names in messages."""

import re
from collections.abc import Sequence

from etils import epath


def read_list(path: epath.Path, pattern: re.Pattern, example: str) -> list[re.Match]:
    """Returns the match of the pattern with each line that is not blank; backslashes count as slashes.

    Args:
      path: path of a text file.
      pattern: pattern of a whole line without surrounding spaces.
      example: a valid line, for messages.

    Raises:
      ValueError: the file cannot be read as UTF-8, has no lines, or a line does not match.
    """
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read as text ({error}). Unpack it again, or save it as UTF-8.") from error
    matches = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = pattern.fullmatch(line.strip().replace("\\", "/"))
        if not match:
            raise ValueError(f"{path}, line {number}: {line.strip()[:60]!r} is not like {example}. Correct it.")
        matches.append(match)
    if not matches:
        raise ValueError(f"{path} names no picture. Write one per line, such as {example}.")
    return matches


def first_few(names: Sequence[object], limit: int = 10, separator: str = ", ") -> str:
    """Joins the first names, and the number of the others."""
    more = f"{separator}and {len(names) - limit} more" if len(names) > limit else ""
    return separator.join(map(str, names[:limit])) + more


def raise_faults(what: str, faults: Sequence[object]) -> None:
    """Raises one ValueError that lists the first 20 faults, if there are any."""
    if faults:
        raise ValueError(first_few([what, *faults], 21, "\n"))
