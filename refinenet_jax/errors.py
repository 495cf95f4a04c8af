"""Errors that a user can fix: programs print them without a traceback and exit with status 1."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """Error in a config, dataset, folder or file; the message says what is wrong, where, and how to fix it."""


def require(value: str, valid: Iterable[str], what: str) -> str:
    """Returns the value if it is valid; raises a UsageError that suggests the most similar valid one otherwise."""
    valid = list(valid)
    if value not in valid:
        near = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.0)[0]
        raise UsageError(f"Unknown {what} {value!r}; did you mean {near!r}? Valid are {', '.join(valid)}.")
    return value


@contextmanager
def require_extra(extra: str, what: str) -> Iterator[None]:
    """Raises UsageError where the code within imports a package that is not installed.

    Args:
      extra: the optional dependencies of pyproject.toml that the package belongs to, such as 'train'.
      what: what needs it, as the start of the message: an option, a file, a dataset.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package == "refinenet_jax":  # a fault of our own
            raise
        raise UsageError(
            f'{what} needs the package {package}, which is not installed. Run: pip install "refinenet-jax[{extra}]"'
        ) from error
