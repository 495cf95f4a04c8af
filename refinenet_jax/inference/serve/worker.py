"""One thread for the network, a few places to wait for it, and an end to everything that takes too long."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

_TICK = 0.25  # seconds between two looks at whether the client is still there
_RETRY_AFTER = 5  # seconds


class Job:
    """What was given to the worker; `Worker.start` makes it."""

    def __init__(self, future: Future):
        self._future = future
        self._done = asyncio.wrap_future(future)

    async def ticks(self, request: Request, seconds: float) -> AsyncIterator[None]:
        """Waits for the end of the job; yields now and then, to tell of progress.

        Raises:
          HTTPException: 504, it takes more than `seconds`.
          ClientDisconnect: nobody waits for it any more.
        """
        clock = asyncio.get_running_loop()
        deadline = clock.time() + seconds
        while True:
            await asyncio.wait({self._done}, timeout=_TICK)
            if self._done.done():
                return
            if clock.time() > deadline:
                raise HTTPException(504, f"This takes longer than {seconds:g} seconds; send something smaller.")
            if await request.is_disconnected():
                raise ClientDisconnect
            yield

    def result(self) -> Any:
        """What the function gave, or raised."""
        return self._done.result()

    def close(self) -> None:
        """If it waits, it never begins."""
        self._future.cancel()
        self._done.cancel()  # so that nobody misses what it raises


class Worker:
    """Runs functions one after the other in a thread of its own."""

    def __init__(self, waiting: int):
        """Args: waiting: how many requests may wait while one is worked on."""
        self._free = waiting + 1
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="segmenter")
        self._ends = threading.Event()

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place in the queue, to be taken before an upload is read: so a crowd cannot fill the memory.

        Raises:
          HTTPException: 503, there is none.
        """
        if not self._free:
            raise HTTPException(
                503, "Too many requests at once; try again in a few seconds.", {"Retry-After": str(_RETRY_AFTER)}
            )
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    @contextmanager
    def start(self, function: Callable[[Callable[[], bool]], Any]) -> Iterator[Job]:
        """Begins a job. When the context ends, whether by an answer or not, the job should too.

        Args:
          function: is given a function that says whether to stop.
        """
        stop = threading.Event()
        job = Job(self._thread.submit(function, lambda: stop.is_set() or self._ends.is_set()))
        try:
            yield job
        finally:
            stop.set()
            job.close()

    async def run(self, request: Request, seconds: float, function: Callable[[], Any]) -> Any:
        """What the function gives.

        Raises:
          HTTPException, ClientDisconnect: as in `Job.ticks`; and what the function raises.
        """
        with self.start(lambda stop: function()) as job:
            async for _ in job.ticks(request, seconds):
                pass
            return job.result()

    def afterwards(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Calls a function once the job now running, if there is one, has ended."""
        self._thread.submit(function, *arguments)

    def close(self) -> None:
        """Ends what runs, forgets what waits."""
        self._ends.set()
        self._thread.shutdown(cancel_futures=True)
