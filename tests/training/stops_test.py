"""Runs that are stopped by a signal, an unreadable example or steps that are not finite, and resumed."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from tiny_runs import EVALUATION, SIZES, Damaged, config, restore, use

from refinenet_jax import checkpoint, integrity, parallel
from refinenet_jax.data import sources
from refinenet_jax.errors import UsageError
from refinenet_jax.training import loop
from refinenet_jax.training.log import read as read_log

pytestmark = pytest.mark.usefixtures("tiny_world")


def test_sigterm_saves_and_the_resumed_run_equals_the_uninterrupted_one_to_the_bit(tmp_path, monkeypatch):
    """Sent while a picture is read, in a run whose rate falls at nearly every evaluation and whose weights are averaged."""

    class Fatal(tiny.Pictures):
        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            if self.reads == 20:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().__getitem__(index)

    plateau = {"schedule.name": "plateau", "schedule.patience": 1, "schedule.decay_rate": 0.5}
    options = config(ema_decay=0.9, eval_every=1, checkpoint_every=100, **plateau)
    full = loop.train(options, tmp_path / "full")
    monkeypatch.setattr(sources, "check_masks", lambda source, tolerant=False: None)
    with monkeypatch.context() as patch:
        use(patch, train=Fatal(SIZES))
        with pytest.raises(SystemExit) as stopped:
            loop.train(options, tmp_path / "run")
    assert stopped.value.code == loop.EXIT_TERMINATED == 143
    step = checkpoint.latest_step(tmp_path / "run")
    assert 0 < step < 6
    assert loop.train(options, tmp_path / "run") == full
    jax.tree.map(np.testing.assert_array_equal, *(restore(tmp_path / name, ema=True)[:2] for name in ("full", "run")))
    assert restore(tmp_path / "full", ema=True)[2] == restore(tmp_path / "run", ema=True)[2]
    lines = [[line for line in read_log(tmp_path / name) if line["kind"] == "train"] for name in ("full", "run")]
    rates, resumed = ({line["step"]: line["learning_rate"] for line in of_run} for of_run in lines)
    assert rates == resumed
    assert rates[6] < 0.1


def test_ctrl_c_at_an_evaluation_step_leaves_a_checkpoint_that_can_be_the_best(tmp_path, monkeypatch):
    """The evaluation that was due is made up when the run is resumed."""
    requested = parallel.StopSignal.requested

    def request(self, step):
        if step == 2:
            self._note(signal.SIGINT, None)
        return requested(self, step)

    options = config(num_steps=3, eval_every=2)
    with monkeypatch.context() as patch:
        patch.setattr(parallel.StopSignal, "requested", request)
        with pytest.raises(KeyboardInterrupt):
            loop.train(options, tmp_path)
    assert checkpoint.latest_step(tmp_path) == 2
    loop.train(options, tmp_path)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    assert checkpoints.metrics(2)["images"] == len(EVALUATION)
    checkpoints.close()


def test_unreadable_examples_are_named_up_to_a_limit(tmp_path, monkeypatch, capsys):
    use(monkeypatch, train=Damaged(5))
    loop.train(config(num_steps=2, **{"data.max_faults": 1}), tmp_path / "run")
    assert capsys.readouterr().err.count("skipped example 5: picture 5 is cut short") == 1
    with pytest.raises(UsageError, match="picture 5 is cut short"):
        loop.train(config(num_steps=2), tmp_path / "other")
    monkeypatch.setattr(sources, "check_masks", lambda source, tolerant=False: None)  # it reads some examples only
    with pytest.raises(UsageError, match=r"1 examples could not be read, more than config\.data\.max_faults=0"):
        loop.train(config(num_steps=2), tmp_path / "other")
    assert checkpoint.latest_step(tmp_path / "other") > 0
    use(monkeypatch)  # the picture is repaired
    assert loop.train(config(num_steps=2), tmp_path / "other")["images"] == len(EVALUATION)


def test_steps_that_are_not_finite_are_reported_and_end_the_run(tmp_path, capsys):
    options = config(max_skipped_steps=1, **{"schedule.learning_rate": 1e30, "schedule.warmup_steps": 0})
    with pytest.raises(UsageError, match=r"more than config\.max_skipped_steps=1.*learning rate"):
        loop.train(options, tmp_path / "run")
    assert "skipped: loss or gradient not finite; its examples: picture-" in capsys.readouterr().err


def test_evaluation_that_failed_at_the_last_step_is_made_up(tmp_path, monkeypatch):
    """After its file is repaired, the metrics are added to the checkpoint; only then is the run complete."""
    options = config(num_steps=2, eval_every=100)
    with monkeypatch.context() as patch:
        use(patch, evaluation=Damaged(1, [(40, 48)] * 3))
        patch.setattr(sources, "check_masks", lambda source, tolerant=False: None)
        with pytest.raises(UsageError, match="picture 1 is cut short"):
            loop.train(options, tmp_path)
    assert checkpoint.latest_step(tmp_path) == 2
    summary = loop.train(options, tmp_path)
    assert summary["images"] == len(EVALUATION)
    assert (tmp_path / "report.html").exists()
    assert integrity.latest_whole_step(tmp_path) == (2, {})
    checkpoints = checkpoint.Checkpoints(tmp_path)
    assert checkpoints.metrics(2) == summary
    checkpoints.close()
    assert loop.train(options, tmp_path) == {}


def test_averaged_run_of_an_older_version_without_averaged_moments_is_resumed(tmp_path):
    options = config(ema_decay=0.9, num_steps=1)
    loop.train(options, tmp_path)
    setup = loop.prepare(options, tmp_path)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    state = setup.create_state(jax.tree.map(jnp.asarray, tiny.variables()))
    state, history = loop._resume(state, checkpoints, setup.position)
    old = {"params": state.ema["params"], "batch_stats": state.batch_stats}
    optimizer = {"step": jnp.int32(2), "opt_state": state.opt_state, "params": state.params}
    checkpoints.save(2, old, optimizer, {"position": setup.position, "history": {**history, "evaluated": 2}})
    checkpoints.close()
    assert loop.train(config(ema_decay=0.9, num_steps=3), tmp_path)["images"] == len(EVALUATION)
