"""Cache of compiled programs on disk, used by later runs."""

import importlib.util
import os
import sys
import time
from pathlib import Path

import jax

CACHE_BYTES = 4 * 2**30  # size limit; least recently used programs are deleted first


def use(folder: str | os.PathLike | None = None) -> None:
    """Caches programs that took over a second to compile.

    Args:
      folder: cache folder; only trusted users may write to it, because its programs are run. None: JAX_COMPILATION_CACHE_DIR
        with JAX's own settings if it is set, else ~/.cache/refinenet_jax/xla (or below XDG_CACHE_HOME). '' disables the cache.
        If the folder cannot be written, a warning is printed and nothing is cached.
    """
    if folder is None and os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    if folder is None:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "refinenet_jax", "xla")
    if not os.fspath(folder):
        jax.config.update("jax_enable_compilation_cache", False)
        return
    bounded = importlib.util.find_spec("filelock") is not None  # JAX needs it to limit the size
    try:
        folder = Path(folder).expanduser().absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise PermissionError("it cannot be written")
        for entry in folder.glob("*-cache") if bounded else ():
            # Entries that a killed process left incomplete: JAX would neither replace them nor write others.
            used = entry.with_name(entry.name.removesuffix("-cache") + "-atime")  # written last
            if not used.exists() and time.time() - entry.stat().st_mtime > 60:
                entry.unlink(missing_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home folder
        print(f"Compiled programs are not kept in {folder}: {error}", file=sys.stderr, flush=True)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES if bounded else -1)


def folder() -> Path | None:
    """Returns the cache folder; None if there is none, or it is not on a local disk."""
    path = jax.config.jax_compilation_cache_dir
    if not path or "://" in path or not jax.config.jax_enable_compilation_cache:
        return None
    return Path(path)
