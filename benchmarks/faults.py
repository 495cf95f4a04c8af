"""Tests training under faults (kill, SIGTERM, full disk, damaged checkpoints): each run is resumed and compared bitwise.

    python -m benchmarks.faults [--kinds damage disk term kill] [--kills=100] [--damages=60] [--seed=0]

The real training loop, with its folder, checkpoints and data pipeline, trains the tiny network of the tests for 40 steps and
saves at each. Every run is resumed until it is complete; its parameters, statistics, averages, optimizer, step and history
must equal those of an uninterrupted run, bit for bit. Prints a Markdown table; takes about half an hour on two cores. Needs
Linux.
"""

import argparse
import contextlib
import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks import tables

STEPS = 40
KINDS = ("damage", "disk", "term", "kill")


def work(arguments: argparse.Namespace) -> None:
    """Starts the training once; when it is complete, writes its whole state to WORKDIR/state.npz."""
    sys.path.append(str(tables.ROOT / "tests"))
    import jax
    import tiny
    from absl import logging

    from configs import common
    from refinenet_jax import checkpoint, models, parallel, processes
    from refinenet_jax.data import mix, sources
    from refinenet_jax.errors import UsageError
    from refinenet_jax.training import loop, setup

    logging.set_verbosity(logging.ERROR)
    pictures = tiny.Pictures([(40, 48), (48, 40), (36, 36)] * 8)
    models.create_model = tiny.create_model
    sources.open_source = mix.open_source = lambda *_: pictures
    config = common.get_config()
    config.update_from_flattened_dict(
        {
            "data.name": "squares",
            "model.batch_norm": "synchronized",
            "model.dropout": 0.1,
            "augment.crop_size": 32,
            "augment.short_edge": (),
            "augment.scales": (0.9, 1.0),
            "augment.crop": "random",
            "batch_size": 8,
            "num_steps": STEPS,
            "schedule.learning_rate": 0.1,
            "schedule.warmup_steps": 30,
            "log_every": 1,
            "eval_every": 20,
            "checkpoint_every": 1,
            "ema_decay": 0.9,
        }
    )
    processes.initialize(arguments.coordinator, arguments.num_processes, arguments.process_id)
    print("process", os.getpid(), file=sys.stderr, flush=True)
    try:
        loop.train(config, arguments.worker)
    except UsageError as error:
        sys.exit(f"error: {error}")
    run = setup.prepare(config, arguments.worker)
    state = run.create_state(tiny.variables())
    checkpoints = checkpoint.Checkpoints(arguments.worker)
    state, history = loop._resume(state, checkpoints, run.position)
    checkpoints.close()
    if parallel.is_main_process():
        leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}
        np.savez(Path(arguments.worker, "state"), history=repr(sorted(history.items())), **leaves)


def start(workdir: Path, processes: int = 1) -> subprocess.Popen:
    """Starts the training in its own process group."""
    command = [sys.executable, "-m", "benchmarks.faults", f"--worker={workdir}"]
    if processes > 1:
        command = ["bash", str(tables.ROOT / "launch" / "processes.sh"), str(processes), *command]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, env=environment, cwd=tables.ROOT, text=True, start_new_session=True, **pipes)


def finish(workdir: Path, processes: int = 1) -> str:
    """Runs the training to its end; returns its standard error."""
    process = start(workdir, processes)
    said = process.communicate(timeout=600)[1]
    if process.returncode:
        raise SystemExit(f"The training in {workdir} failed with status {process.returncode}:\n{said[-3000:]}")
    return said


def lines_until(process: subprocess.Popen, wanted: str) -> list[str]:
    """Returns the standard error of the training up to a line that contains `wanted`."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if wanted in line:
            break
    return lines


def same(one: Path, other: Path) -> bool:
    """Returns whether two complete runs ended in the same state, bit for bit."""
    first, second = np.load(one / "state.npz"), np.load(other / "state.npz")
    return first.files == second.files and all(np.array_equal(first[name], second[name]) for name in first.files)


def kills(folder: Path, unbroken: Path, count: int, rng: random.Random) -> str:
    """Sends SIGKILL at random times: one in five at any time, the others after the first step, while it saves continually."""
    killed, runs, wrong, early = 0, 0, 0, 0
    while killed < count:
        workdir, runs = folder / f"killed{runs}", runs + 1
        while not (workdir / "state.npz").exists() and killed < count:
            process = start(workdir)
            if rng.random() < 0.2:
                early += 1
                time.sleep(rng.uniform(0, 10))
            else:
                lines_until(process, "  loss ")
                # Sometimes long enough for an evaluation, which compiles: otherwise no run gets beyond the first one.
                time.sleep(rng.uniform(0, rng.choice((1.5, 15))))
            ours = process.poll() is None
            if ours:
                killed += 1
                os.killpg(process.pid, signal.SIGKILL)
            said = process.communicate()[1]
            if process.returncode and not ours:
                raise SystemExit(f"A start in {workdir} ended by itself with {process.returncode}:\n{said[-3000:]}")
        if not (workdir / "state.npz").exists():
            finish(workdir)
        wrong += not same(unbroken, workdir)
        shutil.rmtree(workdir)
        print(f"... {killed} kills, {runs} runs, {wrong} wrong", file=sys.stderr, flush=True)
    return f"| SIGKILL, {killed} times ({early} at any time, the others while saving) | {runs} runs, all resumed | {wrong} |"


def terms(folder: Path, unbroken: Path, processes: int, count: int, rng: random.Random) -> str:
    """Sends SIGTERM to one process at random times; two processes are compared with an uninterrupted run of two."""
    if processes > 1:
        unbroken = folder / f"unbroken{processes}"
        finish(unbroken, processes)
    codes, wrong = Counter(), 0
    for number in range(count):
        workdir = folder / f"term{processes}.{number}"
        process = start(workdir, processes)
        lines = lines_until(process, "  loss ")
        time.sleep(rng.uniform(0, 1))
        pids = [int(line.split()[-1]) for line in lines if "process" in line.split() and line.split()[-1].isdigit()]
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(pids), signal.SIGTERM)
        process.communicate(timeout=300)
        codes[process.returncode] += 1
        finish(workdir, processes)
        wrong += not same(unbroken, workdir)
        shutil.rmtree(workdir)
    statuses = ", ".join(f"{status} {times} times" for status, times in sorted(codes.items()))
    return f"| SIGTERM to one of {processes}, {count} times | exit status {statuses}; all resumed | {wrong} |"


def damages(folder: Path, unbroken: Path, count: int, rng: random.Random) -> list[str]:
    """Flips a bit in a file of the newest checkpoint, or truncates it: verify must report it, and training must skip it."""
    from refinenet_jax import integrity
    from refinenet_jax.command_line import verify

    rows = []
    for kind in ("flipped", "truncated"):
        reported = 0
        for _ in range(count):
            workdir = folder / kind
            shutil.rmtree(workdir, ignore_errors=True)
            shutil.copytree(unbroken, workdir)
            (workdir / "state.npz").unlink()
            step = integrity.steps(workdir)[-1]
            sizes = {name: size for name, size in integrity.files(workdir, step).items() if size}
            path = workdir / "checkpoints" / str(step) / rng.choice(list(sizes))
            content = bytearray(path.read_bytes())
            if kind == "flipped":
                content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            else:
                del content[rng.randrange(len(content)) :]
            path.write_bytes(content)
            with contextlib.redirect_stdout(io.StringIO()):
                reported += verify.run(argparse.Namespace(folder=workdir))
        said = finish(workdir)
        back = "resumes from an older checkpoint" if "resuming from" in said else "DOES NOT RESUME"
        rows.append(
            f"| {kind} bytes, {count} times | {reported} reported by verify; {back} | {1 - same(unbroken, workdir)} |"
        )
    return rows


def full_disk(folder: Path, unbroken: Path) -> str:
    """Fills a file system of 8 MB after the tenth step; called in a mount namespace of its own."""
    workdir = folder / "small"
    workdir.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", workdir], check=True)
    process = start(workdir / "run")
    lines_until(process, "step 10/")
    with (workdir / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    said = process.communicate(timeout=300)[1]
    from refinenet_jax import integrity

    whole, _ = integrity.latest_whole_step(workdir / "run")
    message = "reported with a fix" if "No room in" in said else f"NOT REPORTED: {said[-1000:]}"
    (workdir / "ballast").unlink()
    finish(workdir / "run")
    wrong = 1 - same(unbroken, workdir / "run")
    return f"| full disk | exit status {process.returncode}, {message}; step {whole} was complete, resumed | {wrong} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--kills", type=int, default=100, help="number of SIGKILLs")
    parser.add_argument("--terms", type=int, default=5, help="number of SIGTERMs, for 1 and for 2 processes each")
    parser.add_argument("--damages", type=int, default=60, help="number of flipped and of truncated files")
    parser.add_argument("--seed", type=int, default=0)
    for hidden in ("worker", "coordinator", "full_disk"):
        parser.add_argument(f"--{hidden}", help=argparse.SUPPRESS)
    for hidden in ("num_processes", "process_id"):
        parser.add_argument(f"--{hidden}", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments)
        return
    if arguments.full_disk:
        print(full_disk(Path(arguments.full_disk), Path(arguments.full_disk, "unbroken")))
        return
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unbroken = folder / "unbroken"
        finish(unbroken)
        tables.header("fault", "result", "runs that differ from the uninterrupted one")
        if "damage" in arguments.kinds:
            for row in damages(folder, unbroken, arguments.damages, rng):
                print(row, flush=True)
        if "disk" in arguments.kinds:
            inside = ["unshare", "-m", sys.executable, "-m", "benchmarks.faults", f"--full_disk={folder}"]
            if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
                print("| full disk | skipped: no permission to mount a file system | |", flush=True)
            else:
                print(
                    subprocess.run(inside, cwd=tables.ROOT, text=True, stdout=subprocess.PIPE).stdout.strip(),
                    flush=True,
                )
        if "term" in arguments.kinds:
            for processes in (1, 2):
                print(terms(folder, unbroken, processes, arguments.terms, rng), flush=True)
        if "kill" in arguments.kinds:
            print(kills(folder, unbroken, arguments.kills, rng), flush=True)


if __name__ == "__main__":
    main()
