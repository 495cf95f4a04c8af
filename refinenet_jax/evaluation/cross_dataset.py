"""Cross-dataset evaluation: a matrix of checkpoints and datasets, shown next to the published one.

Every pair is scored once and stored in cross_dataset.json: an interrupted run continues with the next pair, and an additional
checkpoint or dataset costs only its own pairs.
"""

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_collections import ConfigDict

from refinenet_jax import checkpoint, parallel
from refinenet_jax.data.examples import Source
from refinenet_jax.data.folders.folder import FolderSource
from refinenet_jax.data.folders.listing import all_files
from refinenet_jax.data.sources import TfdsSource, check_masks, open_source
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import label_policies, protocols
from refinenet_jax.evaluation.evaluate import load, score
from refinenet_jax.evaluation.report import cross_report
from refinenet_jax.evaluation.report.cross_report import Cell
from refinenet_jax.evaluation.report.report import read_results, write_metrics
from refinenet_jax.inference.crf import parse_parameters
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.progress import say

FILE = "cross_dataset.json"


@dataclass(frozen=True)
class _Network:
    """A checkpoint before it is loaded: its classes, training dataset ('' if unknown) and fingerprint."""

    path: str
    class_names: tuple[str, ...]
    trained_on: str
    fingerprint: str


def cross_evaluate(
    config: ConfigDict,
    workdir: str | os.PathLike,
    checkpoints: Sequence[str],
    datasets: Sequence[str],
    policy: str = "hands_only",
) -> list[Cell]:
    """Scores every checkpoint on `config.evaluate.split` of every dataset; prints and writes the matrix.

    Args:
      config: uses its fields `evaluate` and `data.dir`.
      workdir: folder for cross_dataset.json (all figures) and cross_dataset.html (the matrices).
      checkpoints: run folders or weight files.
      datasets: dataset names as in `config.data.name`.
      policy: one of label_policies.POLICIES.

    Returns:
      The scored pairs, checkpoint by checkpoint.

    Raises:
      UsageError: a checkpoint, dataset or pair cannot be scored; raised before anything is scored.
    """
    options = config.evaluate
    protocols.check(options.protocols)
    for flag, names in (("checkpoints", checkpoints), ("datasets", datasets)):
        if not names or len(set(names)) < len(names):
            raise UsageError(f"--{flag} is {','.join(names) or 'empty'}. Give one or more, each once, with commas.")
    networks = [_network(path) for path in checkpoints]
    sources = {name: open_source(name, options.split, config.data.dir) for name in datasets}
    mappings = _meet(networks, sources, policy)
    for source in sources.values():
        check_masks(source)
    workdir = Path(workdir)
    read = [[repr(source), _files_of(source, workdir)] for source in sources.values()]
    keys = [[_key(network, dataset, options, policy) for dataset in read] for network in networks]
    results, keys = parallel.gather_json([read_results(workdir / FILE), keys])[0]  # those of the main process
    cells = []
    for network, its_keys in zip(networks, keys, strict=True):
        segmenter = None
        for (name, source), key in zip(sources.items(), its_keys, strict=True):
            title = f"{network.path} on {name} [{options.split}]"
            entry = results.get(title)
            if not entry or entry.get("key") != key:
                segmenter = segmenter or load(network.path, options)
                say(f"{title} ...")
                entry = {"key": key, **_score(segmenter, source, mappings[network.path, name], options)}
                if parallel.is_main_process():
                    workdir.mkdir(parents=True, exist_ok=True)
                    write_metrics(workdir / FILE, title, entry)
            cells.append(Cell(network.path, network.trained_on, source.info.name, entry))
    if parallel.is_main_process():
        print(cross_report.table(cells))
        print(cross_report.write(workdir, cells))
    return cells


def _score(segmenter: Segmenter, source: Source, mapping: label_policies.Mapping, options: ConfigDict) -> dict:
    merged = label_policies.merged_segmenter(segmenter, mapping)
    scores = score(merged, label_policies.RelabeledSource(source, mapping), options)
    return {"classes": list(mapping.class_names), **protocols.figures(scores, source.info.name, options.protocols)}


def _meet(
    networks: Sequence[_Network], sources: Mapping[str, Source], policy: str
) -> dict[tuple[str, str], label_policies.Mapping]:
    """Returns the class mapping of each pair; lists all pairs without one in a single error."""
    mappings, refused = {}, []
    for network in networks:
        for name, source in sources.items():
            try:
                mappings[network.path, name] = label_policies.meet(network.class_names, source.info.class_names, policy)
            except UsageError as error:
                refused.append(f"  {network.path} ({', '.join(network.class_names)}) on {name}: {error}")
    if refused:
        raise UsageError("These pairs cannot be scored:\n" + "\n".join(refused))
    return mappings


def _network(path: str) -> _Network:
    if not Path(path).is_dir():
        segmenter = Segmenter.from_checkpoint(path)  # reports what is wrong with the file
        return _Network(path, segmenter.class_names, "", _fingerprint(Path(path).parent, [Path(path).name]))
    description = checkpoint.require_description(path)
    if checkpoint.latest_step(path) is None:
        raise UsageError(f"{path} has no checkpoint yet. Train longer, or give another folder.")
    names = tuple(description["class_names"])
    files = [checkpoint.DESCRIPTION, *(f"checkpoints/{name}" for name in all_files(Path(path) / "checkpoints"))]
    return _Network(path, names, str(description.get("dataset", "")), _fingerprint(Path(path), files))


def _key(network: _Network, dataset: list[str], options: ConfigDict, policy: str) -> dict:
    """Returns everything that a result depends on; a stored result is valid while its key is unchanged."""
    return {
        "checkpoint": network.fingerprint,
        "dataset": dataset,
        "scales": list(options.scales),
        "longest_side": options.longest_side,
        "flip": options.flip,
        "crf": dataclasses.asdict(parse_parameters(options.crf)) if options.crf else None,
        "protocols": sorted(options.protocols),
        "policy": policy,
    }


def _files_of(source: FolderSource | TfdsSource, workdir: Path) -> str:
    """Returns the fingerprint of a dataset, ignoring files below `workdir`."""
    folder, written = source.directory.absolute(), workdir.absolute()
    return _fingerprint(folder, [name for name in all_files(folder) if written not in (folder / name).parents])


def _fingerprint(folder: Path, names: Sequence[str]) -> str:
    """Returns a hash of names, sizes and modification times of files; their content is not read."""
    files = {name: (folder / name).stat() for name in names if (folder / name).is_file()}
    listing = [(name, about.st_size, about.st_mtime_ns) for name, about in sorted(files.items())]
    return hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]
