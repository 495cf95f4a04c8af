"""Errors that a user can fix: programs print them without a traceback and exit with status 1."""

import difflib
from collections.abc import Iterable


class UsageError(ValueError):
    """Error in a config, dataset, folder or file; the message says what is wrong, where, and how to fix it."""


def require(value: str, valid: Iterable[str], what: str) -> str:
    """Returns the value if it is valid; raises a UsageError that suggests the most similar valid one otherwise."""
    valid = list(valid)
    if value not in valid:
        near = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.0)[0]
        raise UsageError(f"Unknown {what} {value!r}; did you mean {near!r}? Valid are {', '.join(valid)}.")
    return value
