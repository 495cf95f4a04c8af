"""Every picture is counted once, at its own size and in its place; figures and pictures reach the disk."""

import json

import cv2
import numpy as np
import pytest
import tiny

from configs import common
from refinenet_jax import checkpoint, models
from refinenet_jax.data import VOID
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import evaluate, metrics, report
from refinenet_jax.inference.segmenter import Segmenter

# 11 pictures: neither batches of 4 nor 8 devices divide them, and sizes change within batches.
SIZES = [(24, 32)] * 2 + [(17, 30)] * 3 + [(24, 32)] * 5 + [(30, 31)]


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


@pytest.mark.parametrize("size_multiple", [1, 32])
def test_every_picture_counts_once_at_its_own_size(source, size_multiple):
    segmenter = _segmenter(size_multiple=size_multiple)
    steps = []
    counts = evaluate.make_evaluate(segmenter)(
        segmenter.variables, source, 4, lambda done, total: steps.append((done, total))
    )
    assert counts.dtype == np.int64
    assert counts.sum((1, 2)).tolist() == [int((example["mask"] != VOID).sum()) for example in source]
    expected = np.array([_counts(segmenter, example) for example in source])
    assert len(np.unique(expected.reshape(len(source), -1), axis=0)) == len(source)  # order shows
    np.testing.assert_array_equal(counts, expected)
    assert steps[-1] == (11, 11)
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})


def test_other_weights_need_no_other_function(source):
    run = evaluate.make_evaluate(_segmenter())
    few = source[2:5]
    first, second = (run(tiny.variables(seed=seed), few, 8) for seed in (0, 1))
    assert (first != second).any()
    np.testing.assert_array_equal(first, run(tiny.variables(seed=0), few, 8))


def test_table_fits_a_terminal_and_says_what_is_absent():
    summary = metrics.summarise(np.array([[[9, 1, 0], [0, 0, 0], [0, 0, 0]]] * 12345), tiny.SQUARES.class_names)
    text = report.table("synthetic_hands/hands [test], scales 0.6, 0.8, 1.0, flipped", summary)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.split() == ["IoU", "of", "green", "absent"] for line in lines)
    assert any(line.split() == ["IoU", "of", "background", "0.9000"] for line in lines)
    assert "nan" not in text.lower()


def test_metrics_file_keeps_its_other_entries(tmp_path):
    path = tmp_path / "metrics.json"
    report.write_metrics(path, "a", {"mean_iou": 0.5})
    report.write_metrics(path, "b", {"mean_iou": None})
    report.write_metrics(path, "a", {"mean_iou": 0.75})
    assert json.loads(path.read_text()) == {"a": {"mean_iou": 0.75}, "b": {"mean_iou": None}}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_gallery_shows_best_first_and_worst_last(source, tmp_path, monkeypatch):
    """Six rows by hand IoU; pictures without hands in truth and prediction are left out."""
    counts = np.zeros((9, 3, 3), np.int64)
    counts[:, 0, 0] = 10
    counts[:8, 1, 1] = [5, 1, 9, 2, 7, 3, 8, 4]
    counts[:8, 1, 0] = 10 - counts[:8, 1, 1]
    captions = []
    monkeypatch.setattr(
        report.visualize,
        "gallery",
        lambda rows, texts, titles, draw=report.visualize.gallery: captions.extend(texts) or draw(rows, texts, titles),
    )
    path = tmp_path / "gallery.png"
    report.write_gallery(path, _segmenter(), source, counts)
    assert [text.split(": picture-")[0] for text in captions] == ["best", "best", "median", "median", "worst", "worst"]
    assert [int(text.split("picture-")[1].split()[0]) for text in captions] == [2, 6, 0, 4, 1, 3]
    pixels = cv2.imread(str(path))
    assert pixels is not None
    assert pixels.shape[1] > 3 * 320


def test_gallery_of_nothing_is_no_file(source, tmp_path):
    report.write_gallery(tmp_path / "gallery.png", _segmenter(), source, np.zeros((len(source), 3, 3), np.int64))
    assert not list(tmp_path.iterdir())


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
    summary = evaluate.evaluate_checkpoint(_config(), tmp_path / "out", trained)
    assert asked == [("squares", "test", "")]
    segmenter = _segmenter()
    expected = metrics.summarise(np.array([_counts(segmenter, e) for e in source]), tiny.SQUARES.class_names)
    assert summary == expected
    (written,) = json.loads((tmp_path / "out" / "metrics.json").read_text()).values()
    assert {key: written[key] for key in summary} == summary
    assert cv2.imread(str(tmp_path / "out" / "evaluation_squares_test.png")) is not None
    assert f"{summary['mean_iou']:.4f}" in capsys.readouterr().out


def test_dataset_with_other_classes_is_refused(trained, tmp_path, monkeypatch):
    other = tiny.Pictures([(8, 8)], tiny.DatasetInfo("other", ("background", "hand")))
    monkeypatch.setattr(evaluate, "open_source", lambda *_: other)
    with pytest.raises(UsageError, match=r"knows background, red, green; other has background, hand"):
        evaluate.evaluate_checkpoint(_config(), tmp_path / "out", trained)
    assert not (tmp_path / "out").exists()
