"""The compiled programs of one network, one for each shape of a batch.

Tracing and lowering a network take seconds at every start, even if the compiled program is in JAX's cache. If that cache is
on, the lowered program is stored with it (`jax.export`), under a hash of everything that it depends on.
"""

import hashlib
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np

import refinenet_jax
from refinenet_jax import compilation_cache, parallel

_MOST_FILES = 200  # lowered programs that are kept, about 200 kB each
_SUM_BYTES = 32  # SHA-256 of the program, stored before it


class Programs:
    """Runs a function of (variables, images) on this process's devices.

    Attributes:
      seconds: time spent on the first batch of each shape, which waits for its program.
    """

    def __init__(self, function: Callable[[Any, jax.Array], jax.Array], settings: Any):
        """Stores the function and its settings.

        Args:
          function: function of the variables and one device's share of the images.
          settings: everything besides shapes that the program depends on; its `repr` is part of the cache key.
        """
        self._function, self._settings = function, settings
        self._programs: dict[tuple[int, ...], Callable] = {}
        self.seconds = 0.0

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes [b, h, w, 3] of the batches so far; each has its own program."""
        return list(self._programs)

    def __call__(self, variables: Any, images: np.ndarray) -> np.ndarray:
        """Applies the function to images [b, h, w, 3] (b is a multiple of the number of devices) and returns [b, ...].

        All images have the same dtype, which the function's settings determine.
        """
        program = self._programs.get(images.shape)
        if program:
            return np.asarray(program(variables, images))
        begin = time.monotonic()
        share = jax.ShapeDtypeStruct((len(images) // jax.local_device_count(), *images.shape[1:]), images.dtype)
        program = self._programs[images.shape] = parallel.parallel_map(self._lowered(variables, share))
        results = np.asarray(program(variables, images))
        self.seconds += time.monotonic() - begin
        return results

    def _lowered(self, variables: Any, share: jax.ShapeDtypeStruct) -> Callable:
        """Returns the function lowered for this shape if programs are stored, otherwise the function itself."""
        folder = compilation_cache.folder()
        if folder is None:
            return self._function
        shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
        key = _key(self._settings, shapes, share)
        path = folder / "lowered" / f"{key}.bin"
        lowered = _read(path)
        if lowered is None:
            lowered = jax.export.export(jax.jit(self._function), platforms=(jax.default_backend(),))(shapes, share)
            _write(path, lowered.serialize())
        return lowered.call


def _key(settings: Any, shapes: Any, share: jax.ShapeDtypeStruct) -> str:
    leaves = [(jax.tree_util.keystr(path), x.shape, str(x.dtype)) for path, x in jax.tree.leaves_with_path(shapes)]
    parts = [
        settings,
        leaves,
        (share.shape, str(share.dtype)),
        (jax.default_backend(), jax.devices()[0].device_kind, jax.config.jax_default_matmul_precision),
        (jax.__version__, jaxlib.__version__, version("flax"), version("refinenet-jax"), _sources()),
    ]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


@cache
def _sources() -> str:
    """Returns a hash of the source code: a checkout changes without a new version."""
    digest = hashlib.sha256()
    for file in sorted(Path(refinenet_jax.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> jax.export.Exported | None:
    """Reads a lowered program; returns None if there is none or it is damaged."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[_SUM_BYTES:]).digest() != content[:_SUM_BYTES]:
            return None
        lowered = jax.export.deserialize(bytearray(content[_SUM_BYTES:]))
        os.utime(path)  # the least recently used files are removed first
        return lowered
    except Exception:  # of any kind: the program can be lowered again
        return None


def _write(path: Path, content: bytes) -> None:
    """Stores a program. If the disk is full or read-only, only the next start is slower."""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(hashlib.sha256(content).digest() + content)
        partial.replace(path)
        kept = sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime)
        for file in kept[:-_MOST_FILES]:
            file.unlink(missing_ok=True)
