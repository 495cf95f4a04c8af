"""The --help of the jobs of `main.py`, whose flags are absl's, in the form of the other commands."""

import argparse

from absl import flags

_FIELDS = "fields of the config, which has their defaults (all: configs/common.py)"
# Groups of options: title -> NAME=VALUE, or NAME for a switch. The help of a flag is that of its definition.
_RUN = {"run": "config=NAME workdir=DIR"}
_TRAIN = {
    _FIELDS: {
        "config.data.name=NAME": "built dataset, or ./folder of your own pictures",
        "config.init_from=PATH": "run folder or weight file to start from; '' for random weights",
        "config.num_steps=N": "number of training steps",
        "config.batch_size=N": "crops per step, over all devices",
        "config.augment.crop_size=PIXELS": "side of the crops, in pixels",
        "config.schedule.learning_rate=RATE": "highest learning rate",
        "config.eval_every=STEPS": "steps between evaluations on the validation split",
    },
    "training": "dry_run",
}
_EVALUATE = {
    "what is scored": "checkpoint=DIR predictions=DIR resize_predictions corruptions save_predictions",
    f"{_FIELDS} ": {
        "config.evaluate.split=SPLIT": "split to score",
        "config.evaluate.scales='(0.75,1.0)'": "test scales to average over",
        "config.evaluate.longest_side=PIXELS": "resize pictures to this longer side before the scales; 0 keeps their size",
        "config.evaluate.flip=True": "average with the horizontally flipped image",
        "config.evaluate.protocols='(\"strict\",)'": "ways of counting: strict, cvpr18, seed",
    },
}
_CROSS = {"cross_evaluate": "checkpoints=DIRS datasets=NAMES policy=POLICY"}
_PROCESSES = {"processes": "coordinator=HOST:PORT num_processes=N process_id=N compilation_cache=DIR"}

# Job -> what it does, its groups, and examples; None is `python -m refinenet_jax.main`.
_HELP = {
    "train": (
        "Train a network on a dataset or on a folder of your own pictures. Checkpoints,\n"
        "log and report are written to --workdir. After a stop, the same command resumes.",
        _RUN | _TRAIN | _PROCESSES,
        r"""examples:
  refinenet-jax train --config=folder --config.data.name=./my_hands \
    --workdir=runs/my_hands
  refinenet-jax train --config=egohands:rf_lw_mbv2 --workdir=runs/egohands \
    --config.init_from=runs/person_parts --config.batch_size=8
  refinenet-jax train --config=hof --workdir=runs/hof --dry_run
""",
    ),
    "evaluate": (
        "Score a trained network, or masks of any program, on a dataset. Figures, tables,\n"
        "pictures and the page evaluation_*.html are written to --workdir.",
        _RUN | _EVALUATE | _PROCESSES,
        r"""examples:
  refinenet-jax evaluate --workdir=runs/egohands
  refinenet-jax evaluate --workdir=runs/egohands --config.evaluate.flip=True
  refinenet-jax evaluate --config=folder --config.data.name=./my_hands \
    --predictions=masks --workdir=runs/masks
""",
    ),
    None: (
        "Train or evaluate (also: refinenet-jax train, refinenet-jax evaluate), or score\n"
        "several checkpoints on several datasets, next to the published scores.",
        {"job": "job=JOB"} | _RUN | _TRAIN | _EVALUATE | _CROSS | _PROCESSES,
        r"""examples:
  python -m refinenet_jax.main --config=egohands --workdir=runs/egohands
  python -m refinenet_jax.main --job=evaluate --workdir=runs/egohands
  python -m refinenet_jax.main --config=egohands --workdir=runs/cross \
    --job=cross_evaluate --checkpoints=runs/egohands,runs/gtea \
    --datasets=egohands/hands,gtea/wrist
""",
    ),
}


def job_help(job: str | None) -> str:
    """Returns the help of `refinenet-jax train` or `evaluate`; for other jobs that of `python -m refinenet_jax.main`."""
    about, groups, examples = _HELP.get(job, _HELP[None])
    program = f"refinenet-jax {job}" if job in ("train", "evaluate") else "python -m refinenet_jax.main"
    parser = argparse.ArgumentParser(
        usage=f"{program} --config=NAME --workdir=DIR [options]",
        description=about,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    for title, options in groups.items():
        group = parser.add_argument_group(title.strip())
        for option in options if isinstance(options, dict) else options.split():
            about = options[option] if isinstance(options, dict) else flags.FLAGS[option.partition("=")[0]].help
            group.add_argument(f"--{option}", help=about, action="store_true")  # shown as it is; absl parses
    return parser.format_help()
