"""The data doctor, `refinenet-jax check`: finds errors in a dataset before training on it."""

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from refinenet_jax import text_files, visualize
from refinenet_jax.data.doctor import check_report, contact_sheet
from refinenet_jax.data.doctor.findings import KINDS, find, is_for_training
from refinenet_jax.data.doctor.records import Record, inspect
from refinenet_jax.data.examples import DataError, Source
from refinenet_jax.data.reading import read_ahead
from refinenet_jax.data.sources import open_source, splits
from refinenet_jax.errors import UsageError, require
from refinenet_jax.progress import progress_bar

_MAKER = "refinenet-jax check"  # marks the files that this command wrote
_REPORT, _SHEET = "check.txt", "contact_sheet.jpg"
_EXAMPLES = """examples:
  refinenet-jax check ./my_hands
  refinenet-jax check egohands/hands --splits train --limit=200
  refinenet-jax check ./my_hands --allow missing undecodable --output=out
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command-line arguments of `refinenet-jax check`."""
    parser.usage = "refinenet-jax check DATASET_OR_FOLDER [options]"
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, _EXAMPLES
    parser.add_argument("dataset", metavar="DATASET_OR_FOLDER", help="name of a built dataset, or a folder of your own")
    content = parser.add_argument_group("what is checked")
    content.add_argument("--splits", nargs="+", metavar="SPLIT", help="splits to check (default: all)")
    content.add_argument("--limit", type=int, metavar="N", help="pictures of each split, evenly spread (default: all)")
    content.add_argument(
        "--data-dir", metavar="DIR", help="folder of built datasets (default: TFDS_DATA_DIR or ~/tensorflow_datasets)"
    )
    result = parser.add_argument_group("result")
    result.add_argument(
        "--output", metavar="DIR", help="folder for check.txt and contact_sheet.jpg (default: check/NAME)"
    )
    result.add_argument(
        "--allow",
        nargs="+",
        default=[],
        metavar="PROBLEM",
        help="problems to accept, by the names that are printed in [brackets] (default: none; the exit status is 1)",
    )


def run(args: argparse.Namespace) -> int:
    """Checks a dataset, prints and writes the findings, and returns the exit status: 1 if there are problems."""
    for name in args.allow:
        require(name, [name for name, kind in KINDS.items() if kind[0] == "problem"], "problem to allow")
    if args.limit is not None and args.limit < 1:
        raise UsageError(f"--limit={args.limit} must be at least 1 image.")
    output = Path(args.output or Path("check") / _short_name(args.dataset))
    _refuse_other_files(output)

    sources, faults = open_splits(args.dataset, args.splits, args.data_dir)
    records = read(sources, args.limit)
    info = next(iter(sources.values())).info if sources else None
    # Errors that prevent the whole check cannot be accepted.
    findings = find(records, info, faults, args.allow if sources else ())
    head = []
    if info:
        classes = ", ".join(f"{i} {name}" for i, name in enumerate(info.class_names))
        head = [check_report.printable(f"{info.name}: {classes}"), *check_report.table(records, info), ""]
    verdict = check_report.verdict(findings, sum(map(len, records.values())))

    # Written before anything is printed, because a reader of the output may stop early.
    everything = [line for finding in findings for line in (*check_report.describe(finding, None), "")]
    report = [f"{_MAKER} {args.dataset}", "", *head, *everything, verdict]
    written = _write(output, report, contact_sheet.draw(sources, records, findings))
    few = [line for finding in findings for line in (*check_report.describe(finding), "")]
    print(*head, *few, f"Full results: {written}", verdict, sep="\n")
    return 1 if any(finding.severity == "problem" for finding in findings) else 0


def open_splits(
    name: str, wanted: Sequence[str] | None = None, data_dir: str | os.PathLike | None = None
) -> tuple[dict[str, Source], list[tuple[str, str]]]:
    """Opens the splits of a dataset, training first; those that cannot be opened are returned as (fault, message).

    Raises:
      DataError: the dataset does not exist, or none of it can be used.
    """
    sources: dict[str, Source] = {}
    faults: list[tuple[str, str]] = []
    names = wanted or ()
    try:
        names = names or sorted(splits(name, data_dir), key=_place_in_order)
    except DataError as error:
        faults.append((error.fault, str(error)))
    for split in names:
        try:
            sources[split] = open_source(name, split, data_dir)
        except DataError as error:
            faults.append((error.fault, str(error)))
    if not sources and (all(fault == "unusable" for fault, _ in faults) or not Path(name).expanduser().is_dir()):
        raise DataError(faults[0][1])
    return sources, faults


def read(sources: Mapping[str, Source], limit: int | None = None) -> dict[str, list[Record]]:
    """Returns the records of all examples, or of `limit` evenly spread ones per split; pictures are not kept in memory."""
    items = []
    for split, source in sources.items():
        indices = np.linspace(0, len(source) - 1, min(limit or len(source), len(source))).round().astype(int)
        items += [(split, index) for index in indices.tolist()]
    records: dict[str, list[Record]] = {split: [] for split in sources}
    threads = min(os.cpu_count() or 1, 16)
    with progress_bar("checking", len(items)) as bar:
        for record in read_ahead(lambda item: inspect(sources[item[0]], *item), items, threads, 4 * threads):
            records[record.split].append(record)
            bar.update()
    return records


def _place_in_order(split: str) -> tuple[bool, bool, str]:
    """Sorts training before test, so that a copy in the test split is reported as a copy of the training picture."""
    return not is_for_training(split), split == "test", split


def _short_name(dataset: str) -> str:
    """Returns the name of a folder, or the full name of a dataset, as a file name."""
    path = Path(dataset).expanduser()
    return re.sub(r"\W+", "_", path.resolve().name if path.is_dir() else dataset).strip("_") or "data"


def _refuse_other_files(output: Path) -> None:
    """Refuses to overwrite files other than the results of an earlier check."""
    report = output / _REPORT
    ours = report.is_file() and report.read_text(encoding="utf-8", errors="replace").startswith(_MAKER)
    for path in (report, output / _SHEET):
        if path.exists() and not ours:
            raise UsageError(f"{path} exists and was not written by this command. Choose another --output.")


def _write(output: Path, report: Sequence[str], sheet: np.ndarray | None) -> str:
    """Writes check.txt and the contact sheet; returns their paths as text."""
    output.mkdir(parents=True, exist_ok=True)
    text_files.replace(output / _REPORT, "\n".join(report) + "\n")
    (output / _SHEET).unlink(missing_ok=True)  # left by an earlier check
    if sheet is None:
        return str(output / _REPORT)
    visualize.write(str(output / _SHEET), sheet)
    return f"{output / _REPORT}, {output / _SHEET}"
