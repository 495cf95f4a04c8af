"""Compiled programs, kept from one start to the next."""

import importlib.util
import os
import sys
import time
from pathlib import Path

import jax

CACHE_BYTES = 4 * 2**30  # of compiled programs, the longest unused of which go first


def use(folder: str | os.PathLike | None = None) -> None:
    """Keeps programs that took over a second to compile, so that the next start has them at once.

    Args:
      folder: where; nobody else must write there, for its programs are run. By default JAX_COMPILATION_CACHE_DIR where that is
        set, and then all is as JAX's own variables say, else ~/.cache/refinenet_jax/xla (XDG_CACHE_HOME is respected). ''
        keeps none. One that cannot be written is told, and none is kept.
    """
    if folder is None and os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    if folder is None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "refinenet_jax", "xla")
    if not os.fspath(folder):
        jax.config.update("jax_enable_compilation_cache", False)
        return
    bounded = importlib.util.find_spec("filelock") is not None  # JAX sets no bound without it
    try:
        folder = Path(folder).expanduser().absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError("it cannot be written")
        for entry in folder.glob("*-cache") if bounded else ():
            # Half written by a process that was killed: JAX would neither replace it nor write anything else.
            used = entry.with_name(entry.name.removesuffix("-cache") + "-atime")  # written last
            if not used.exists() and time.time() - entry.stat().st_mtime > 60:
                entry.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: no home
        print(f"Compiled programs are not kept in {folder}: {error}", file=sys.stderr, flush=True)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES if bounded else -1)


def folder() -> Path | None:
    """Where compiled programs are kept; None for nowhere, or not on a disk of this machine."""
    path = jax.config.jax_compilation_cache_dir
    if not path or "://" in path or not jax.config.jax_enable_compilation_cache:
        return None
    return Path(path)
