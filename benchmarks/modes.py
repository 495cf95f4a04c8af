"""Trains a network with each precision and batch norm mode, and compares the losses.

    python -m benchmarks.modes --data=egohands/hands_available --variants rf_lw_mbv2 rf101 --output=DIR

Trains on two virtual devices, so that local and synchronized batch norm differ: 8 crops of 96 pixels per step, from frames at
a quarter of their size, with AdamW. With frozen statistics a network cannot start from random weights; these runs start from
the final weights of the float32 run with local batch norm. Prints a Markdown table.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks import tables

DEVICES = 2
PRECISIONS = ("float32", "bfloat16")
BATCH_NORMS = ("local", "frozen", "synchronized")  # local first: the frozen runs start from it
STEPS = {"rf_lw_mbv2": 200}
FEWER_STEPS = 30  # for the large networks
EVERY = 5


def arguments(variant: str, precision: str, batch_norm: str, data: str, start: Path | None) -> list[str]:
    """Returns the arguments of the training command, except its folder."""
    steps = STEPS.get(variant, FEWER_STEPS)
    fields = {
        "data.name": data,
        "data.eval_split": "test[:1%]",
        "model.dtype": precision,
        "model.batch_norm": batch_norm,
        "model.dropout": 0.0,
        "model.input_scale": 1.0,
        "init_from": start or "",
        "augment.crop_size": 96,
        "augment.short_edge": "()",
        "augment.scales": "(0.2,0.25,0.3)",
        "evaluate.scales": "(0.25,)",
        "evaluate.batch_size": 2,
        "loss_resolution": "labels",
        "batch_size": 8,
        "num_steps": steps,
        "optimizer.name": "adamw",
        "optimizer.weight_decay": 1e-4,
        "optimizer.decay_all": False,
        "optimizer.factors.trunk": 1.0 if variant == "rf_lw_mbv2" else 0.3,
        "optimizer.factors.cascade": 0.1,
        "optimizer.factors.classifier": 0.1,
        "schedule.name": "cosine",
        "schedule.learning_rate": 2e-3 if start or variant != "rf_lw_mbv2" else 8e-3,
        "schedule.warmup_steps": steps // 10,
        "log_every": EVERY,
        "eval_every": steps,
        "checkpoint_every": steps,
    }
    return [f"--config=configs/egohands.py:{variant}", *(f"--config.{name}={value}" for name, value in fields.items())]


def log(workdir: Path) -> tuple[list[float], list[float], int]:
    """Returns losses, images/s and the number of skipped steps from a run's log."""
    lines = (workdir / "log.jsonl").read_text().splitlines()
    entries = [entry for entry in map(json.loads, lines) if entry["kind"] == "train"]
    speeds = [entry["images_per_second"] for entry in entries if "images_per_second" in entry]
    return [entry["loss"] for entry in entries], speeds, sum('"step skipped"' in line for line in lines)


def train(workdir: Path, options: list[str]) -> None:
    """Trains in a separate process; a complete run is not repeated."""
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={DEVICES}"}
    command = [sys.executable, "-m", "refinenet_jax.main", *options, f"--workdir={workdir}"]
    result = subprocess.run(command, cwd=tables.ROOT, env=environment, text=True, capture_output=True)
    if result.returncode:
        raise SystemExit(f"{workdir} failed:\n{result.stdout[-1000:]}{result.stderr[-3000:]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a built EgoHands dataset")
    parser.add_argument("--variants", nargs="+", default=["rf_lw_mbv2", "rf101"])
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the runs")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    tables.header("network", "dtype", "batch norm", "first loss", "last loss", "images/s", "skipped steps")
    for variant in args.variants:
        for batch_norm in BATCH_NORMS:
            for precision in PRECISIONS:
                workdir = args.output.absolute() / f"{variant}_{batch_norm}_{precision}"
                start = args.output.absolute() / f"{variant}_local_float32" if batch_norm == "frozen" else None
                train(workdir, arguments(variant, precision, batch_norm, args.data, start))
                losses, speeds, skipped = log(workdir)
                speed = f"{np.median(speeds):.2f}" if speeds else "-"
                ends = (f"{value:.3f}" for value in (losses[0], losses[-1]))
                tables.row(variant, precision, batch_norm, *ends, speed, skipped)


if __name__ == "__main__":
    main()
