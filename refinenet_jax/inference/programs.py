"""The compiled programs of one network, one for each shape of a batch.

Tracing and lowering a network take seconds at every start, even where the compiled program is in JAX's cache. So, where that
cache is on, the lowered program is kept with it (`jax.export`), under a key of all that it depends on.
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

_MOST_FILES = 200  # lowered programs that are kept, of some 200 kB each
_SUM_BYTES = 32  # SHA-256 of the program, in front of it


class Programs:
    """Runs a function of (variables, images) on this process's devices, and counts what that took to prepare.

    Attributes:
      seconds: spent on the first batch of each shape, which waits for its program.
      images: how many images these batches held, filling included.
    """

    def __init__(self, function: Callable[[Any, jax.Array], jax.Array], settings: Any):
        """Takes the function of one device's share, and what besides shapes its program depends on; its `repr` is a key."""
        self._function, self._settings = function, settings
        self._programs: dict[tuple[int, ...], Callable] = {}
        self.seconds, self.images = 0.0, 0

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the batches so far, [b, h, w, 3] each: so many programs were prepared."""
        return list(self._programs)

    def __call__(self, variables: Any, images: np.ndarray) -> np.ndarray:
        """Images [b, h, w, 3], b a multiple of the devices -> what the function gives, [b, ...].

        All images have one dtype, which the function's settings decide.
        """
        program = self._programs.get(images.shape)
        if program:
            return np.asarray(program(variables, images))
        begin = time.monotonic()
        share = jax.ShapeDtypeStruct((len(images) // jax.local_device_count(), *images.shape[1:]), images.dtype)
        program = self._programs[images.shape] = parallel.parallel_map(self._lowered(variables, share))
        results = np.asarray(program(variables, images))
        self.seconds += time.monotonic() - begin
        self.images += len(images)
        return results

    def _lowered(self, variables: Any, share: jax.ShapeDtypeStruct) -> Callable:
        """The function, lowered for this shape if it can be kept; as it is where nothing is kept."""
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
    """A sum of the code that a program is traced from: a checkout changes without its version."""
    digest = hashlib.sha256()
    for file in sorted(Path(refinenet_jax.__file__).parent.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> jax.export.Exported | None:
    """A lowered program; None where there is none, or a damaged one."""
    try:
        content = path.read_bytes()
        if hashlib.sha256(content[_SUM_BYTES:]).digest() != content[:_SUM_BYTES]:
            return None
        lowered = jax.export.deserialize(bytearray(content[_SUM_BYTES:]))
        os.utime(path)  # those used least recently go first
        return lowered
    except Exception:  # of whatever kind: it can be made again
        return None


def _write(path: Path, content: bytes) -> None:
    """Keeps a program; a disk that is full or read-only costs the next start some seconds, not this run."""
    with suppress(OSError):
        path.parent.mkdir(mode=0o700, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(hashlib.sha256(content).digest() + content)
        partial.replace(path)
        kept = sorted(path.parent.iterdir(), key=lambda file: file.stat().st_mtime)
        for file in kept[:-_MOST_FILES]:
            file.unlink(missing_ok=True)
