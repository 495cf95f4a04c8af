"""Reads files in threads: ahead of their use, or all at once."""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from refinenet_jax.data.examples import DataError, naming_unreadable_files, raise_together
from refinenet_jax.progress import progress_bar


def read_bytes(path: Path, limit: int, fault: str = "unusable") -> bytes:
    """Returns the content of a file.

    Raises:
      DataError: "missing": it cannot be read; `fault`: it has more than `limit` bytes.
    """
    with naming_unreadable_files():
        if (size := path.stat().st_size) > limit:
            raise DataError(f"{path} has {size:,} bytes; at most {limit:,} are read. Make it smaller.", fault)
        return path.read_bytes()


def read_ahead(read: Callable[[Any], Any], items: Iterable[Any], threads: int = 2, window: int = 8) -> Iterator[Any]:
    """Yields read(item) for every item, in order; up to `window` items are read in advance."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = iter(items)
        pending = deque(pool.submit(read, item) for item in islice(waiting, window))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(read, item) for item in islice(waiting, 1))


def read_all(read: Callable[..., Any], paths: Sequence[Path], *arguments: Any) -> list[Any]:
    """Returns read(path, *arguments) for each file; results of the last calls are kept while the files do not change.

    Raises:
      DataError: some files are faulty; all are reported.
    """
    return list(_read_all(read, tuple((path, *_stamp(path)) for path in paths), *arguments))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        about = os.stat(path)
    except OSError:  # reading the file reports the error together with the others
        return 0, 0
    return about.st_mtime_ns, about.st_size


@functools.lru_cache(maxsize=4)
def _read_all(read: Callable[..., Any], stamps: Sequence[tuple[Path, int, int]], *arguments: Any) -> tuple[Any, ...]:
    def attempt(stamp: tuple[Path, int, int]) -> Any:
        try:
            return read(stamp[0], *arguments)
        except DataError as error:
            return error

    threads = min(os.cpu_count() or 1, 16)
    results = []
    with progress_bar("Reading files", len(stamps)) as bar:
        for result in read_ahead(attempt, stamps, threads, 4 * threads):
            results.append(result)
            bar.update()
    raise_together([result for result in results if isinstance(result, DataError)])
    return tuple(results)
