"""What is shown is what was measured: means over the steps that were taken, speed over the time that was training."""

import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from refinenet_jax import parallel
from refinenet_jax.errors import UsageError
from refinenet_jax.training import meter

CLASSES = ("background", "hand")


def _meter():
    return meter.Meter(0, 8, optax.linear_schedule(1.0, 0.0, 1000), CLASSES)


def _step(loss=1.0, confusion=((3, 0), (1, 2)), norm=2.0, skipped=0, **terms):
    figures = {
        "loss": loss,
        "confusion": np.array(confusion),
        "gradient_norm": norm,
        "skipped": skipped,
        "terms": terms,
    }
    return jax.tree.map(jnp.asarray, figures)


def test_means_are_over_the_steps_since_the_last_line():
    speed = _meter()
    speed.add(_step(9.0))
    assert "images_per_second" not in speed.scalars(1)  # it compiled
    for loss in (1.0, 2.0, 4.5):
        speed.add(_step(loss, norm=3 * loss, cross_entropy=loss - 0.5, dice=1.0))
    scalars = speed.scalars(4)
    assert scalars.pop("images_per_second") > 0
    expected = {"loss": 2.5, "loss_cross_entropy": 2.0, "loss_dice": 1.0, "gradient_norm": 7.5, "skipped": 0}
    assert scalars == pytest.approx({**expected, "mean_iou": (3 / 4 + 2 / 3) / 2, "learning_rate": 0.997})


def test_skipped_step_is_counted_but_not_averaged():
    speed = _meter()
    speed.set_rate_factor(0.1)
    speed.add(_step(1.0, dice=0.25))
    speed.add(_step(math.nan, ((0, 9), (9, 0)), math.inf, skipped=1, dice=math.nan))
    scalars = speed.scalars(2)
    assert (scalars["loss"], scalars["loss_dice"], scalars["gradient_norm"], scalars["skipped"]) == (1.0, 0.25, 2.0, 1)
    assert scalars["learning_rate"] == pytest.approx(0.1 * 1.0)  # of the optimizer's first update, the only one so far
    assert scalars["mean_iou"] == pytest.approx((3 / 4 + 2 / 3) / 2)
    speed.add(_step(math.nan, skipped=1))
    scalars = speed.scalars(3)
    assert np.isnan([scalars["loss"], scalars["mean_iou"]]).all()


def test_memory_is_bounded_and_every_step_is_counted():
    speed = _meter()
    large = 2**30
    step = _step(confusion=((large, 0), (large, 0)))
    waiting = []
    for number in range(1000):
        speed.add({**step, "loss": float(number)})
        waiting.append(len(speed._waiting))
    scalars = speed.scalars(1000)
    assert max(waiting) <= 2 * meter._WAITING
    assert scalars["loss"] == np.arange(1000).mean()
    assert scalars["mean_iou"] == 0.25  # 1/2 and 0: the counts did not overflow


def test_pauses_do_not_count_in_images_per_second():
    speed = _meter()
    speed.add(_step())
    with speed.paused():
        pass  # before the first line there is no clock to stop
    speed.scalars(1)
    speed.add(_step())
    with speed.paused():
        time.sleep(0.5)
    speed.add(_step())
    assert speed.scalars(3)["images_per_second"] > 2 * 8 / 0.4


@pytest.mark.parametrize(("first", "steps"), [(1, (2, 3)), (3, (2, 3)), (1, (6, 20)), (1, ())])
def test_requested_steps_are_traced(tmp_path, monkeypatch, first, steps):
    calls = []
    for name in ("start_trace", "stop_trace"):
        monkeypatch.setattr(jax.profiler, name, lambda *_, name=name, **__: calls.append((name, number)))
    profile = meter.Profile(tmp_path, steps)
    for number in range(first, 8):
        profile.tick(number, jnp.ones(3))
    profile.close()
    end = steps and min(steps[1] + 1, 7)
    assert calls == ([("start_trace", max(first, steps[0])), ("stop_trace", end)] if steps else [])


@pytest.mark.parametrize("steps", [(5,), (0, 3), (4, 3)])
def test_invalid_ranges_of_steps_are_refused(steps, tmp_path):
    with pytest.raises(UsageError, match="profile_steps"):
        meter.Profile(tmp_path, steps)


def test_only_the_main_process_writes_events(tmp_path, monkeypatch):
    for is_main in (False, True):
        monkeypatch.setattr(parallel, "is_main_process", lambda is_main=is_main: is_main)
        events = meter.create_writer(tmp_path)
        events.write_scalars(1, {"loss": 0.5})
        events.write_images(1, {"picture": np.zeros((1, 4, 4, 3), np.uint8)})
        events.close()
        assert bool(list(tmp_path.glob("events.*"))) == is_main
