"""Reads files ahead in threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any


def read_ahead(read: Callable[[Any], Any], items: Iterable[Any], threads: int = 2, window: int = 8) -> Iterator[Any]:
    """Yields read(item) for every item, in order; up to `window` items are read in advance."""
    with ThreadPoolExecutor(threads) as pool:
        waiting = iter(items)
        pending = deque(pool.submit(read, item) for item in islice(waiting, window))
        while pending:
            yield pending.popleft().result()
            pending.extend(pool.submit(read, item) for item in islice(waiting, 1))
