"""`refinenet-jax verify`: compares the files of checkpoints with their checksums."""

import argparse
import textwrap
from pathlib import Path

from refinenet_jax import checkpoint, integrity
from refinenet_jax.errors import UsageError
from refinenet_jax.progress import progress_bar

_WIDTH = 80
_SHOWN = 5  # faults of one checkpoint
_DESCRIPTION_LIMIT = 2**20  # bytes
_EXAMPLES = """examples:
  refinenet-jax verify runs/egohands
  refinenet-jax verify runs/egohands && rsync -a runs/egohands backup/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command-line arguments of `refinenet-jax verify`."""
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, _EXAMPLES
    parser.add_argument(
        "folder", metavar="DIR", help="run folder (its --workdir), or a folder that convert wrote; status 1 if damaged"
    )


def run(args: argparse.Namespace) -> int:
    """Checks model.json and every checkpoint, prints a table; returns the exit status, 1 if anything is damaged.

    Raises:
      UsageError: there is no folder, or it has no checkpoints.
    """
    folder = Path(args.folder)
    steps = integrity.steps(folder)
    if not steps:
        raise UsageError(
            f"{folder} {'has no checkpoint' if folder.is_dir() else 'is not a folder'}. Give the --workdir of a training run, "
            f"or a folder that `refinenet-jax convert` wrote: the one with {checkpoint.DESCRIPTION} in it."
        )
    problem = description_fault(folder)
    rows, damaged, whole = [], [], []
    with progress_bar("verifying", len(steps)) as bar:
        for step in steps:
            try:
                sizes = integrity.files(folder, step).values()
            except FileNotFoundError:
                sizes = ()
            faults = integrity.check(folder, step)
            bar.update()
            if not (folder / "checkpoints" / str(step)).exists():
                continue  # removed meanwhile by a running training
            (damaged if faults else whole).append(step)
            proven = faults or integrity.read_manifest(folder, step)
            verdict = "damaged" if faults else "whole" if proven else "no manifest: cannot be checked"
            size = sum(max(size, 0) for size in sizes) / 1e6
            rows.append(f"{step:>10} {len(sizes):>7,} {size:>10,.1f}  {verdict}")
            rows += _indented(faults)

    print(f"{'step':>10} {'files':>7} {'MB':>10}")
    print("\n".join(rows) + "\n")
    if problem:
        print(textwrap.fill(problem, _WIDTH, break_long_words=False, break_on_hyphens=False))
    if damaged:
        print(textwrap.fill(_fix(folder, damaged, whole), _WIDTH, break_long_words=False, break_on_hyphens=False))
    if not problem and not damaged:
        print("Nothing is damaged.")
    return 1 if problem or damaged else 0


def description_fault(folder: Path) -> str:
    """Returns what is wrong with model.json, '' if nothing."""
    path = folder / checkpoint.DESCRIPTION
    fix = "Restore it from a copy: it describes the network."
    if not path.is_file():
        return f"{path} is missing. {fix}"
    if path.stat().st_size > _DESCRIPTION_LIMIT:
        return f"{path} is far too large. {fix}"
    try:
        description = checkpoint.read_description(folder)
        complete = isinstance(description["variant"], str) and bool(list(description["class_names"]))
    except UsageError as error:
        return str(error)
    except (OSError, LookupError, TypeError, RecursionError):
        complete = False
    return "" if complete else f"{path} does not contain variant and class_names. {fix}"


def _indented(faults: list[str]) -> list[str]:
    hidden = len(faults) - _SHOWN
    shown = faults[:_SHOWN] + ([f"and {hidden:,} more"] if hidden > 0 else [])
    return [
        line
        for fault in shown
        for line in textwrap.wrap(
            fault,
            _WIDTH,
            initial_indent="    ",
            subsequent_indent="      ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def _fix(folder: Path, damaged: list[int], whole: list[int]) -> str:
    count = f"{len(damaged)} of {len(damaged) + len(whole)} checkpoints"
    which = ", ".join(f"{folder / 'checkpoints' / str(step)}" for step in damaged)
    further = (
        f"Training resumes from step {whole[-1]}."
        if whole
        else "No checkpoint is left to resume from: train in another folder."
    )
    return f"Damaged: {count}. Restore from a copy, or delete {which}. {further}"
