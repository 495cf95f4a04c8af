"""What a user can mend: programs print it without a traceback, and leave with status 1."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """A wrong config, dataset, folder or file; the message says what, where, and what to do."""


def require(value: str, valid: Iterable[str], what: str) -> str:
    """The value itself, or a UsageError with the nearest valid one."""
    valid = list(valid)
    if value not in valid:
        near = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.0)[0]
        raise UsageError(f"Unknown {what} {value!r}; did you mean {near!r}? Valid are {', '.join(valid)}.")
    return value
