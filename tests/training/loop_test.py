"""Trains a tiny network: it learns, resumes to the bit, and refuses invalid settings before it writes anything."""

import os
import shutil

import jax
import numpy as np
import pytest
import tiny
from tiny_runs import EVALUATION, TRAIN, config, files, open_sources, restore

from refinenet_jax import checkpoint, run_config
from refinenet_jax.checkpoint import CheckpointError
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import evaluate
from refinenet_jax.training import init, loop
from refinenet_jax.training.dry_run import dry_run
from refinenet_jax.training.log import read as read_log

pytestmark = pytest.mark.usefixtures("tiny_world")


def assert_equal(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_loss_falls_and_tensorboard_gets_the_metrics(full_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    workdir, summary = full_run
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


def test_checkpoint_holds_its_own_step_although_training_continued(full_run, half_run):
    """Buffers are donated to the next step while the checkpoint is being written."""
    assert_equal(*(checkpoint.load_model(workdir, 3)[1] for workdir in (full_run[0], half_run)))


def test_resumed_run_equals_the_uninterrupted_run_to_the_bit(full_run, half_run, tmp_path):
    workdir = shutil.copytree(half_run, tmp_path / "run")
    assert loop.train(config(), workdir) == full_run[1]
    one, other = restore(full_run[0]), restore(workdir)
    assert int(one[1]["step"]) == 6
    assert_equal(one, other)


def test_complete_run_is_not_changed(full_run):
    workdir, _ = full_run
    rewritten = ("model.json", ".lock")
    before = {path: time for path, time in files(workdir).items() if path.name not in rewritten}
    assert loop.train(config(), workdir) == {}
    assert {path: time for path, time in files(workdir).items() if path.name not in rewritten} == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 16}, "batch_size was 8, is 16"),
        ({"seed": 1}, "seed was 0, is 1"),
        ({"data.mix": (("squares", 2.0),)}, r"examples was \[\['squares', 1.0, 12\]\], is \[\['squares', 2.0, 12\]\]"),
        ({"model.variant": "rf50"}, "variant: before rf101, now rf50"),
        ({"model.input_scale": 1.2}, "input_scale: before 1.0, now 1.2"),
        ({"ema_decay": 0.9}, "ema was False, is True"),
    ],
)
def test_run_cannot_be_resumed_as_another(full_run, changes, message):
    before = files(full_run[0] / "checkpoints")
    with pytest.raises(CheckpointError, match=message):
        loop.train(config(num_steps=12, **changes), full_run[0])
    assert files(full_run[0] / "checkpoints") == before


def test_start_from_another_run_with_other_classes(full_run, capsys):
    """Trunk and cascade are loaded, the classifier is new; with the same classes it is loaded too."""
    _, trained = checkpoint.load_model(full_run[0])
    fresh = init.initial_variables(tiny.Tiny(2), 5)
    for classes, classifier, message in ((2, fresh, "numbers). New: classifier."), (3, trained, "New: nothing.")):
        variables = init.initial_variables(tiny.Tiny(classes), 5, full_run[0])
        expected = {**trained["params"], "classifier": classifier["params"]["classifier"]}
        jax.tree.map(np.testing.assert_array_equal, variables["params"], expected)
        jax.tree.map(np.testing.assert_array_equal, variables["batch_stats"], trained["batch_stats"])
        assert message in capsys.readouterr().err


def test_start_from_another_network_is_refused(full_run):
    class Wider(tiny.Tiny):
        """Its cascade has one layer more."""

        @tiny.nn.compact
        def __call__(self, x, train=False):
            return tiny.nn.Conv(3, (1, 1), name="more")(tiny.Tiny.__call__(self, x, train))

    with pytest.raises(CheckpointError, match=r"a rf101, whose weights do not fit: params/more/bias"):
        init.initial_variables(Wider(3), 0, full_run[0])


@pytest.mark.parametrize(
    ("changes", "message"),
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
def test_invalid_config_is_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(UsageError, match=message):
        loop.train(config(**changes), tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_masks_of_0_and_255_are_refused_before_anything_is_written(tmp_path, monkeypatch):
    binary = tiny.Pictures([(40, 48)] * 8)
    for example in binary:
        example["mask"] = np.where(example["mask"] == 1, 255, 0).astype(np.uint8)
    open_sources(monkeypatch, lambda *_: binary)
    with pytest.raises(UsageError, match="255 means void"):
        loop.train(config(), tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_mix_and_pasted_sources_are_read_and_define_the_run(tmp_path, monkeypatch):
    """The named dataset is evaluated, the mix is trained on; pasted sources must have objects."""
    sets = {"squares": TRAIN, "others": tiny.Pictures([(40, 40)] * 5, seed=3)}
    sets |= {name: tiny.Pictures([(40, 48)] * 8, seed=seed) for seed, name in enumerate(("cut", "void"))}
    for example in sets["void"]:
        example["mask"] = np.full_like(example["mask"], 255)
    opened = []
    open_sources(monkeypatch, lambda name, split, folder: opened.append((name, split)) or sets[name])
    options = {"data.mix": (("others", 3.0), ("squares", 1.0)), "data.eval_split": "test"}
    with pytest.raises(UsageError, match="contain only the values"):
        loop.train(config(**options, **{"paste.sources": (("cut", 1.0), ("void", 1.0))}), tmp_path / "run")
    assert os.listdir(tmp_path) == []
    opened.clear()
    options["paste.sources"] = (("cut", 2.0),)
    assert loop.train(config(**options, num_steps=1), tmp_path / "run")["images"] == len(TRAIN)
    assert opened == [("squares", "test"), ("others", "train"), ("squares", "train"), ("cut", "train")]
    position = restore(tmp_path / "run")[2]["position"]
    assert [part[1:] for part in position["examples"]] == [[3.0, 5], [1.0, 12]]
    assert [part[1:] for part in position["paste"]] == [[2.0, 8]]
    with pytest.raises(CheckpointError, match="paste was"):
        loop.train(config(**options | {"paste.sources": ()}, num_steps=2), tmp_path / "run")


def test_early_stopping_is_final_until_it_is_raised(tmp_path, full_run):
    """Nothing is learned, so that the first evaluation is the best."""
    factors = {f"optimizer.factors.{group}": 0.0 for group in ("trunk", "cascade", "classifier")}
    frozen = factors | {"model.batch_norm": "frozen", "init_from": str(full_run[0]), "eval_every": 1, "num_steps": 4}
    loop.train(config(**frozen, early_stopping=2), tmp_path)
    assert checkpoint.latest_step(tmp_path) == 3
    assert loop.train(config(**frozen, early_stopping=2), tmp_path) == {}
    assert checkpoint.latest_step(tmp_path) == 3
    assert loop.train(config(**frozen, early_stopping=0), tmp_path)["images"] == len(EVALUATION)
    assert checkpoint.latest_step(tmp_path) == 4


def test_damaged_checkpoint_is_set_aside_and_the_previous_one_resumed(tmp_path, full_run, capsys):
    workdir = shutil.copytree(full_run[0], tmp_path / "run")
    checkpoint_files = [path for path in (workdir / "checkpoints" / "6").rglob("*") if path.is_file()]
    largest = max(checkpoint_files, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.write_bytes(content)
    assert loop.train(config(), workdir) == full_run[1]
    printed = capsys.readouterr().err
    assert "Checkpoint 6 is damaged" in printed
    assert "resuming from 4" in printed
    assert_equal(restore(full_run[0])[:2], restore(workdir)[:2])


def test_config_changes_are_printed_and_logged_at_a_resume(tmp_path, half_run, capsys):
    workdir = shutil.copytree(half_run, tmp_path / "run")
    rate = {"schedule.learning_rate": 0.2}
    loop.train(config(num_steps=4, **rate), workdir)
    assert "config.schedule.learning_rate: 0.1 -> 0.2" in capsys.readouterr().err
    (event,) = (line for line in read_log(workdir) if line.get("what") == "config changed")
    assert event["changes"] == {"schedule.learning_rate": [0.1, 0.2], "num_steps": [3, 4]}
    assert (event["step"], event["kind"]) == (3, "event")
    saved = run_config.get_config(str(workdir))
    assert saved.to_dict() == config(num_steps=4, **rate).to_dict()  # with tuples
    loop.train(saved, workdir)
    assert "->" not in capsys.readouterr().err


def test_dry_run_prints_the_network_and_writes_nothing(tmp_path):
    text = dry_run(config(), tmp_path / "run")
    assert not list(tmp_path.iterdir())
    count = sum(leaf.size for leaf in jax.tree.leaves(tiny.variables()["params"]))
    assert f"{count:,}" in text
    assert "MiB on each device" in text
    assert max(map(len, text.splitlines())) <= 80


def test_run_in_a_bucket_equals_the_local_one(bucket, tmp_path, full_run, monkeypatch, capsys):
    """Trained, resumed after an incomplete checkpoint, evaluated and loaded in gs://; no lock, and no append."""
    from clu import metric_writers

    run, events = "gs://bucket/runs/tiny", []
    write_events = metric_writers.SummaryWriter
    monkeypatch.setattr(metric_writers, "SummaryWriter", lambda to: events.append(to) or write_events(str(tmp_path)))
    loop.train(config(num_steps=3), run)
    folder = bucket / "bucket" / "runs" / "tiny"
    (folder / "checkpoints" / "3" / "commit_success.txt").unlink()
    assert checkpoint.latest_step(run) == 2
    assert loop.train(config(), run) == full_run[1]
    assert "cannot be locked" in capsys.readouterr().err
    assert set(events) == {run}
    assert_equal(checkpoint.load_model(run, 6)[1], checkpoint.load_model(full_run[0], 6)[1])
    assert loop.train(run_config.get_config(run), run) == {}
    steps = [
        [(line["step"], line["kind"]) for line in read_log(at) if line["kind"] != "event"] for at in (run, full_run[0])
    ]
    assert steps[0] == steps[1]
    monkeypatch.setattr(evaluate, "open_source", lambda *_: EVALUATION)
    evaluate.evaluate_checkpoint(config(), run, run, save_predictions=True)
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "model.json",
        "log.jsonl",
        "report.html",
        "metrics.json",
        "evaluation_squares_test.png",
    } <= names
    assert not {".lock", "manifests", "damaged"} & names
    assert not list(folder.rglob("*.partial"))
    assert len(list((folder / "predictions_squares_test" / "strict").iterdir())) == len(EVALUATION)
