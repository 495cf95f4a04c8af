"""Checkpoints; the only module that uses Orbax.

A training folder contains

    model.json           description of the network: everything that predict and export need besides the weights
    checkpoints/STEP/    model (params, batch_stats), optimizer (opt_state, step), data (position), metrics

Checkpoints are written un-replicated, so that any number of devices can restore them.
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
from absl import logging
from etils import epath
from orbax.checkpoint import checkpoint_managers

from refinenet_jax import integrity, models, parallel, text_files
from refinenet_jax.errors import UsageError
from refinenet_jax.progress import say

DESCRIPTION = "model.json"
BEST = "mean_iou"


class CheckpointError(UsageError):
    """Error about a folder that cannot be used; the message says why and what to do."""


class Checkpoints:
    """The checkpoints of a training run: the latest ones and the best one."""

    def __init__(self, workdir: str | os.PathLike, *, keep_latest: int = 2, keep_best: int = 1):
        self._workdir = workdir
        self._removed = _folder(workdir) / "removed"  # not used in an object store
        if parallel.is_main_process():
            shutil.rmtree(self._removed, ignore_errors=True)
        self._prover = ThreadPoolExecutor(1)
        self._proof = None
        self._manager = ocp.CheckpointManager(
            _folder(workdir),
            options=ocp.CheckpointManagerOptions(
                best_fn=_score,
                cleanup_tmp_directories=True,  # left incomplete by a killed process or a full disk
                todelete_subdir="removed",  # rename before deleting: a killed process leaves no partial checkpoint
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
        """Starts writing a checkpoint in the background. It gets its name only when it is complete.

        Args:
          step: number of steps.
          model: pytree of the variables.
          optimizer: pytree of the remaining training state.
          data: JSON with the position in the data.
          metrics: metrics of this model, if it was evaluated; `mean_iou` decides which checkpoint is best.
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
                    data=ocp.args.JsonSave(json.loads(json.dumps(data))),  # copied, because it is written later
                ),
                metrics=dict(metrics) if metrics is not None else None,
            )
        if parallel.is_main_process():
            self._proof = self._prover.submit(self._prove)

    def add_metrics(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Adds the metrics of an evaluation to a checkpoint that was written without them, atomically."""
        with self._explained():
            if parallel.is_main_process():
                integrity.remove_manifest(self._workdir, step)  # the files change; a new manifest is written below
                path = _folder(self._workdir) / str(step) / "metrics" / "metrics"  # the JSON file of Orbax
                path.parent.mkdir(exist_ok=True)
                text_files.replace(path, json.dumps(dict(metrics)))
                integrity.complete_manifests(self._workdir)
        parallel.wait_for_all("metrics are added")
        self._manager.reload()

    def metrics(self, step: int) -> dict | None:
        """Returns the metrics of a checkpoint, None if it was not evaluated."""
        return self._manager.metrics(step)

    def optimizer_entries(self) -> set[str]:
        """Returns the names of the top-level entries of the latest checkpoint's optimizer tree."""
        folder = _folder(self._workdir) / str(self.latest_step) / "optimizer"
        return set(ocp.StandardCheckpointHandler().metadata(folder).keys())

    def restore_data(self) -> dict:
        """Returns the data (JSON) of the latest checkpoint."""
        return self._manager.restore(self.latest_step, args=ocp.args.Composite(data=ocp.args.JsonRestore())).data

    def restore(self, model: Any, optimizer: Any) -> tuple[Any, Any]:
        """Restores model and optimizer of the latest checkpoint, in the structure, dtypes and sharding of the arguments."""
        restored = self._manager.restore(
            self.latest_step,
            args=ocp.args.Composite(
                model=ocp.args.StandardRestore(model), optimizer=ocp.args.StandardRestore(optimizer)
            ),
        )
        return restored.model, restored.optimizer

    def close(self) -> None:
        """Waits until everything is written."""
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
    """Sets damaged checkpoints aside, so that training resumes from the newest intact one; call it before `Checkpoints`.

    Returns:
      Step of the newest intact checkpoint, None if there is no checkpoint.

    Raises:
      UsageError: on all processes, if all checkpoints are damaged, or the processes find different ones.
    """
    with parallel.raise_on_all_processes():
        if integrity.is_remote(workdir):
            whole, faults = latest_step(workdir), {}
        else:
            whole, faults = integrity.latest_whole_step(workdir)
        if faults and whole is None:
            raise CheckpointError(
                f"All checkpoints in {workdir} are damaged; `refinenet-jax verify {workdir}` lists the damage. Restore one "
                "from a copy, or choose another --workdir."
            )
    parallel.require_same_on_all_processes(
        {"the newest intact checkpoint": whole, "the damaged checkpoints": sorted(faults)},
        f"Choose a --workdir that all machines share; {workdir} is not the same folder, or not up to date, on all of them.",
    )
    if parallel.is_main_process():
        for step, reasons in faults.items():
            more = f" and {len(reasons) - 1} more" if len(reasons) > 1 else ""
            aside = integrity.set_aside(workdir, step)
            say(f"Checkpoint {step} is damaged ({reasons[0]}{more}): set aside as {aside}; resuming from {whole}.")
    parallel.wait_for_all("damaged ones are set aside")
    return whole


def latest_step(workdir: str | os.PathLike) -> int | None:
    """Returns the step of the latest complete checkpoint in a training folder, None if there is none; creates nothing."""
    found = ocp.path.step.standard_name_format().find_all(_folder(workdir))
    return max((checkpoint.step for checkpoint in found), default=None)


def load_model(workdir: str | os.PathLike, step: int | None = None) -> tuple[dict, dict]:
    """Loads the description and the variables of a training folder: those of `step`, by default of the best checkpoint.

    Returns:
      Contents of model.json with 'step' added; variables {'params': ..., 'batch_stats': ...}, float32.

    Raises:
      CheckpointError: there is no checkpoint, or none of that step.
    """
    description = require_description(workdir)
    options = ocp.CheckpointManagerOptions(best_fn=_score, create=False, read_only=True, save_interval_steps=0)
    handlers = {"model": ocp.StandardCheckpointHandler()}
    with _only_errors(), ocp.CheckpointManager(_folder(workdir), options=options, item_handlers=handlers) as manager:
        steps = list(manager.all_steps())
        if not steps:
            raise CheckpointError(f"{workdir} has no checkpoint yet. Train longer, or choose another folder.")
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


@contextmanager
def _only_errors() -> Iterator[None]:
    """Hides warnings: Orbax has several for each checkpoint of which only the model is read."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def write_model(workdir: str | os.PathLike, description: Mapping[str, Any], variables: Any) -> None:
    """Writes a model that was not trained here into a folder that `load_model` reads, as step 0 without training state.

    The folder gets its name only when it is complete.
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
    """Raises CheckpointError if the folder already contains a different model than the described one.

    Args:
      workdir: folder of the run.
      description: description of the model.
      identity: entries that define what the parameters mean; entries missing in an older model.json are not compared.
    """
    existing = read_description(workdir)
    if existing is None:
        return
    if "converted_from" in existing:
        raise CheckpointError(
            f"{workdir} contains weights converted from {existing['converted_from']}, not a training run. Start from them in "
            f"another folder: --config.init_from={workdir} --workdir=..."
        )
    description = json.loads(json.dumps(description))
    wrong = [key for key in identity if existing.get(key, description[key]) != description[key]]
    if wrong:
        differences = "\n  ".join(f"{key}: before {existing.get(key)}, now {description.get(key)}" for key in wrong)
        raise CheckpointError(
            f"{workdir} belongs to another model:\n  {differences}\nChoose another --workdir, or the config of that run."
        )


def write_description(workdir: str | os.PathLike, description: Mapping[str, Any]) -> None:
    """Writes model.json, with the versions of the packages that compute the model."""
    versions = {name: version(name) for name in ("refinenet-jax", "jax", "flax", "optax", "orbax-checkpoint")}
    path = epath.Path(workdir) / DESCRIPTION
    path.parent.mkdir(parents=True, exist_ok=True)
    text_files.replace(path, json.dumps({**description, "versions": versions}, indent=2) + "\n")


def require_description(workdir: str | os.PathLike) -> dict:
    """Returns the contents of model.json.

    Raises:
      CheckpointError: the file is missing or damaged.
    """
    description = read_description(workdir)
    if description is None:
        raise CheckpointError(
            f"{workdir} has no {DESCRIPTION}, so it is not the folder of a training run. Choose the --workdir of "
            "`python -m refinenet_jax.main --config=...`, or the output of `refinenet-jax convert`."
        )
    return description


def read_description(workdir: str | os.PathLike) -> dict | None:
    """Returns the contents of model.json, None if it does not exist.

    Raises:
      CheckpointError: the file is damaged.
    """
    path = epath.Path(workdir) / DESCRIPTION
    if not path.exists():
        return None
    try:
        description = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"{path} is damaged ({error}). Restore it, or start in another --workdir.") from error
    return models.with_current_names(description) if isinstance(description, dict) else description


def _folder(workdir: str | os.PathLike) -> epath.Path:
    return epath.Path(workdir if integrity.is_remote(workdir) else Path(workdir).absolute()) / "checkpoints"


def _score(metrics: Mapping[str, Any]) -> float:
    return -1.0 if metrics[BEST] is None else metrics[BEST]  # None if all of the split is void
