"""log.jsonl: the log of a run, one JSON object per line.

    {"time": "2026-05-01T12:00:00Z", "step": 50, "kind": "train", "loss": 0.31, "learning_rate": 5e-05, ...}
    {"time": ..., "step": 1000, "kind": "evaluation", "mean_iou": 0.72, "iou": {"background": 0.97, "hand": 0.47}, ...}
    {"time": ..., "step": 1000, "kind": "event", "what": "resumed"}

Figures are means over the steps since the previous line; numbers that are not finite are null.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from refinenet_jax import parallel

NAME = "log.jsonl"


class Log:
    """Writes the log of a run, in the main process only; calls in other processes have no effect."""

    def __init__(self, workdir: str | os.PathLike, first_step: int):
        """Opens a new log, or the log of the run to resume.

        Args:
          workdir: folder of the run.
          first_step: step of the checkpoint that the run resumes from, 0 for none. Figures of later steps are removed, because
            these steps are repeated; events are kept.
        """
        self._file = None
        if parallel.is_main_process():
            path = Path(workdir) / NAME
            _drop_figures_after(path, first_step)
            # Unbuffered: each line is one system call, so that a killed process can truncate only the last one.
            self._file = path.open("ab", buffering=0)

    def write(self, step: int, kind: str, figures: Mapping[str, Any]) -> None:
        """Adds a line.

        Args:
          step: number of steps taken.
          kind: 'train', 'evaluation' or 'event'.
          figures: numbers, text, and lists and mappings of them, NumPy's included.
        """
        if self._file is None:
            return
        time = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        entry = {"time": time, "step": step, "kind": kind, **figures}
        self._file.write(json.dumps(_strict(entry), allow_nan=False).encode() + b"\n")

    def event(self, step: int, what: str, **details: Any) -> None:
        """Adds a line about an event: 'resumed', 'step skipped', ...; details are figures as in `write`."""
        self.write(step, "event", {"what": what, **details})

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read(workdir: str | os.PathLike) -> list[dict]:
    """Returns the lines of a run's log in order, [] if there is none; truncated or damaged lines are skipped."""
    path = Path(workdir) / NAME
    return [entry for _, entry in _lines(path) if entry] if path.exists() else []


def _drop_figures_after(path: Path, step: int) -> None:
    """Rewrites the log without figures of later steps and without damaged lines, atomically."""
    if not path.exists():
        return
    partial = path.with_suffix(".jsonl.partial")
    changed = False
    with partial.open("wb") as file:
        for line, entry in _lines(path):
            kept = entry is not None and (entry["kind"] == "event" or entry["step"] <= step)
            if kept:
                file.write(line.rstrip() + b"\n")
            changed |= not (kept and line.endswith(b"\n"))
    if changed:
        partial.replace(path)
    else:
        partial.unlink()


def _lines(path: Path) -> Iterator[tuple[bytes, dict | None]]:
    """Yields every line and its entry, None if it is not a log entry."""
    with path.open("rb") as file:
        for line in file:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                entry = None
            is_entry = isinstance(entry, dict) and isinstance(entry.get("step"), int) and "kind" in entry
            yield line, entry if is_entry else None


def _strict(value: Any) -> Any:
    """Converts a value to strict JSON types, without NaN, infinity and NumPy arrays."""
    if isinstance(value, Mapping):
        return {str(key): _strict(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    if hasattr(value, "tolist"):
        return _strict(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
