"""Every picture is counted once, at its own size and in its row, for any distribution of the work; all results are written."""

import csv
import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict

from configs import common
from refinenet_jax import models, processes
from refinenet_jax.data.examples import VOID, DataError
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import boundary, cvpr18, evaluate, metrics, predictions, protocols
from refinenet_jax.evaluation.analysis import attributes, corruptions
from refinenet_jax.inference.crf import CrfParameters

ROOT = Path(__file__).resolve().parents[2]

# 11 pictures, not a multiple of batches of 4 or of 8 devices, with sizes that change within batches.
SIZES = [(24, 32)] * 2 + [(17, 30)] * 3 + [(24, 32)] * 5 + [(30, 31)]
FEW = [(17, 30), (24, 32), (17, 30), (24, 32), (24, 32)]  # for the second pass, which compiles each size


@pytest.fixture(scope="module")
def source():
    return tiny.Pictures(SIZES)


_segmenter = partial(tiny.segmenter, tiny.SQUARES)


def _counts(segmenter, example):
    """Counts of one picture, computed with NumPy."""
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
    """Scores on eight devices."""
    return _score(source)


def test_unreadable_picture_stops_the_evaluation(source):
    class Broken(list):
        info = source.info

        def __getitem__(self, index):
            if index == 7:
                raise DataError("example 7 is damaged", "undecodable")
            return super().__getitem__(index)

    with pytest.raises(DataError, match="example 7"):
        _score(Broken(source))


def test_scores_agree_with_counts_of_training(source, table):
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


def test_scores_do_not_depend_on_the_number_of_devices(source, table, monkeypatch):
    devices = jax.local_devices()[:2]
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    monkeypatch.setattr(jax, "local_device_count", lambda: 2)
    _assert_same(_score(source), table)


def test_dense_crf_is_the_last_step():
    few = tiny.Pictures(SIZES[2:4])
    parameters = CrfParameters(bilateral_weight=0.0, smoothness_weight=8.0, smoothness_stddev=2.0)
    smooth = _segmenter(crf=parameters)
    scores = _score(few, crf=parameters)
    np.testing.assert_array_equal(scores.counts, [_counts(smooth, example) for example in few])
    assert (scores.counts != _score(few).counts).any()


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


def test_saved_masks_have_the_same_scores(tmp_path, monkeypatch):
    """Both kinds, exactly; only the probabilities, and therefore the calibration, are not stored."""
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


def test_two_processes(tmp_path, monkeypatch):
    """Two processes with two devices each have the scores of one with eight; an error in one of them stops both."""
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
        launcher.terminate()  # it terminates its processes
    for index in (0, 1):
        _assert_same(pickle.loads((tmp_path / f"{index}.pickle").read_bytes()), expected)
    for kind in ("strict", "cvpr18"):
        assert len(list((tmp_path / "two" / kind).iterdir())) == len(FEW)
    assert len(re.findall(r"refused: .*cannot be written", log.read_text())) == 2


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Run folder with one checkpoint of a small network."""
    monkeypatch.setattr(models, "create_model", tiny.create_model)
    return tiny.write_checkpoint(tmp_path / "run")


def _config():
    config = common.get_config()
    config.data.name = "squares"
    config.evaluate.scales = (1.0,)
    return config


def test_evaluate_checkpoint_and_its_saved_masks(trained, source, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(evaluate, "open_source", lambda *arguments: opened.append(arguments) or source)
    figures = evaluate.evaluate_checkpoint(_config(), tmp_path / "out", trained, save_predictions=True)
    assert opened == [("squares", "test", "")]
    segmenter = _segmenter()
    expected = metrics.summarize(np.array([_counts(segmenter, e) for e in source]), tiny.SQUARES.class_names)
    assert {key: figures["strict"][key] for key in expected} == expected
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written == {"squares [test], scales 1.0": {"checkpoint": trained, **figures}}
    rows = list(csv.DictReader((tmp_path / "out" / "per_image_squares_test.csv").open()))
    assert [row["id"] for row in rows] == [example["id"] for example in source]
    assert (tmp_path / "out" / "evaluation_squares_test.html").exists()
    assert f"{expected['mean_iou']:.4f}" in capsys.readouterr().out

    folder = tmp_path / "out" / "predictions_squares_test" / "strict"
    assert len(list(folder.iterdir())) == len(source)
    again = evaluate.evaluate_predictions(_config(), tmp_path / "again", folder)
    assert again == {key: figures[key] for key in ("strict", "seed", "intervals")}
    (written,) = json.loads((tmp_path / "again" / "metrics.json").read_text()).values()
    assert written == {"predictions": str(folder), **again}
    pictures = [cv2.imread(str(tmp_path / name / "evaluation_squares_test.png")) for name in ("out", "again")]
    np.testing.assert_array_equal(*pictures)


def test_corruptions(trained, tmp_path, monkeypatch):
    source = tiny.Pictures([(24, 32)] * 3)
    monkeypatch.setattr(evaluate, "open_source", lambda *_: source)
    monkeypatch.setattr(corruptions, "CORRUPTIONS", {"jpeg": corruptions.CORRUPTIONS["jpeg"]})
    monkeypatch.setattr(corruptions, "STRENGTHS", (2, 5))
    figures = evaluate.evaluate_checkpoint(_config(), tmp_path, trained, corrupted=True)
    (written,) = json.loads((tmp_path / "metrics.json").read_text()).values()
    assert list(written["corruptions"]) == ["jpeg", "mean"]
    clean, _, worst = (written["corruptions"]["jpeg"][strength]["hand_iou"] for strength in ("0", "2", "5"))
    assert clean == figures["strict"]["hand_iou"]
    segmenter = _segmenter()
    worse = [corruptions.corrupt(example, "jpeg", 5) for example in source]
    counts = np.array([_counts(segmenter, example) for example in worse])
    assert worst == metrics.summarize(counts, tiny.SQUARES.class_names)["hand_iou"] != clean


def test_dataset_with_other_classes_is_refused(trained, tmp_path, monkeypatch):
    other = tiny.Pictures([(8, 8)], tiny.DatasetInfo("other", ("background", "hand")))
    monkeypatch.setattr(evaluate, "open_source", lambda *_: other)
    with pytest.raises(UsageError, match=r"red, green.*background, hand"):
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
    try:  # only the second process writes there
        folder = tmp / ("file" if jax.process_index() else "three")
        _score(tiny.Pictures(FEW), folder)
    except UsageError as error:
        print(f"refused: {error}", flush=True)
