"""`refinenet-jax verify`: compares the files of checkpoints with their checksums."""

import argparse
from pathlib import Path

from refinenet_jax import checkpoint, integrity
from refinenet_jax.errors import UsageError
from refinenet_jax.progress import progress_bar

_SHOWN = 5  # faults of one checkpoint
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
    problem = _description_fault(folder)
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
            rows += [f"    {fault}" for fault in faults[:_SHOWN]]
            rows += [f"    and {len(faults) - _SHOWN:,} more"] if len(faults) > _SHOWN else []

    print(f"{'step':>10} {'files':>7} {'MB':>10}")
    print("\n".join(rows) + "\n")
    if problem:
        print(problem)
    if damaged:
        count = f"{len(damaged)} of {len(damaged) + len(whole)} checkpoints"
        which = ", ".join(f"{folder / 'checkpoints' / str(step)}" for step in damaged)
        print(f"Damaged: {count}. Restore from a copy, or delete {which}.")
        if whole:
            print(f"Training resumes from step {whole[-1]}.")
        else:
            print("No checkpoint is left to resume from: train in another folder.")
    if not problem and not damaged:
        print("Nothing is damaged.")
    return 1 if problem or damaged else 0


def _description_fault(folder: Path) -> str:
    """Returns what is wrong with model.json, '' if nothing."""
    path = folder / checkpoint.DESCRIPTION
    fix = "Restore it from a copy: it describes the network."
    if not path.is_file():
        return f"{path} is missing. {fix}"
    try:
        description = checkpoint.read_description(folder)
        complete = isinstance(description["variant"], str) and bool(list(description["class_names"]))
    except UsageError as error:
        return str(error)
    except (OSError, LookupError, TypeError):
        complete = False
    return "" if complete else f"{path} does not contain variant and class_names. {fix}"
