"""Every figure of a run is in its log once, whatever stopped the run; every line is JSON that all can read."""

import json

import numpy as np
import pytest

from refinenet_jax import parallel
from refinenet_jax.training import log


def _write(workdir, first_step, steps, kind="train"):
    written = log.Log(workdir, first_step)
    for step in steps:
        written.write(step, kind, {"loss": 1 / step})
    written.close()


def _steps(workdir, kind="train"):
    return [entry["step"] for entry in log.read(workdir) if entry["kind"] == kind]


def test_a_line_can_be_read_as_soon_as_it_is_written(tmp_path):
    written = log.Log(tmp_path, 0)
    written.write(50, "train", {"loss": 0.5})
    written.event(50, "resumed", by="hand")
    first, second = log.read(tmp_path)
    written.close()
    assert first | {"time": ""} == {"time": "", "step": 50, "kind": "train", "loss": 0.5}
    assert second | {"time": ""} == {"time": "", "step": 50, "kind": "event", "what": "resumed", "by": "hand"}
    assert np.datetime64(first["time"].removesuffix("Z")) <= np.datetime64("now")


def test_non_finite_numbers_are_null_and_numpy_is_accepted(tmp_path):
    written = log.Log(tmp_path, 0)
    figures = {"loss": float("nan"), "speed": np.float32("inf"), "iou": {"hand": -np.inf}, "n": np.int64(3)}
    written.write(1, "evaluation", {**figures, "pair": (np.nan, np.array([1, 2])), "name": "r\udcffé\n"})
    written.close()

    def refuse(constant):
        raise AssertionError(constant)

    (line,) = (tmp_path / log.NAME).read_bytes().splitlines()
    entry = json.loads(line, parse_constant=refuse)
    assert (entry["loss"], entry["speed"], entry["iou"], entry["n"]) == (None, None, {"hand": None}, 3)
    assert (entry["pair"], entry["name"]) == ([None, [1, 2]], "r\udcffé\n")


def test_resumed_run_has_every_step_once(tmp_path):
    _write(tmp_path, 0, [10, 20, 30, 40])
    _write(tmp_path, 20, [30, 40, 50])
    assert _steps(tmp_path) == [10, 20, 30, 40, 50]
    _write(tmp_path, 0, [10])  # from the start again
    assert _steps(tmp_path) == [10]


def test_events_are_kept_although_their_steps_are_repeated(tmp_path):
    _write(tmp_path, 0, [10, 20])
    _write(tmp_path, 20, [20, 25, 30], "event")
    _write(tmp_path, 20, [40], "evaluation")
    _write(tmp_path, 10, [20])
    assert (_steps(tmp_path), _steps(tmp_path, "event"), _steps(tmp_path, "evaluation")) == ([10, 20], [20, 25, 30], [])


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_truncated_line_is_skipped_and_removed_at_the_next_start(tmp_path, kept):
    _write(tmp_path, 0, [10, 20])
    path = tmp_path / log.NAME
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:kept])
    if kept != -1:  # a line that lacks its end alone can be read
        assert _steps(tmp_path) == [10]
    _write(tmp_path, 10, [20])
    assert _steps(tmp_path) == [10, 20]
    assert path.read_bytes().count(b"\n") == 2


def test_damaged_lines_are_skipped(tmp_path):
    _write(tmp_path, 0, [10])
    with (tmp_path / log.NAME).open("ab") as file:
        file.write(b'\0\xff\n[]\n7\n{"step": "1", "kind": "train"}\n{"step": 1}\n' + b"[" * 100_000 + b"\n")
    assert _steps(tmp_path) == [10]


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "is_main_process", lambda: False)
    _write(tmp_path, 0, [10])
    assert list(tmp_path.iterdir()) == []


def test_log_in_a_bucket_has_all_lines_up_to_the_last_checkpoint(bucket):
    run = "gs://bucket/run"
    written = log.Log(run, 0)
    written.write(10, "train", {"loss": 1.0})
    written.flush()
    written.write(20, "train", {"loss": 0.5})
    assert _steps(run) == [10]  # of a run that is killed now
    _write(run, 10, [20, 30])
    assert _steps(run) == [10, 20, 30]
    _write(run, 0, [10])
    assert _steps(run) == [10]
