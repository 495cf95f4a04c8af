"""Formats error messages that name many files."""

from collections.abc import Sequence


def first_few(names: Sequence[object], limit: int = 10, separator: str = ", ") -> str:
    """Joins the first names, and the number of the others."""
    more = f"{separator}and {len(names) - limit} more" if len(names) > limit else ""
    return separator.join(map(str, names[:limit])) + more


def raise_faults(what: str, faults: Sequence[object]) -> None:
    """Raises one ValueError that lists the first 20 faults, if there are any."""
    if faults:
        raise ValueError(first_few([what, *faults], 21, "\n"))
