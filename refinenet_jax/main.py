"""Trains, evaluates or cross-evaluates as described by a config: python -m refinenet_jax.main --help.

`refinenet-jax train` and `refinenet-jax evaluate` are --job=train and --job=evaluate.
"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is loaded, for TensorBoard

from absl import app, flags, logging
from etils import epath
from ml_collections import config_flags

from refinenet_jax import compilation_cache, integrity, processes, run_config
from refinenet_jax.command_line import config_files
from refinenet_jax.command_line.job_help import job_help
from refinenet_jax.command_line.parser import expand_home
from refinenet_jax.errors import UsageError, require_extra
from refinenet_jax.evaluation.cross_dataset import cross_evaluate
from refinenet_jax.evaluation.evaluate import evaluate_checkpoint, evaluate_predictions
from refinenet_jax.evaluation.label_policies import POLICIES
from refinenet_jax.training.report import write_report

# The help is shown by job_help.py, in groups.
_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "packaged config or config file, with a network after a colon, as in egohands:rf_lw_mbv2 (default: that of the run in "
    "--workdir)",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string("workdir", None, "folder of the run, local or gs://bucket/run (required)")
_JOB = flags.DEFINE_enum("job", "train", ["train", "evaluate", "cross_evaluate"], "what to do (default: train)")
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "compile the training step and print its memory and compute; train and write nothing"
)
_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "folder for compiled programs, '' for none (default: ~/.cache/refinenet_jax/xla)",
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "address of process 0 (default: that of Slurm, Open MPI or the TPU pod, if any)"
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "number of processes that train as one")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "number of this process, from 0")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "run folder whose best checkpoint is scored (default: --workdir)")
_PREDICTIONS = flags.DEFINE_string(
    "predictions", None, "score these masks of any program instead: ID.png of class ids, or of 0 and 255"
)
_RESIZE_PREDICTIONS = flags.DEFINE_bool(
    "resize_predictions", False, "resize --predictions of another size, by nearest neighbor"
)
_SAVE_PREDICTIONS = flags.DEFINE_bool(
    "save_predictions", False, "write the masks, in the form that --predictions reads"
)
_CORRUPTIONS = flags.DEFINE_bool(
    "corruptions", False, "also score under six corruptions at five strengths, which takes 30 times as long"
)
_CHECKPOINTS = flags.DEFINE_list("checkpoints", [], "run folders, separated by commas")
_DATASETS = flags.DEFINE_list("datasets", [], "datasets, separated by commas, named as in config.data.name")
_POLICY = flags.DEFINE_enum(
    "policy", POLICIES[0], POLICIES, f"hands alone, or arms counted as hands (default: {POLICIES[0]})"
)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        sys.exit(f"error: unexpected argument {argv[1]}. Write options as --name=value; see --help.")
    logging.set_verbosity(logging.ERROR)  # Orbax logs every file
    try:
        _check_flags()
        if _CONFIG.value.deterministic:
            processes.use_deterministic_operations()
        compilation_cache.use(_CACHE.value)
        processes.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
        if _DRY_RUN.value or _JOB.value == "train":
            with require_extra("train", "Training"):
                _train()
        elif _JOB.value == "cross_evaluate":
            cross_evaluate(_CONFIG.value, _WORKDIR.value, _CHECKPOINTS.value, _DATASETS.value, _POLICY.value)
        else:
            _evaluate()
            print(f"Report: {write_report(_WORKDIR.value)}")
    except UsageError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT


def _check_flags() -> None:
    """Raises UsageError if a flag is missing or would have no effect."""
    if _WORKDIR.value is None:
        raise UsageError("Give --workdir=DIR, the folder of the run.")
    if _CONFIG.value is None:
        raise UsageError(f"Give --config=NAME_OR_FILE: {_WORKDIR.value} has no {run_config.NAME} to take it from.")
    for folder in filter(integrity.is_remote, (_WORKDIR.value, _CHECKPOINT.value or "", *_CHECKPOINTS.value)):
        if not folder.startswith("gs://") or _JOB.value == "cross_evaluate":
            kinds = "local folders" if _JOB.value == "cross_evaluate" else "local folders and gs://"
            raise UsageError(f"--job={_JOB.value} cannot use {folder}, only {kinds}. Copy it to one of these.")
        with require_extra("gcs", folder):
            from google.cloud import storage  # noqa: F401 - Orbax needs it
    if _JOB.value != "cross_evaluate" or _DRY_RUN.value:
        for flag in (_CHECKPOINTS, _DATASETS, _POLICY):
            if flag.value != flag.default:
                raise UsageError(f"--{flag.name} needs --job=cross_evaluate.")
    if _JOB.value != "evaluate" or _DRY_RUN.value:
        idle = (_CHECKPOINT, _PREDICTIONS, _SAVE_PREDICTIONS, _RESIZE_PREDICTIONS, _CORRUPTIONS)
        needed = "--job=evaluate"
    elif _PREDICTIONS.value:
        idle, needed = (_CHECKPOINT, _SAVE_PREDICTIONS, _CORRUPTIONS), "a network instead of --predictions"
    else:
        idle, needed = (_RESIZE_PREDICTIONS,), "--predictions"
    for flag in idle:
        if flag.value:
            raise UsageError(f"--{flag.name} needs {needed}.")


def _train() -> None:
    # Imported here: evaluation needs neither Optax nor Grain.
    from refinenet_jax.training.dry_run import dry_run
    from refinenet_jax.training.loop import train

    if _DRY_RUN.value:
        print(dry_run(_CONFIG.value, _WORKDIR.value))
    else:
        train(_CONFIG.value, _WORKDIR.value)


def _evaluate() -> None:
    config, workdir = _CONFIG.value, _WORKDIR.value
    if _PREDICTIONS.value:
        evaluate_predictions(config, workdir, _PREDICTIONS.value, resize=_RESIZE_PREDICTIONS.value)
    else:
        directory = _CHECKPOINT.value or workdir
        options = {"save_predictions": _SAVE_PREDICTIONS.value, "corrupted": _CORRUPTIONS.value}
        evaluate_checkpoint(config, workdir, directory, **options)


def _parse(argv: list[str]) -> list[str]:
    """Parses the flags; reports an unknown config field with the nearest name, without a traceback."""
    if {"--help", "-h"} & set(argv):
        print(job_help(next((arg[6:] for arg in argv if arg.startswith("--job=")), None)), end="")
        sys.exit(0)
    try:
        return flags.FLAGS(_with_config(expand_home(argv)))
    except (AttributeError, KeyError) as error:
        lines = str(error).encode().decode("unicode_escape").splitlines()
        unknown = ". ".join(line.strip("'\" ") for line in lines)
        sys.exit(f"error: the config has no field {unknown}\nAll fields: configs/common.py")
    except UsageError as error:
        sys.exit(f"error: {error}")
    except flags.Error as error:
        sys.exit(f"error: {error}\nPass --help to see the flags, and configs/common.py for the fields of --config.")


def _with_config(argv: list[str]) -> list[str]:
    """Returns the arguments with the path of the config: a packaged one, or the run's own if none is named."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("config", "checkpoint", "workdir"):
        parser.add_argument(f"--{name}")
    given, others = parser.parse_known_args(argv[1:])
    folder = given.checkpoint or given.workdir
    if given.config:
        given.config = config_files.find(given.config)
    elif folder and (epath.Path(folder) / run_config.NAME).exists():
        given.config = f"{run_config.__file__}:{folder}"
    if given.config:
        config_files.use_folder_of(given.config.partition(":")[0])
    return [argv[0], *(f"--{name}={value}" for name, value in vars(given).items() if value is not None), *others]


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
