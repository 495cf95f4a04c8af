"""Two processes of one run stop together where one of them cannot go on, with the same message; nobody waits for the other."""

import os
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import jax
import pytest
import tiny
import tiny_runs

from refinenet_jax import checkpoint, processes
from refinenet_jax.data import sources
from refinenet_jax.errors import UsageError
from refinenet_jax.training import loop, meter

ROOT = Path(__file__).resolve().parents[2]


def _config(**changes):
    smaller = {"augment.crop_size": 16, "batch_size": 4, "num_steps": 2, "model.batch_norm": "local"}
    return tiny_runs.config(**{**smaller, "eval_every": 100, "checkpoint_every": 100, **changes})


def _refusal(run) -> str:
    try:
        run()
    except UsageError as error:
        return str(error).replace("\n", " ")
    return "no error"


def _worker(folder: Path) -> None:
    """Prints, for each case, what this process was stopped by."""
    sizes = [(16, 20), (20, 16), (16, 16), (16, 16)]
    whole = tiny.Pictures(sizes)
    damaged = tiny_runs.Damaged(1, sizes)  # the second example, one of the second process's share

    def use(evaluated):
        tiny_runs.use(pytest.MonkeyPatch(), whole, evaluated)

    def show(case, text):
        print(f"\n{case}: {text}", flush=True)

    meter.create_writer = mock.MagicMock()  # importing TensorFlow takes longer than all else
    mine = jax.process_index()
    use(damaged if mine else whole)
    show("prepare", _refusal(lambda: loop.train(_config(), folder / "prepare")))
    check, sources.check_masks = sources.check_masks, lambda source, tolerant=False: None
    use(damaged)
    show("evaluation", _refusal(lambda: loop.train(_config(), folder / "run")))
    show("saved", checkpoint.latest_step(folder / "run"))
    sources.check_masks = check
    use(whole)
    show("config", _refusal(lambda: loop.train(_config(eval_every=mine + 1), folder / "run")))
    other = folder / ("run", "empty")[mine]
    show("checkpoints", _refusal(lambda: loop.train(_config(), other)))
    show("resumed", loop.train(_config(), folder / "run")["images"])


def test_two_processes_stop_together_with_the_file_named(tmp_path):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = ["bash", str(ROOT / "launch" / "processes.sh"), "2", sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-5000:]
    shown = {(case, int(i)): text for i, case, text in re.findall(r"^\[(\d)\] (\w+): (.*)$", done.stdout, re.MULTILINE)}
    for index in (0, 1):
        assert "picture 1 is cut short" in shown["prepare", index]
        assert "picture 1 is cut short" in shown["evaluation", index]
        assert shown["saved", index] == "2"
        assert "eval_every is 1 and 2" in shown["config", index]
        assert "the newest intact checkpoint is 2 and None" in shown["checkpoints", index]
        assert shown["resumed", index] == "4"


if __name__ == "__main__":
    given = dict(flag.removeprefix("--").split("=") for flag in sys.argv[2:])
    processes.initialize(given["coordinator"], int(given["num_processes"]), int(given["process_id"]))
    _worker(Path(sys.argv[1]))
