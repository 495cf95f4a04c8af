"""Times, Markdown tables, and measurements in processes of their own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def seconds(work: Callable[[], object]) -> float:
    """Returns the time that `work` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def header(*names: str) -> None:
    """Prints the head of a table."""
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|", flush=True)


def row(*cells: object) -> None:
    """Prints a row of a table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def measured(module: str, *flags: str, **process: Any) -> Any:
    """Runs a module of this package in a new process and returns the JSON value in the last line that it prints.

    Args:
      module: its name, such as 'export'.
      *flags: its command-line arguments.
      **process: further arguments of `subprocess.run`.

    Raises:
      SystemExit: the process failed; with the end of its standard error.
    """
    command = [sys.executable, "-m", f"benchmarks.{module}", *flags]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, **process)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return json.loads(done.stdout.splitlines()[-1])
