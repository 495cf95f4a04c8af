"""Messages and progress bars on standard error, from the main process only."""

import functools
import sys

from tqdm.auto import tqdm

from refinenet_jax import parallel


def say(text: str) -> None:
    """Prints a line, above the progress bar if there is one."""
    if parallel.is_main_process():
        tqdm.write(text, file=sys.stderr)
        sys.stderr.flush()


@functools.cache
def say_once(text: str) -> None:
    """Prints a line unless it was printed before; files are read again in every epoch."""
    say(text)


def progress_bar(what: str, total: int, done: int = 0) -> tqdm:
    """Returns a bar with the remaining time; silent if standard error is neither a terminal nor a notebook."""
    shown = sys.stderr.isatty() or "ipykernel" in sys.modules
    return tqdm(
        desc=what,
        total=total,
        initial=done,
        disable=not (shown and parallel.is_main_process()),
        dynamic_ncols=True,
        bar_format="{desc} {n_fmt}/{total_fmt} |{bar:12}| {remaining} left {postfix}",
    )
