"""Checkpoints: the only file that knows Orbax.

A training folder holds

    model.json           what the network is: all that predict and export need to know besides the weights
    checkpoints/STEP/    model (params, batch_stats), optimizer (opt_state, step), data (position), metrics

written un-replicated, so that any number of devices restores them.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers

from refinenet_jax import integrity, parallel
from refinenet_jax.errors import UsageError
from refinenet_jax.progress import say

DESCRIPTION = "model.json"
BEST = "mean_iou"


class CheckpointError(UsageError):
    """A folder that cannot be used; the message says why and what to do."""


class Checkpoints:
    """The checkpoints of one training run: the latest few and the best."""

    def __init__(self, workdir: str | os.PathLike, *, keep_latest: int = 2, keep_best: int = 1):
        self._workdir = workdir
        self._removed = _folder(workdir) / "removed"
        if parallel.is_main_process():
            shutil.rmtree(self._removed, ignore_errors=True)
        self._prover = ThreadPoolExecutor(1)
        self._proof = None
        self._manager = ocp.CheckpointManager(
            _folder(workdir),
            options=ocp.CheckpointManagerOptions(
                best_fn=_score,
                cleanup_tmp_directories=True,  # what a killed process, or a full disk, left half written
                todelete_subdir="removed",  # renamed at once, then deleted: a kill leaves no half under the old name
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                    [
                        checkpoint_managers.LatestN(keep_latest),
                        checkpoint_managers.BestN(
                            get_metric_fn=_score, n=keep_best, keep_checkpoints_without_metrics=False
                        ),
                    ]
                ),
            ),
        )

    @property
    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def save(self, step: int, model: Any, optimizer: Any, data: dict, metrics: Mapping[str, Any] | None = None) -> None:
        """Starts writing in the background. A checkpoint appears under its name only once it is whole.

        Args:
          step: steps taken.
          model: pytree of the variables.
          optimizer: pytree of all else that training carries.
          data: JSON, the position in the data.
          metrics: of an evaluation of just this model; its `mean_iou` decides which checkpoint is best.
        """
        if step == self.latest_step:
            return
        with self._explained():
            if self._proof:
                self._proof.result()
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    model=ocp.args.StandardSave(model),
                    optimizer=ocp.args.StandardSave(optimizer),
                    data=ocp.args.JsonSave(json.loads(json.dumps(data))),  # it is written later, from this copy
                ),
                metrics=dict(metrics) if metrics is not None else None,
            )
        if parallel.is_main_process():
            self._proof = self._prover.submit(self._prove)

    def add_metrics(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Adds the metrics of an evaluation to a checkpoint that was written without them, as a whole or not at all."""
        with self._explained():
            if parallel.is_main_process():
                integrity.remove_manifest(self._workdir, step)  # the files change; the manifest is written again
                path = _folder(self._workdir) / str(step) / "metrics" / "metrics"  # where Orbax keeps them, as JSON
                path.parent.mkdir(exist_ok=True)
                partial = path.with_name("metrics.partial")
                partial.write_text(json.dumps(dict(metrics)))
                partial.replace(path)
                integrity.complete_manifests(self._workdir)
        parallel.wait_for_all("metrics are added")
        self._manager.reload()

    def metrics(self, step: int) -> dict | None:
        """The metrics in a checkpoint, None where it was not evaluated."""
        return self._manager.metrics(step)

    def optimizer_entries(self) -> set[str]:
        """Names at the top of the latest checkpoint's optimizer tree."""
        folder = epath.Path(_folder(self._workdir)) / str(self.latest_step) / "optimizer"
        return set(ocp.StandardCheckpointHandler().metadata(folder).keys())

    def restore_data(self) -> dict:
        """The latest checkpoint's data, JSON."""
        return self._manager.restore(self.latest_step, args=ocp.args.Composite(data=ocp.args.JsonRestore())).data

    def restore(self, model: Any, optimizer: Any) -> tuple[Any, Any]:
        """The latest checkpoint's model and optimizer, in the structure, dtypes and sharding of the arguments."""
        restored = self._manager.restore(
            self.latest_step,
            args=ocp.args.Composite(
                model=ocp.args.StandardRestore(model), optimizer=ocp.args.StandardRestore(optimizer)
            ),
        )
        return restored.model, restored.optimizer

    def close(self) -> None:
        """Waits until all is written."""
        with self._explained():
            try:
                self._manager.wait_until_finished()
                if self._proof:
                    self._proof.result()
            finally:
                self._prover.shutdown()
                self._manager.close()

    def _prove(self) -> None:
        self._manager.wait_until_finished()
        integrity.complete_manifests(self._workdir)
        shutil.rmtree(self._removed, ignore_errors=True)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            message = integrity.disk_full_message(error, self._workdir)
            if message is None:
                raise
            raise CheckpointError(message) from error


def recover(workdir: str | os.PathLike) -> int | None:
    """Sets damaged checkpoints aside, so that training resumes from the newest whole one; to be called before `Checkpoints`.

    Returns:
      Step of the newest whole checkpoint, None if there is none at all.

    Raises:
      UsageError: on all processes: all checkpoints are damaged, or the processes find different ones.
    """
    with parallel.raise_on_all_processes():
        whole, faults = integrity.latest_whole_step(workdir)
        if faults and whole is None:
            raise CheckpointError(
                f"No checkpoint in {workdir} is whole; `refinenet-jax verify {workdir}` lists the damage. Restore one from a "
                "copy, or give another --workdir."
            )
    parallel.require_same_on_all_processes(
        {"the newest whole checkpoint": whole, "the damaged checkpoints": sorted(faults)},
        f"Give a --workdir that all machines share; {workdir} is not the same folder, or not up to date, on all of them.",
    )
    if parallel.is_main_process():
        for step, reasons in faults.items():
            more = f" and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            aside = integrity.set_aside(workdir, step)
            say(f"Checkpoint {step} is damaged ({reasons[0]}{more}): set aside as {aside}; resuming from {whole}.")
    parallel.wait_for_all("damaged ones are set aside")
    return whole


def latest_step(workdir: str | os.PathLike) -> int | None:
    """Step of the latest whole checkpoint in a training folder, None if there is none; creates nothing."""
    return max((int(path.name) for path in _folder(workdir).glob("*") if path.name.isdigit()), default=None)


def load_model(workdir: str | os.PathLike, step: int | None = None) -> tuple[dict, dict]:
    """The description and the variables in a training folder: those of `step`, by default of the best checkpoint.

    Returns:
      Contents of model.json with 'step' added; {'params': ..., 'batch_stats': ...}, float32.

    Raises:
      CheckpointError: nothing there, or not that step.
    """
    description = require_description(workdir)
    with ocp.CheckpointManager(
        _folder(workdir),
        options=ocp.CheckpointManagerOptions(best_fn=_score, create=False, read_only=True),
        item_handlers={"model": ocp.StandardCheckpointHandler()},
    ) as manager:
        steps = list(manager.all_steps())
        if not steps:
            raise CheckpointError(f"{workdir} holds no checkpoint yet; train longer, or give another folder.")
        if step is None:
            step = manager.best_step() if any(manager.metrics(s) for s in steps) else manager.latest_step()
        elif step not in steps:
            raise CheckpointError(f"{workdir} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}.")
        saved = manager.item_metadata(step).model
        wanted = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.float32, sharding=parallel.replicated()), saved
        )
        restored = manager.restore(step, args=ocp.args.Composite(model=ocp.args.StandardRestore(wanted)))
    return {**description, "step": step}, restored.model


def write_model(workdir: str | os.PathLike, description: Mapping[str, Any], variables: Any) -> None:
    """Writes a model that was not trained here: a folder that `load_model` reads, of step 0, with nothing to train on from.

    It appears under its name only once it is whole.
    """
    workdir = Path(workdir)
    partial = workdir.with_name(f".{workdir.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    write_description(partial, description)
    with ocp.CheckpointManager(_folder(partial)) as manager:
        manager.save(0, args=ocp.args.Composite(model=ocp.args.StandardSave(variables)))
        manager.wait_until_finished()
    integrity.complete_manifests(partial)
    partial.rename(workdir)


def check_description(workdir: str | os.PathLike, description: Mapping[str, Any], identity: Sequence[str]) -> None:
    """Raises CheckpointError where the folder already holds another model than the one described.

    Args:
      workdir: the folder.
      description: of the model.
      identity: its entries that decide what the parameters mean; where model.json lacks one, it is older than that entry.
    """
    existing = read_description(workdir)
    if existing is None:
        return
    if "converted_from" in existing:
        raise CheckpointError(
            f"{workdir} holds weights converted from {existing['converted_from']}, no training run. Start from them in "
            f"another folder: --config.init_from={workdir} --workdir=..."
        )
    description = json.loads(json.dumps(description))
    wrong = [key for key in identity if existing.get(key, description[key]) != description[key]]
    if wrong:
        differences = "\n  ".join(f"{key}: before {existing.get(key)}, now {description.get(key)}" for key in wrong)
        raise CheckpointError(
            f"{workdir} belongs to another model:\n  {differences}\nGive another --workdir, or the config of that run."
        )


def write_description(workdir: str | os.PathLike, description: Mapping[str, Any]) -> None:
    """Writes model.json, with the versions of what computes the model."""
    versions = {name: version(name) for name in ("refinenet-jax", "jax", "flax", "optax", "orbax-checkpoint")}
    path = Path(workdir) / DESCRIPTION
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps({**description, "versions": versions}, indent=2) + "\n")
    partial.replace(path)  # whole or not at all


def require_description(workdir: str | os.PathLike) -> dict:
    """Contents of model.json.

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    description = read_description(workdir)
    if description is None:
        raise CheckpointError(
            f"{workdir} has no {DESCRIPTION}, so it is no folder of a training run. Give the --workdir of "
            "`python -m refinenet_jax.main --config=...`, or what `refinenet-jax convert` made."
        )
    return description


def read_description(workdir: str | os.PathLike) -> dict | None:
    """Contents of model.json, None where there is none.

    Raises:
      CheckpointError: the file is damaged.
    """
    path = Path(workdir) / DESCRIPTION
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}). Restore it, or start in another --workdir.") from error


def _folder(workdir: str | os.PathLike) -> Path:
    return Path(workdir).absolute() / "checkpoints"


def _score(metrics: Mapping[str, Any]) -> float:
    return -1.0 if metrics[BEST] is None else metrics[BEST]  # None where all of the split is void
