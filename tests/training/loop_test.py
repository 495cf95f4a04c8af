"""The true loop on a tiny network: it learns, goes on to the bit where it stopped, and refuses what cannot work."""

import os
import shutil
import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from configs import common
from refinenet_jax import checkpoint, integrity, models, parallel, run_config
from refinenet_jax.checkpoint import CheckpointError
from refinenet_jax.data import mix, sources
from refinenet_jax.data.examples import DataError
from refinenet_jax.errors import UsageError
from refinenet_jax.training import loop, optim, step
from refinenet_jax.training.dry_run import dry_run
from refinenet_jax.training.log import read as read_log

TRAIN = tiny.Pictures([(40, 48), (48, 40), (36, 36)] * 4)
EVALUATION = tiny.Pictures([(40, 48), (33, 40), (40, 48)], seed=1)


@pytest.fixture(scope="module", autouse=True)
def tiny_world():
    """Names of networks and datasets mean the tiny ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "create_model", tiny.create_model)
        _mean(patch, lambda name, split, data_dir: TRAIN if split == "train" else EVALUATION)
        yield


def _mean(patch, open_source):
    """Has dataset names mean what `open_source` says."""
    patch.setattr(sources, "open_source", open_source)
    patch.setattr(mix, "open_source", open_source)


def _config(**changes):
    config = common.get_config()
    config.data.name = "squares"
    config.model.batch_norm = "synchronized"
    config.model.dropout = 0.1
    config.augment.crop_size = 32
    config.augment.short_edge = None
    config.augment.scales = (0.9, 1.0)
    config.augment.crop = "random"
    config.batch_size = 8
    config.num_steps = 6
    config.schedule.learning_rate = 0.1
    config.schedule.warmup_steps = 4  # restarted, it would show
    config.log_every = 1
    config.eval_every = 3
    config.checkpoint_every = 2
    config.keep_checkpoints = 4
    config.evaluate.batch_size = 8
    config.update_from_flattened_dict(changes)
    return config


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("unbroken")
    return workdir, loop.train(_config(), workdir)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A run of three steps."""
    workdir = tmp_path_factory.mktemp("half")
    loop.train(_config(num_steps=3), workdir)
    return workdir


def _saved(workdir):
    """All of the latest checkpoint."""
    config = _config()
    schedule = optim.create_schedule(num_steps=config.num_steps, **config.schedule)
    optimizer = optim.create_optimizer(schedule=schedule, **config.optimizer)
    state = step.create_state(jax.tree.map(jnp.asarray, tiny.variables()), optimizer)
    checkpoints = checkpoint.Checkpoints(workdir)
    restored = checkpoints.restore(state.variables, {"step": state.step, "opt_state": state.opt_state})
    data = checkpoints.restore_data()
    checkpoints.close()
    return *restored, data


def _files(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_loss_falls_and_figures_reach_tensorboard(unbroken):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    workdir, summary = unbroken
    events = EventAccumulator(str(workdir), size_guidance={"tensors": 0})
    events.Reload()

    def series(name):
        return {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(name)}

    loss = series("loss")
    assert list(loss) == [1, 2, 3, 4, 5, 6]
    assert loss[6] < 0.8 * loss[1]
    rates = series("learning_rate")
    assert rates == pytest.approx({1: 0.0, 2: 0.025, 3: 0.05, 4: 0.075, 5: 0.1, 6: 0.1})
    assert series("eval_mean_iou") == pytest.approx({3: series("eval_mean_iou")[3], 6: summary["mean_iou"]})
    assert {"gradient_norm", "images_per_second", "eval_hand_iou"} <= set(events.Tags()["tensors"])
    assert summary["images"] == len(EVALUATION)


def test_folder_has_what_prediction_needs(unbroken):
    workdir, summary = unbroken
    description, _ = checkpoint.load_model(workdir, 6)
    assert {key: description[key] for key in ("variant", "class_names", "flip_pairs", "dataset")} == {
        "variant": "rf101",
        "class_names": list(tiny.SQUARES.class_names),
        "flip_pairs": [],
        "dataset": "squares",
    }
    assert summary["mean_iou"] is not None


def test_checkpoint_is_of_its_step_though_training_went_on(unbroken, half):
    """Buffers are donated to the next step while the checkpoint is being written."""
    third = [checkpoint.load_model(workdir, 3)[1] for workdir in (unbroken[0], half)]
    jax.tree.map(np.testing.assert_array_equal, *third)


def test_stopped_and_continued_run_is_the_unbroken_run_to_the_bit(unbroken, half, tmp_path):
    half = shutil.copytree(half, tmp_path / "half")
    summary = loop.train(_config(), half)
    assert summary == unbroken[1]
    one, other = _saved(unbroken[0]), _saved(half)
    assert int(one[1]["step"]) == 6
    assert one[2] == other[2]
    assert jax.tree.structure(one[:2]) == jax.tree.structure(other[:2])
    jax.tree.map(np.testing.assert_array_equal, one[:2], other[:2])


def test_complete_run_is_left_alone(unbroken):
    workdir, _ = unbroken
    rewritten = ("model.json", ".lock")
    before = {path: time for path, time in _files(workdir).items() if path.name not in rewritten}
    assert loop.train(_config(), workdir) == {}
    assert {path: time for path, time in _files(workdir).items() if path.name not in rewritten} == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 16}, "batch_size was 8, is 16"),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"data.mix": (("squares", 2.0),)}, r"examples was \[\['squares', 1.0, 12\]\], is \[\['squares', 2.0, 12\]\]"),
        ({"model.variant": "rf50"}, "variant: before rf101, now rf50"),
        ({"model.input_scale": 1.2}, "input_scale: before 1.0, now 1.2"),
    ],
)
def test_run_is_not_continued_as_another(unbroken, changes, says):
    before = _saved(unbroken[0])
    with pytest.raises(CheckpointError, match=says):
        loop.train(_config(num_steps=12, **changes), unbroken[0])
    jax.tree.map(np.testing.assert_array_equal, before[:2], _saved(unbroken[0])[:2])


def test_start_from_another_run_with_other_classes(unbroken, capsys):
    """Trunk and cascade are taken, the classifier is new; with the same classes it is taken too."""
    _, trained = checkpoint.load_model(unbroken[0])
    fresh = loop.init.initial_variables(tiny.Tiny(2), 5)
    for classes, classifier, says in ((2, fresh, "numbers). New: classifier."), (3, trained, "New: nothing.")):
        variables = loop.init.initial_variables(tiny.Tiny(classes), 5, unbroken[0])
        expected = {**trained["params"], "classifier": classifier["params"]["classifier"]}
        jax.tree.map(np.testing.assert_array_equal, variables["params"], expected)
        jax.tree.map(np.testing.assert_array_equal, variables["batch_stats"], trained["batch_stats"])
        assert says in capsys.readouterr().err


def test_start_from_another_network_is_refused(unbroken):
    class Wider(tiny.Tiny):
        """Its cascade has one layer more."""

        @tiny.nn.compact
        def __call__(self, x, train=False):
            return tiny.nn.Conv(3, (1, 1), name="more")(tiny.Tiny.__call__(self, x, train))

    with pytest.raises(CheckpointError, match=r"a rf101, whose weights do not fit: params/more/bias"):
        loop.init.initial_variables(Wider(3), 0, unbroken[0])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"batch_size": 7}, "config.batch_size is 7, .*8 devices .*--config.batch_size=8"),
        ({"model.variant": "rf102"}, "Unknown variant 'rf102'"),
        ({"optimizer.name": "sdg"}, "did you mean 'sgd'"),
        ({"schedule.name": "polly"}, "did you mean 'poly'"),
        ({"loss_resolution": "label"}, "did you mean 'labels'"),
        ({"parallel": "pmapp"}, "did you mean 'pmap'"),
        ({"augment.crop": "center"}, "crop='center' must be"),
        ({"init_from": "no/such/run"}, "no/such/run has no model.json"),
        ({"model.batch_norm": "frozen"}, r"(?s)--config.init_from=.*--config.model.batch_norm=local"),
        ({"data.mix": ("egohands/hands", "gtea/wrist")}, "--config.data.mix="),
        ({"optimizer.clip_norm": -1.0}, "clip_norm"),
        ({"deterministic": True}, "XLA_FLAGS=--xla_gpu_deterministic_ops=true"),
    ],
)
def test_errors_come_before_anything_is_written(tmp_path, changes, says):
    with pytest.raises(UsageError, match=says):
        loop.train(_config(**changes), tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_a_mix_is_trained_on_and_the_named_dataset_scored(tmp_path, monkeypatch):
    sets = {"squares": TRAIN, "others": tiny.Pictures([(40, 40)] * 5, seed=3)}
    read = []
    _mean(monkeypatch, lambda name, split, data_dir: read.append((name, split)) or sets[name])
    parts = (("others", 3.0), ("squares", 1.0))
    summary = loop.train(_config(**{"data.mix": parts, "num_steps": 1, "data.eval_split": "test"}), tmp_path / "run")
    assert summary["images"] == len(TRAIN)
    assert read == [("squares", "test"), ("others", "train"), ("squares", "train")]
    _, _, saved = _saved(tmp_path / "run")
    assert [part[1:] for part in saved["position"]["examples"]] == [[3.0, 5], [1.0, 12]]


def test_masks_of_0_and_255_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    binary = tiny.Pictures([(40, 48)] * 8)
    for example in binary:
        example["mask"] = np.where(example["mask"] == 1, 255, 0).astype(np.uint8)
    _mean(monkeypatch, lambda *_: binary)
    with pytest.raises(UsageError, match="255 means void"):
        loop.train(_config(), tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_what_is_pasted_is_a_part_of_the_runs_identity_and_must_have_objects(tmp_path, monkeypatch):
    sets = {name: tiny.Pictures([(40, 48)] * 8, seed=seed) for seed, name in enumerate(("squares", "cut", "void"))}
    for example in sets["void"]:
        example["mask"] = np.full_like(example["mask"], 255)
    _mean(monkeypatch, lambda name, split, data_dir: sets[name])
    with pytest.raises(UsageError, match="contain only the values"):
        loop.train(_config(**{"paste.sources": (("cut", 1.0), ("void", 1.0))}), tmp_path / "run")
    assert os.listdir(tmp_path) == []
    loop.train(_config(**{"paste.sources": (("cut", 2.0),), "num_steps": 1}), tmp_path / "run")
    _, _, saved = _saved(tmp_path / "run")
    assert [part[1:] for part in saved["position"]["paste"]] == [[2.0, 8]]
    with pytest.raises(CheckpointError, match="paste was"):
        loop.train(_config(num_steps=2), tmp_path / "run")


CLEVER = {
    "ema_decay": 0.9,
    "schedule.name": "plateau",
    "schedule.patience": 1,
    "schedule.decay_rate": 0.5,
    "eval_every": 1,
}


def _without(numbers):
    """A source in which these examples cannot be read."""

    class Damaged(tiny.Pictures):
        def __getitem__(self, index):
            if index in numbers:
                raise DataError(f"picture {index} is cut short", "undecodable")
            return super().__getitem__(index)

    return Damaged([(40, 48), (48, 40), (36, 36)] * 4)


@pytest.mark.parametrize("stop", [1, 4])
def test_averages_and_the_plateau_go_on_to_the_bit(tmp_path, stop):
    """The rate falls at nearly every evaluation; a resume that forgot the scores would train at another."""
    whole = loop.train(_config(**CLEVER), tmp_path / "whole")
    loop.train(_config(**CLEVER, num_steps=stop), tmp_path / "half")
    assert loop.train(_config(**CLEVER), tmp_path / "half") == whole
    one, other = (checkpoint.load_model(tmp_path / name, 6)[1] for name in ("whole", "half"))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    lines = [[line for line in read_log(tmp_path / name) if line["kind"] == "train"] for name in ("whole", "half")]
    rates, again = ({line["step"]: line["learning_rate"] for line in of_run} for of_run in lines)
    assert rates == again
    assert rates[6] < 0.1


def test_a_run_without_averages_is_not_continued_with_them(unbroken):
    with pytest.raises(CheckpointError, match="ema was False, is True"):
        loop.train(_config(num_steps=12, ema_decay=0.9), unbroken[0])


def _frozen(start):
    """Settings of a run that starts from another and changes nothing."""
    factors = {f"optimizer.factors.{group}": 0.0 for group in ("trunk", "cascade", "classifier")}
    return factors | {"model.batch_norm": "frozen", "init_from": str(start), "eval_every": 1}


def test_a_run_that_no_longer_gets_better_stops_and_stays_stopped(tmp_path, unbroken):
    config = _config(**_frozen(unbroken[0]), early_stopping=2)
    loop.train(config, tmp_path)
    assert checkpoint.latest_step(tmp_path) == 3  # the first is the best, then two that are no better
    assert loop.train(config, tmp_path) == {}
    assert checkpoint.latest_step(tmp_path) == 3


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_goes_on(tmp_path, unbroken, capsys):
    shutil.copytree(unbroken[0], tmp_path / "run")
    files = [path for path in (tmp_path / "run" / "checkpoints" / "6").rglob("*") if path.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    assert loop.train(_config(), tmp_path / "run") == unbroken[1]
    told = capsys.readouterr().err
    assert "Checkpoint 6 is damaged" in told
    assert "resuming from 4" in told
    one, other = _saved(unbroken[0]), _saved(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, one[:2], other[:2])


def test_unreadable_examples_are_named_up_to_a_limit(tmp_path, monkeypatch, capsys):
    _mean(monkeypatch, lambda name, split, data_dir: _without({5}) if split == "train" else EVALUATION)
    loop.train(_config(num_steps=3, **{"data.max_faults": 1}), tmp_path / "run")
    assert capsys.readouterr().err.count("skipped example 5: picture 5 is cut short") == 1
    with pytest.raises(UsageError, match="picture 5 is cut short"):
        loop.train(_config(num_steps=3), tmp_path / "other")
    monkeypatch.setattr(sources, "check_masks", lambda source, tolerant=False: None)  # it looks at some only
    with pytest.raises(UsageError, match=r"1 examples could not be read, more than config\.data\.max_faults=0"):
        loop.train(_config(num_steps=3), tmp_path / "other")
    assert checkpoint.latest_step(tmp_path / "other") > 0  # what was learned is kept, and a repaired example forgiven
    _mean(monkeypatch, lambda name, split, data_dir: TRAIN if split == "train" else EVALUATION)
    assert loop.train(_config(num_steps=3), tmp_path / "other")["images"] == len(EVALUATION)


def test_steps_that_are_not_finite_are_told_and_end_the_run(tmp_path, capsys):
    config = _config(max_skipped_steps=1, **{"schedule.learning_rate": 1e30, "schedule.warmup_steps": 0})
    with pytest.raises(UsageError, match=r"more than config\.max_skipped_steps=1.*learning rate"):
        loop.train(config, tmp_path / "run")
    assert "skipped: loss or gradient not finite; its examples: picture-" in capsys.readouterr().err


def test_changes_of_the_config_are_printed_and_logged_at_a_resume(tmp_path, half, capsys):
    shutil.copytree(half, tmp_path / "run")
    rate = {"schedule.learning_rate": 0.2}
    loop.train(_config(num_steps=4, **rate), tmp_path / "run")
    assert "config.schedule.learning_rate: 0.1 -> 0.2" in capsys.readouterr().err
    (event,) = (line for line in read_log(tmp_path / "run") if line.get("what") == "config changed")
    assert event["changes"] == {"schedule.learning_rate": [0.1, 0.2], "num_steps": [3, 4]}
    assert (event["step"], event["kind"]) == (3, "event")
    saved = run_config.get_config(str(tmp_path / "run"))
    assert saved.to_dict() == _config(num_steps=4, **rate).to_dict()  # with tuples
    loop.train(saved, tmp_path / "run")
    assert "->" not in capsys.readouterr().err


def test_an_evaluation_that_failed_at_the_last_step_is_made_up(tmp_path, monkeypatch, unbroken):
    """Once its file is repaired: the metrics join the checkpoint, and the run is complete only then."""
    damaged = _without({1})
    _mean(monkeypatch, lambda name, split, data_dir: TRAIN if split == "train" else damaged)
    monkeypatch.setattr(sources, "check_masks", lambda source, tolerant=False: None)
    with pytest.raises(UsageError, match="picture 1 is cut short"):
        loop.train(_config(eval_every=100), tmp_path / "run")
    assert checkpoint.latest_step(tmp_path / "run") == 6
    _mean(monkeypatch, lambda name, split, data_dir: TRAIN if split == "train" else EVALUATION)
    assert loop.train(_config(eval_every=100), tmp_path / "run") == unbroken[1]
    assert (tmp_path / "run" / "report.html").exists()
    assert integrity.latest_whole_step(tmp_path / "run") == (6, {})
    checkpoints = checkpoint.Checkpoints(tmp_path / "run")
    assert checkpoints.metrics(6) == unbroken[1]
    checkpoints.close()
    assert loop.train(_config(eval_every=100), tmp_path / "run") == {}


def test_averages_of_a_run_that_kept_no_averaged_moments_are_resumed(tmp_path):
    """As older versions wrote them."""
    config = _config(ema_decay=0.9, num_steps=2)
    loop.train(config, tmp_path)
    setup = loop.prepare(config, tmp_path)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    state = setup.create_state(jax.tree.map(jnp.asarray, tiny.variables()))
    state, history = loop._resume(state, checkpoints, setup.position)
    old = {"params": state.ema["params"], "batch_stats": state.batch_stats}
    optimizer = {"step": jnp.int32(3), "opt_state": state.opt_state, "params": state.params}
    checkpoints.save(3, old, optimizer, {"position": setup.position, "history": {**history, "evaluated": 3}})
    checkpoints.close()
    assert loop.train(_config(ema_decay=0.9, num_steps=4), tmp_path)["images"] == len(EVALUATION)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_an_evaluation_step_leaves_a_checkpoint_that_can_be_the_best(tmp_path, number, monkeypatch):
    """SIGTERM exits with a status, Ctrl-C is a KeyboardInterrupt; the evaluation that was due is made up."""
    requested = parallel.StopSignal.requested

    def request(self, step):
        if step == 3:
            self._note(number, None)
        return requested(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(parallel.StopSignal, "requested", request)
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit):
            loop.train(_config(), tmp_path)
    assert checkpoint.latest_step(tmp_path) == 3
    loop.train(_config(), tmp_path)
    checkpoints = checkpoint.Checkpoints(tmp_path)
    assert checkpoints.metrics(3)["images"] == len(EVALUATION)
    checkpoints.close()


@pytest.mark.parametrize("eval_every", [100, 1])
def test_a_terminated_run_saves_says_so_and_goes_on(tmp_path, eval_every):
    """SIGTERM arrives while a picture is read; an evaluation that was due then is made up, for the rate depends on it."""

    class Fatal(tiny.Pictures):
        reads = 0

        def __getitem__(self, index):
            self.reads += 1
            if self.reads == 20:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().__getitem__(index)

    plateau = {"schedule.name": "plateau", "schedule.patience": 1, "schedule.decay_rate": 0.5}
    config = _config(checkpoint_every=100, eval_every=eval_every, **plateau)
    loop.train(config, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:
        fatal = Fatal([(40, 48), (48, 40), (36, 36)] * 4)
        _mean(patch, lambda name, split, data_dir: fatal if split == "train" else EVALUATION)
        patch.setattr(sources, "check_masks", lambda source, tolerant=False: None)
        with pytest.raises(SystemExit) as stopped:
            loop.train(config, tmp_path / "run")
    assert stopped.value.code == loop.EXIT_TERMINATED == 143
    assert 0 < checkpoint.latest_step(tmp_path / "run") < 6
    loop.train(config, tmp_path / "run")
    whole, run = _saved(tmp_path / "whole"), _saved(tmp_path / "run")
    jax.tree.map(np.testing.assert_array_equal, whole[:2], run[:2])
    assert whole[2] == run[2]


def test_a_second_start_of_a_stopped_run_with_more_patience_goes_on(tmp_path, unbroken):
    frozen = _frozen(unbroken[0])
    loop.train(_config(**frozen, early_stopping=2), tmp_path)
    assert loop.train(_config(**frozen, early_stopping=0), tmp_path)["images"] == len(EVALUATION)
    assert checkpoint.latest_step(tmp_path) == 6


def test_a_dry_run_tells_and_writes_nothing(tmp_path):
    told = dry_run(_config(), tmp_path / "run")
    assert not list(tmp_path.iterdir())
    count = sum(leaf.size for leaf in jax.tree.leaves(tiny.variables()["params"]))
    assert f"{count:,}" in told
    assert "MiB on each device" in told
    assert max(map(len, told.splitlines())) <= 80
