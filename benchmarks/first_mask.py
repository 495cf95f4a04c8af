"""Measures the time to the first mask, in whole processes, with empty and with warm caches.

    python -m benchmarks.first_mask [-- --longest-side 448 --scales 1 ...]

Arguments after `--` are passed to `predict`. Each figure is the median of five starts with their range; figures from a busy
machine are meaningless.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from PIL import Image

from benchmarks import tables
from refinenet_jax.inference.export import pictures

STARTS = 5
SIZES = ((720, 1280), (1080, 1920), (480, 640), (640, 480), (600, 600), (400, 640))  # twelve pictures, two of each


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "twelve").mkdir()
        for index, size in enumerate((*SIZES, *SIZES)):
            image, _ = pictures.made_up(size, index + 1)[-1]
            Image.fromarray(image).save(folder / "twelve" / f"{index}.jpg")
        one = folder / "twelve" / "0.jpg"
        flags = sys.argv[1:]
        imports = ("import refinenet_jax", "from refinenet_jax import Segmenter")
        rows = {f"`{code}`": _starts([sys.executable, "-c", code]) for code in imports} | {
            "`predict` one picture, empty caches": _predict(one, folder, flags, cold=True),
            "`predict` one picture, warm caches": _predict(one, folder, flags),
            "`predict` 12 pictures of 6 sizes, warm caches": _predict(folder / "twelve", folder, flags),
        }
    tables.header("command", "seconds, median", "range of five starts")
    for name, seconds in rows.items():
        tables.row(name, f"{statistics.median(seconds):.1f}", f"{min(seconds):.1f} to {max(seconds):.1f}")


def _predict(source: Path, folder: Path, flags: list[str], cold: bool = False) -> list[float]:
    command = [sys.executable, "-m", "refinenet_jax", "predict", str(source), f"--output={folder / 'out'}"]
    command += ["--overwrite", *flags]
    if cold:
        return [_seconds(command, tempfile.mkdtemp(dir=folder)) for _ in range(STARTS)]
    cache = tempfile.mkdtemp(dir=folder)
    _seconds(command, cache)
    return [_seconds(command, cache) for _ in range(STARTS)]


def _starts(command: list[str]) -> list[float]:
    _seconds(command, "")  # loads the files into the disk cache
    return [_seconds(command, "") for _ in range(STARTS)]


def _seconds(command: list[str], cache: str) -> float:
    environment = {**os.environ, "XDG_CACHE_HOME": cache} if cache else None
    return tables.seconds(partial(subprocess.run, command, check=True, capture_output=True, env=environment))


if __name__ == "__main__":
    main()
