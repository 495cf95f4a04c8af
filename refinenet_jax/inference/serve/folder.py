"""Where clips lie while they are worked on."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_PREFIX = "refinenet-jax-serve-"
_LOCK = "lock"
_MOMENT = 10  # seconds between a folder's making and its locking, at the very most


@contextmanager
def work_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder of this process alone (mode 700), gone with all that is in it when the context ends.

    A process that is killed outright (SIGKILL, no power) cannot tidy up: the next one does. It knows what is left over by the
    lock, which the system takes from a process however that ends.

    Args:
      parent: where to make it; the system's folder for temporary files by default.
    """
    parent = parent or Path(tempfile.gettempdir())
    _remove_leftovers(parent)
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, dir=parent, ignore_cleanup_errors=True) as name,
        (Path(name) / _LOCK).open("w") as lock,
    ):
        if fcntl:
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield Path(name)


def _remove_leftovers(parent: Path) -> None:
    for lock in parent.glob(f"{_PREFIX}*/{_LOCK}") if fcntl else ():
        # Not ours to open, or in use: left alone.
        with suppress(OSError), lock.open("r+") as file:
            if time.time() - lock.stat().st_mtime < _MOMENT:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
