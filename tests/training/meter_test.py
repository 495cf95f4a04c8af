"""What is shown is what was measured: means over the steps that were taken, speed over the time that was training."""

import io
import math
import re
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from refinenet_jax import parallel
from refinenet_jax.errors import UsageError
from refinenet_jax.training import log, meter

CLASSES = ("background", "hand")


@pytest.fixture
def written(tmp_path):
    file = log.Log(tmp_path, 0)
    yield file
    file.close()


def _meter(written, first_step=0, num_steps=1000):
    return meter.Meter(first_step, num_steps, 8, optax.linear_schedule(1.0, 0.0, 1000), CLASSES, written)


def _step(loss=1.0, confusion=((3, 0), (1, 2)), norm=2.0, **others):
    return jax.tree.map(jnp.asarray, {"loss": loss, "confusion": np.array(confusion), "gradient_norm": norm, **others})


def test_means_are_over_the_steps_since_the_last_line(written, tmp_path):
    shown = _meter(written)
    shown.add(_step(9.0))
    shown.log(1)
    for loss in (1.0, 2.0, 4.5):
        shown.add(_step(loss, norm=3 * loss, terms={"cross_entropy": loss - 0.5, "dice": 1.0}, skipped=0))
    scalars = shown.log(4)
    shown.close()
    expected = {"loss": 2.5, "loss_cross_entropy": 2.0, "loss_dice": 1.0, "gradient_norm": 7.5, "skipped": 0}
    assert scalars == {
        **expected,
        "mean_iou": pytest.approx((3 / 4 + 2 / 3) / 2),
        "learning_rate": pytest.approx(0.997),
    } | {"images_per_second": scalars["images_per_second"]}
    _, entry = log.read(tmp_path)
    assert {key: value for key, value in entry.items() if key not in ("time", "step", "kind")} == scalars
    assert (entry["step"], entry["kind"]) == (4, "train")


def test_a_step_left_out_is_counted_and_nothing_of_it_shown(written):
    shown = _meter(written)
    shown.add(_step(1.0, skipped=0, terms={"dice": 0.25}))
    shown.add(_step(math.nan, ((0, 9), (9, 0)), math.inf, skipped=1, terms={"dice": math.nan}))
    scalars = shown.log(2)
    assert (scalars["loss"], scalars["loss_dice"], scalars["gradient_norm"], scalars["skipped"]) == (1.0, 0.25, 2.0, 1)
    assert scalars["learning_rate"] == pytest.approx(1.0)  # of the optimiser's first update, the only one so far
    assert scalars["mean_iou"] == pytest.approx((3 / 4 + 2 / 3) / 2)


def test_no_number_is_shown_where_all_steps_were_left_out(written, tmp_path):
    shown = _meter(written)
    shown.add(_step(math.nan, skipped=1))
    scalars = shown.log(1)
    assert math.isnan(scalars["loss"])
    assert math.isnan(scalars["mean_iou"])
    assert log.read(tmp_path)[0]["loss"] is None


def test_many_steps_between_two_lines_take_no_more_memory_and_are_all_counted(written):
    shown = _meter(written)
    large = 2**30
    step = _step(confusion=((large, 0), (large, 0)))
    held = []
    for number in range(1000):
        shown.add({**step, "loss": float(number)})
        held.append(len(shown._waiting))
    scalars = shown.log(1000)
    assert max(held) <= 2 * meter._WAITING
    assert scalars["loss"] == np.arange(1000).mean()
    assert scalars["mean_iou"] == 0.25  # 1/2 and 0: the counts did not overflow


def test_plain_lines_tell_all(written, capsys):
    shown = _meter(written)
    shown.add(_step())
    shown.log(1)
    assert "images/s" not in capsys.readouterr().err  # it compiled
    shown.set_rate_factor(0.1)
    shown.add(_step(skipped=1))
    shown.add(_step(0.12345, skipped=0))
    scalars = shown.log(501)
    shown.close()
    assert scalars["learning_rate"] == pytest.approx(0.0501)
    line = capsys.readouterr().err
    assert line.startswith("step 501/1000  loss 0.1235  mean IoU 0.708  lr 0.05  left out 1  ")
    assert re.search(r"\d images/s  00:0\d left\n$", line)


def test_the_bar_on_a_terminal_tells_all(written, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = _meter(written, first_step=500)
    for number in (501, 502):
        shown.add(_step())
        time.sleep(0.11)  # the bar is drawn ten times a second
        shown.log(number)
    shown.close()
    last = terminal.getvalue().split("\r")[-1]
    assert "training 502/1000" in last
    assert "left" in last
    assert re.search(r"loss 1\.0000  mean IoU 0\.708  lr 0\.5  [\d.]+ images/s", last)


def test_what_is_not_training_does_not_count_in_its_speed(written):
    shown = _meter(written)
    shown.add(_step())
    with shown.paused():
        pass  # in front of the first line there is no clock to stop
    shown.log(1)
    shown.add(_step())
    with shown.paused():
        time.sleep(0.5)
    shown.add(_step())
    assert shown.log(3)["images_per_second"] > 2 * 8 / 0.4


def test_evaluations_reach_the_log_whole(written, tmp_path, capsys):
    shown = _meter(written)
    summary = {
        "mean_iou": 0.75,
        "hand_iou": None,
        "iou": {"background": 0.75, "hand": None},
        "absent_classes": ["hand"],
    }
    shown.evaluated(40, summary)
    (entry,) = log.read(tmp_path)
    assert entry | summary == entry
    assert (entry["step"], entry["kind"]) == (40, "evaluation")
    assert "step 40/1000  evaluation: hand IoU nan  mean IoU 0.7500" in capsys.readouterr().err


@pytest.mark.parametrize(("first", "steps"), [(1, (2, 3)), (3, (2, 3)), (1, (6, 20))])
def test_the_steps_asked_for_are_traced(tmp_path, monkeypatch, first, steps, capsys):
    calls = []
    for name in ("start_trace", "stop_trace"):
        monkeypatch.setattr(jax.profiler, name, lambda *_, name=name, **__: calls.append((name, number)))
    profile = meter.Profile(tmp_path, steps)
    for number in range(first, 8):
        profile.tick(number, jnp.ones(3))
    profile.close()
    end = min(steps[1] + 1, 7)
    assert calls == [("start_trace", max(first, steps[0])), ("stop_trace", end)]


def test_a_trace_is_written(tmp_path):
    profile = meter.Profile(tmp_path, (2, 2))
    state = jnp.ones(3)
    for number in (1, 2, 3):
        profile.tick(number, state)
        state = state.sum()
    profile.close()
    assert {"trace.json.gz", "xplane.pb"} <= {
        path.name.split(".", 1)[1] for path in tmp_path.rglob("*.*") if path.is_file()
    }


def test_nothing_is_traced_unasked_and_nonsense_is_refused(tmp_path):
    profile = meter.Profile(tmp_path, ())
    profile.tick(1, jnp.ones(3))
    profile.close()
    assert list(tmp_path.iterdir()) == []
    for steps in ((5,), (0, 3), (4, 3)):
        with pytest.raises(UsageError, match="give the first and the last step"):
            meter.Profile(tmp_path, steps)


def test_only_the_main_process_writes_events(tmp_path, monkeypatch):
    for is_main in (False, True):
        monkeypatch.setattr(parallel, "is_main_process", lambda is_main=is_main: is_main)
        events = meter.EventWriter(tmp_path)
        events.write_scalars(1, {"loss": 0.5})
        events.write_images(1, {"picture": np.zeros((1, 4, 4, 3), np.uint8)})
        events.close()
        assert bool(list(tmp_path.glob("events.*"))) == is_main
