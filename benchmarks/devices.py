"""Checks that many devices compute the same as one: losses of the first steps, in a table.

    python -m benchmarks.devices [--steps=20]

Trains rf_lw_mbv2 from random weights on synthetic pictures, with 8 crops of 64x64 per step, synchronized batch norm, SGD and
no dropout, on each arrangement of virtual CPU devices in separate processes. Prints a Markdown table.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from functools import partial

from benchmarks import tables

ARRANGEMENTS = ((1, 1), (1, 2), (1, 8), (2, 1), (2, 4))  # processes, devices per process
SHOWN = (1, 2, 5, 10, 15, 20)


def losses(kind: str, steps: int) -> list[float]:
    """Returns the loss of each step on the devices of this process and the processes started with it."""
    import jax

    sys.path.append(str(tables.ROOT / "tests"))
    import tiny

    from refinenet_jax import models, parallel
    from refinenet_jax.data.augment import Augmentation
    from refinenet_jax.data.pipeline import train_batches
    from refinenet_jax.training import init, optim, step

    model = models.create_model("rf_lw_mbv2", 3, batch_norm="synchronized", dropout=0.0)
    schedule = optim.create_schedule(name="constant", num_steps=steps, learning_rate=0.02, warmup_steps=0)
    optimizer = optim.create_optimizer(schedule=schedule, name="sgd", momentum=0.9, weight_decay=5e-4)
    state = parallel.replicate(step.create_state(init.initial_variables(model, 0), optimizer))
    run = parallel.parallel_step(partial(step.train_step, model=model, optimizer=optimizer, seed=0), kind)
    batches = train_batches(
        [(tiny.Pictures([(96, 112), (80, 96), (100, 80)] * 5), 1.0)],
        Augmentation(crop_size=64, short_edge=(), scales=(0.8, 1.0, 1.2)),
        batch_size=8,
        seed=0,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
    )
    batches = parallel.prefetch(batches, kind)
    values = []
    for _ in range(steps):
        state, figures = run(state, next(batches)[0])
        values.append(float(figures["loss"]))
    batches.close()
    return values


def measure(processes: int, devices: int, steps: int) -> dict[str, list[float]]:
    """Returns the losses by kind, computed in new processes."""
    command = [sys.executable, "-m", "benchmarks.devices", f"--steps={steps}", "--worker"]
    if processes > 1:
        command = ["bash", str(tables.ROOT / "launch" / "processes.sh"), str(processes), *command]
    flags = re.sub(r"--xla_force_host_platform_device_count=\S+", "", os.environ.get("XLA_FLAGS", ""))
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{flags} --xla_force_host_platform_device_count={devices}".strip(),
    }
    result = subprocess.run(command, env=environment, cwd=tables.ROOT, text=True, capture_output=True)
    lines = re.findall(r"^(?:\[0\] )?(\{.*\})$", result.stdout, re.MULTILINE)
    if result.returncode or not lines:
        raise SystemExit(f"{processes} x {devices} devices failed:\n{result.stderr[-3000:]}")
    return json.loads(lines[-1])


def work(arguments: argparse.Namespace) -> None:
    from refinenet_jax import parallel, processes

    processes.initialize(arguments.coordinator, arguments.num_processes, arguments.process_id)
    print("\n" + json.dumps({kind: losses(kind, arguments.steps) for kind in parallel.KINDS}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--coordinator", help=argparse.SUPPRESS)
    parser.add_argument("--num_processes", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--process_id", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments)
        return
    shown = sorted({min(step, arguments.steps) for step in SHOWN})
    tables.header("processes", "devices per process", "kind", *(f"step {s}" for s in shown), "maximum difference")
    first = None
    for processes, devices in ARRANGEMENTS:
        for kind, values in measure(processes, devices, arguments.steps).items():
            first = first or values
            difference = max(abs(a - b) / abs(b) for a, b in zip(values, first, strict=True))
            cells = [f"{values[step - 1]:.6f}" for step in shown]
            tables.row(processes, devices, kind, *cells, f"{difference:.1e}")


if __name__ == "__main__":
    main()
