"""Trains, evaluates or cross-evaluates as described by a config.

  refinenet-jax train --config=folder --config.data.name=./my_hands \\
    --workdir=runs/my_hands
  refinenet-jax train --config=egohands:rf_lw_mbv2 --workdir=runs/egohands \\
    --config.init_from=runs/person_parts --config.batch_size=8
  refinenet-jax evaluate --workdir=runs/egohands
  refinenet-jax evaluate --config=folder --config.data.name=./my_hands \\
    --predictions=masks --workdir=runs/masks

`refinenet-jax train` is python -m refinenet_jax.main --job=train, and
`refinenet-jax evaluate` is python -m refinenet_jax.main --job=evaluate.

train writes checkpoints into --workdir; run again, it resumes where it
stopped. evaluate scores the best checkpoint of --checkpoint (default:
--workdir) on --config.evaluate.split, prints a table, and writes metrics.json,
tables, pictures and the page evaluation_*.html into --workdir. With
--predictions=DIR it scores the masks in a folder, made by any program, instead
of a checkpoint. With --corruptions it also scores the checkpoint under blur,
noise and the like, which takes 30 times as long. cross_evaluate scores each of
--checkpoints on each of --datasets, next to the published scores:

  python -m refinenet_jax.main --config=egohands --workdir=runs/cross \\
    --job=cross_evaluate --checkpoints=runs/egohands,runs/gtea \\
    --datasets=egohands/hands,gtea/wrist

--config names a packaged config, or a file such as configs/egohands.py. Every
field can be set: --config.schedule.learning_rate=1e-4. Without --config, train
and evaluate use the config of the run in --workdir.

Training stopped by SIGTERM or Ctrl-C saves first, and exits with status 143 or
130. Several processes train as one with the same command on each: under Slurm,
Open MPI and on TPU pods as it is, elsewhere with --coordinator,
--num_processes and --process_id.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is loaded, for TensorBoard

from absl import app, flags, logging
from ml_collections import config_flags

from refinenet_jax import compilation_cache, config_files, processes, run_config
from refinenet_jax.command_line import expand_home
from refinenet_jax.errors import UsageError, require_extra
from refinenet_jax.evaluation.cross_dataset import cross_evaluate
from refinenet_jax.evaluation.evaluate import evaluate_checkpoint, evaluate_predictions
from refinenet_jax.evaluation.label_policies import POLICIES
from refinenet_jax.training.report import write_report

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Name or path of a config, a variant after a colon; by default that of the run.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run.")
_JOB = flags.DEFINE_enum("job", "train", ["train", "evaluate", "cross_evaluate"], "What to do.")
_DRY_RUN = flags.DEFINE_bool("dry_run", False, "Compile the training step, print its memory and work, write nothing.")
_CACHE = flags.DEFINE_string(
    "compilation_cache",
    None,
    "Folder that keeps compiled programs; ~/.cache/refinenet_jax/xla by default, '' for none.",
)
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where several processes train as one.")
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", None, "Number of processes that train as one.")
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "Number of this process, from 0.")
_CHECKPOINT = flags.DEFINE_string("checkpoint", None, "Folder of the run to evaluate; --workdir by default.")
_PREDICTIONS = flags.DEFINE_string(
    "predictions", None, "Folder of masks to evaluate instead of a run: ID.png of class ids, or of 0 and 255."
)
_RESIZE_PREDICTIONS = flags.DEFINE_bool(
    "resize_predictions", False, "Resize masks in --predictions that are of another size, by nearest neighbor."
)
_SAVE_PREDICTIONS = flags.DEFINE_bool(
    "save_predictions", False, "Write the masks of --job=evaluate into --workdir; --predictions takes them."
)
_CORRUPTIONS = flags.DEFINE_bool(
    "corruptions", False, "Score the checkpoint of --job=evaluate under six corruptions at five strengths, too."
)
_CHECKPOINTS = flags.DEFINE_list("checkpoints", [], "Folders of the runs of --job=cross_evaluate, with commas between.")
_DATASETS = flags.DEFINE_list("datasets", [], "Datasets of --job=cross_evaluate, named as config.data.name.")
_POLICY = flags.DEFINE_enum(
    "policy", POLICIES[0], POLICIES, "Classes that meet in --job=cross_evaluate: hands alone, or arms counted as hands."
)


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"Unexpected arguments: {' '.join(argv[1:])}")
    logging.set_verbosity(logging.ERROR)  # Orbax logs every file
    try:
        _check_flags()
        if _CONFIG.value.get("deterministic"):  # runs of older versions do not have it
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
    if _CONFIG.value is None:
        raise UsageError(f"Give --config=NAME_OR_FILE: {_WORKDIR.value} has no {run_config.NAME} to take it from.")
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
        app.usage(shorthelp=True, writeto_stdout=True, exitcode=0)
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
        config_files.use_folder_of(given.config.partition(":")[0])
    elif folder and Path(folder, run_config.NAME).is_file():
        given.config = f"{run_config.__file__}:{folder}"
    return [argv[0], *(f"--{name}={value}" for name, value in vars(given).items() if value is not None), *others]


if __name__ == "__main__":
    flags.mark_flag_as_required("workdir")
    app.run(main, flags_parser=_parse)
