"""Every picture is counted once, at its own size and in its place, whatever shares the work; all of it reaches the disk."""

import csv
import json
import os
import pickle
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict

from configs import common
from refinenet_jax import checkpoint, models, processes
from refinenet_jax.data.examples import VOID, DataError
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import boundary, cvpr18, evaluate, metrics, predictions, protocols
from refinenet_jax.evaluation.analysis import attributes, corruptions
from refinenet_jax.inference.crf import CrfParameters
from refinenet_jax.inference.segmenter import Segmenter

ROOT = Path(__file__).resolve().parents[2]

# 11 pictures: neither batches of 4 nor 8 devices divide them, and sizes change within batches.
SIZES = [(24, 32)] * 2 + [(17, 30)] * 3 + [(24, 32)] * 5 + [(30, 31)]
FEW = [(17, 30), (24, 32), (17, 30), (24, 32), (24, 32)]  # for the second pass, which compiles each


@pytest.fixture(scope="module")
def source():
    return tiny.Pictures(SIZES)


def _segmenter(**options):
    return Segmenter(tiny.Tiny(3), tiny.variables(), tiny.SQUARES.class_names, **options)


def _counts(segmenter, example):
    """The plain way: one picture, one mask, NumPy."""
    truth, prediction = example["mask"], segmenter(example["image"]).mask
    valid = truth != VOID
    return np.bincount(truth[valid] * 3 + prediction[valid], minlength=9).reshape(3, 3)


def test_every_picture_counts_once_at_its_own_size(source):
    segmenter = _segmenter()
    steps = []
    counts = evaluate.count(segmenter, source, 4, lambda done, total: steps.append((done, total)))
    assert counts.dtype == np.int64
    assert counts.sum((1, 2)).tolist() == [int((example["mask"] != VOID).sum()) for example in source]
    expected = np.array([_counts(segmenter, example) for example in source])
    assert len(np.unique(expected.reshape(len(source), -1), axis=0)) == len(source)  # order shows
    np.testing.assert_array_equal(counts, expected)
    assert steps == [(done, 11) for done in range(1, 12)]


def test_other_weights_share_the_programs(source):
    segmenter = _segmenter()
    few = tiny.Pictures(SIZES[2:5])
    first, second = (evaluate.count(segmenter.with_variables(tiny.variables(seed=seed)), few, 8) for seed in (0, 1))
    assert (first != second).any()
    np.testing.assert_array_equal(first, evaluate.count(segmenter, few, 8))
    assert len(segmenter.programs.shapes) == 1


OPTIONS = ConfigDict({"protocols": ("strict", "cvpr18", "seed"), "batch_size": 4})


def _score(source, folder=None, protocols=("strict", "seed"), **options):
    return evaluate.score(_segmenter(**options), source, ConfigDict({"protocols": protocols, "batch_size": 4}), folder)


@pytest.fixture(scope="module")
def table(source):
    """On eight devices, as all tests."""
    return _score(source)


def test_scores_are_those_of_training_with_more_beside_them(source, table):
    segmenter = _segmenter()
    np.testing.assert_array_equal(table.counts, evaluate.count(segmenter, source, 4))
    assert table.counts.dtype == np.int64
    assert table.ids == tuple(example["id"] for example in source)
    assert table.videos == ("",) * len(source)
    masks = [segmenter(example["image"]).mask for example in source]
    outlines = [boundary.counts(example["mask"], mask) for example, mask in zip(source, masks, strict=True)]
    np.testing.assert_array_equal(table.boundary, outlines)
    # Every pixel that is not void is in one bin of the calibration.
    assert table.calibration[:, 0].sum() == sum((example["mask"] != VOID).sum() for example in source)
    assert table.calibration[:, 1].sum() == np.trace(table.counts.sum(0))
    assert table.found.all()
    assert table.cvpr18 is None
    for name, values in table.attributes.items():
        expected = np.array([attributes.of(example)[name] for example in source])
        np.testing.assert_array_equal(values, expected, err_msg=name)


@pytest.mark.parametrize("count", [1, 2])
def test_scores_do_not_depend_on_the_number_of_devices(source, table, count, monkeypatch):
    """Eight against fewer: the same whole numbers."""
    devices = jax.local_devices()[:count]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    monkeypatch.setattr(jax, "local_device_count", lambda: count)
    _assert_same(_score(source), table)


def _assert_same(found, expected):
    for name in ("ids", "videos"):
        assert getattr(found, name) == getattr(expected, name)
    for name in ("counts", "boundary", "cvpr18", "found"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    # Probabilities differ in their last digit, and may round to the next of 65536 steps.
    np.testing.assert_allclose(found.calibration, expected.calibration, rtol=0, atol=2)
    assert list(found.attributes) == list(expected.attributes)
    for name, values in expected.attributes.items():
        np.testing.assert_array_equal(found.attributes[name], values, err_msg=name)


def test_masks_that_were_saved_score_as_they_did(tmp_path, monkeypatch):
    """Both kinds, to the last count; only the probabilities, and with them the calibration, are not kept."""
    source = tiny.Pictures(FEW)
    monkeypatch.setattr(cvpr18, "SHORT_EDGE", (20, 40))
    table = _score(source, tmp_path, OPTIONS.protocols)
    for kind in ("strict", "cvpr18"):
        masks = predictions.Predictions(tmp_path / kind, source.info)
        again = predictions.score(masks, source, OPTIONS)
        if kind == "strict":
            _assert_same(replace(again, calibration=table.calibration, cvpr18=table.cvpr18), table)
            assert protocols.strict(again) == protocols.strict(table)
            assert protocols.seed(again) == protocols.seed(table)
        else:
            assert protocols.cvpr18(again, "mine") == protocols.cvpr18(table, "mine")
    assert (table.cvpr18 != metrics.foreground(table.counts)).any()


def _pools() -> int:
    """Threads that keep the process alive."""
    return sum(not thread.daemon for thread in threading.enumerate())


def test_picture_that_cannot_be_read_stops_it_and_ends_its_threads(source):
    class Broken(list):
        info = source.info

        def __getitem__(self, index):
            if index == 7:
                raise DataError("The image of example 7 is damaged.", "undecodable")
            return super().__getitem__(index)

    before = _pools()
    with pytest.raises(DataError, match="example 7 is damaged"):
        _score(Broken(source))
    assert _pools() <= before


@pytest.mark.parametrize("longest_side", [0, 40])
def test_a_picture_scores_the_same_beside_others_of_any_size(longest_side):
    many = tiny.Pictures([(16 + 7 * (i % 5), 24 + 11 * (i % 4)) for i in range(20)])
    scores = _score(many, longest_side=longest_side)
    assert scores.ids == tuple(example["id"] for example in many)
    for index in (0, 7, 19):
        alone = tiny.Pictures([])
        alone.append(many[index])
        np.testing.assert_array_equal(_score(alone, longest_side=longest_side).counts[0], scores.counts[index])


def test_dense_crf_is_the_last_step(source):
    few = tiny.Pictures(SIZES[2:4])
    parameters = CrfParameters(bilateral_weight=0.0, smoothness_weight=8.0, smoothness_stddev=2.0)
    smooth = _segmenter(crf=parameters)
    scores = _score(few, crf=parameters)
    for example, counts in zip(few, scores.counts, strict=True):
        np.testing.assert_array_equal(counts, _counts(smooth, example))
    assert (scores.counts != _score(few).counts).any()
    assert scores.calibration[:, 0].sum() == sum((example["mask"] != VOID).sum() for example in few)


def test_unknown_protocol_is_refused_before_anything_is_read():
    with pytest.raises(UsageError, match="did you mean 'strict'"):
        _score(None, protocols=("stricter",))


def test_two_processes_share_the_pictures_and_both_get_all(tmp_path, monkeypatch):
    """Started by launch/processes.sh, two devices each, against one process of eight; one process then meets an error."""
    log = tmp_path / "log"
    script = ["bash", str(ROOT / "launch" / "processes.sh"), "2", sys.executable, __file__, str(tmp_path)]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with log.open("w") as file:
        launcher = subprocess.Popen(script, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        monkeypatch.setattr(cvpr18, "SHORT_EDGE", (20, 40))
        expected = _score(tiny.Pictures(FEW), tmp_path / "one", OPTIONS.protocols)
        assert launcher.wait(timeout=150) == 0, log.read_text()[-5000:]
    finally:
        launcher.terminate()  # it passes that on
    for index in (0, 1):
        _assert_same(pickle.loads((tmp_path / f"{index}.pickle").read_bytes()), expected)
    for kind in ("strict", "cvpr18"):
        assert len(list((tmp_path / "two" / kind).iterdir())) == len(FEW)
    assert len(re.findall(r"refused: .*cannot be written", log.read_text())) == 2


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Folder of a run with one checkpoint, where the names of datasets and networks mean small ones."""
    monkeypatch.setattr(models, "create_model", tiny.create_model)
    checkpoint.write_description(
        tmp_path / "run",
        {
            "variant": "rf101",
            "class_names": tiny.SQUARES.class_names,
            "flip_pairs": (),
            "input_scale": 1.0,
            "dtype": "float32",
            "scales": (1.0,),
            "flip": False,
        },
    )
    checkpoints = checkpoint.Checkpoints(tmp_path / "run")
    checkpoints.save(1, tiny.variables(), {"step": np.int32(1)}, {})
    checkpoints.close()
    return tmp_path / "run"


def _config():
    config = common.get_config()
    config.data.name = "squares"
    config.evaluate.scales = (1.0,)
    return config


def test_checkpoint_is_scored_as_its_network_is(trained, source, tmp_path, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(evaluate, "open_source", lambda *arguments: asked.append(arguments) or source)
    figures = evaluate.evaluate_checkpoint(_config(), tmp_path / "out", trained)
    assert asked == [("squares", "test", "")]
    segmenter = _segmenter()
    expected = metrics.summarize(np.array([_counts(segmenter, e) for e in source]), tiny.SQUARES.class_names)
    assert {key: figures["strict"][key] for key in expected} == expected
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written == {"squares [test], scales 1.0": {"checkpoint": str(trained), **figures}}
    assert cv2.imread(str(tmp_path / "out" / "evaluation_squares_test.png")) is not None
    rows = list(csv.DictReader((tmp_path / "out" / "per_image_squares_test.csv").open()))
    assert [row["id"] for row in rows] == [example["id"] for example in source]
    assert "<h2>Worst images</h2>" in (tmp_path / "out" / "evaluation_squares_test.html").read_text()
    assert f"{expected['mean_iou']:.4f}" in capsys.readouterr().out
    assert not list((tmp_path / "out").glob("predictions*"))


def test_saved_masks_of_a_checkpoint_are_scored_without_it(trained, source, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate, "open_source", lambda *_: source)
    figures = evaluate.evaluate_checkpoint(_config(), tmp_path / "out", trained, save_predictions=True)
    folder = tmp_path / "out" / "predictions_squares_test" / "strict"
    assert len(list(folder.iterdir())) == len(source)
    again = evaluate.evaluate_predictions(_config(), tmp_path / "again", folder)
    assert again == {key: figures[key] for key in ("strict", "seed", "intervals")}
    (written,) = json.loads((tmp_path / "again" / "metrics.json").read_text()).values()
    assert written == {"predictions": str(folder), **again}
    pictures = [cv2.imread(str(tmp_path / name / "evaluation_squares_test.png")) for name in ("out", "again")]
    np.testing.assert_array_equal(*pictures)  # the masks that were scored are shown


def test_corruptions_are_scored_where_they_are_asked_for(trained, tmp_path, monkeypatch):
    source = tiny.Pictures([(24, 32)] * 3)
    monkeypatch.setattr(evaluate, "open_source", lambda *_: source)
    monkeypatch.setattr(corruptions, "CORRUPTIONS", {"jpeg": corruptions.CORRUPTIONS["jpeg"]})
    figures = evaluate.evaluate_checkpoint(_config(), tmp_path, trained, corrupted=True)
    (written,) = json.loads((tmp_path / "metrics.json").read_text()).values()
    assert list(written["corruptions"]) == ["jpeg", "mean"]
    told = [written["corruptions"]["jpeg"][str(strength)]["hand_iou"] for strength in range(6)]
    assert told[0] == figures["strict"]["hand_iou"]
    segmenter = _segmenter()
    worse = [corruptions.corrupt(example, "jpeg", 5) for example in source]
    counts = np.array([_counts(segmenter, example) for example in worse])
    assert told[5] == metrics.summarize(counts, tiny.SQUARES.class_names)["hand_iou"] != told[0]
    assert "<h2>Corruptions</h2>" in (tmp_path / "evaluation_squares_test.html").read_text()


def test_dataset_with_other_classes_is_refused(trained, tmp_path, monkeypatch):
    other = tiny.Pictures([(8, 8)], tiny.DatasetInfo("other", ("background", "hand")))
    monkeypatch.setattr(evaluate, "open_source", lambda *_: other)
    with pytest.raises(UsageError, match=r"knows background, red, green; other has background, hand"):
        evaluate.evaluate_checkpoint(_config(), tmp_path / "out", trained)
    assert not (tmp_path / "out").exists()


if __name__ == "__main__":
    given = dict(flag.removeprefix("--").split("=") for flag in sys.argv[2:])
    processes.initialize(given["coordinator"], int(given["num_processes"]), int(given["process_id"]))
    cvpr18.SHORT_EDGE = (20, 40)
    tmp = Path(sys.argv[1])
    scores = _score(tiny.Pictures(FEW), tmp / "two", OPTIONS.protocols)
    (tmp / f"{given['process_id']}.pickle").write_bytes(pickle.dumps(scores))
    (tmp / "file").write_text("no folder")
    try:  # the second process alone has pictures to write there
        folder = tmp / ("file" if jax.process_index() else "three")
        _score(tiny.Pictures(FEW), folder)
    except UsageError as error:
        print(f"refused: {error}", flush=True)
