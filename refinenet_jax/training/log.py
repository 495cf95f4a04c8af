"""log.jsonl: the log of a run, one JSON object per line.

    {"time": "2026-05-01T12:00:00Z", "step": 50, "kind": "train", "loss": 0.31, "learning_rate": 5e-05, ...}
    {"time": ..., "step": 1000, "kind": "evaluation", "mean_iou": 0.72, "iou": {"background": 0.97, "hand": 0.47}, ...}
    {"time": ..., "step": 1000, "kind": "event", "what": "resumed"}

Figures are means over the steps since the previous line; numbers that are not finite are null.
"""

import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from etils import epath

from refinenet_jax import integrity, parallel

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
            self._path = epath.Path(workdir) / NAME
            kept = _drop_figures_after(self._path, first_step)
            if integrity.is_remote(workdir):
                self._file = io.BytesIO()
                self._file.write(kept)
            else:
                # Unbuffered: each line is one system call, so that a killed process can truncate only the last one.
                self._file = io.FileIO(self._path, "a")

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

    def flush(self) -> None:
        """Writes the whole log if it is in an object store, where files cannot be appended to; call it before each checkpoint.

        A killed run then loses only lines of steps that are repeated, and the events after its last checkpoint.
        """
        if isinstance(self._file, io.BytesIO):
            self._path.write_bytes(self._file.getvalue())

    def close(self) -> None:
        """Writes what is left, and closes the file."""
        if self._file is not None:
            self.flush()
            self._file.close()


def read(workdir: str | os.PathLike) -> list[dict]:
    """Returns the lines of a run's log in order, [] if there is none; truncated or damaged lines are skipped."""
    return [entry for _, entry in _entries(_content(epath.Path(workdir) / NAME))]


def _drop_figures_after(path: epath.Path, step: int) -> bytes:
    """Rewrites the log without figures of later steps and without damaged lines, atomically; returns its new content."""
    content = _content(path)
    entries = _entries(content)
    kept = b"".join(line + b"\n" for line, entry in entries if entry["kind"] == "event" or entry["step"] <= step)
    if kept != content:
        partial = path.with_suffix(".jsonl.partial")
        partial.write_bytes(kept)
        partial.replace(path)
    return kept


def _content(path: epath.Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _entries(content: bytes) -> Iterator[tuple[bytes, dict]]:
    """Yields the lines that are log entries, without their ends, and the entries."""
    for line in content.split(b"\n"):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int) and "kind" in entry:
            yield line.rstrip(), entry


def _strict(value: Any) -> Any:
    """Converts a value to strict JSON types, without NaN, infinity and NumPy arrays."""
    if isinstance(value, Mapping):
        return {str(key): _strict(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(part) for part in value]
    if hasattr(value, "tolist"):
        return _strict(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
