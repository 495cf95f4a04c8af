"""Tuning the CRF: better on what it is tuned for, nothing tried twice, and nothing written that would harm."""

import argparse

import numpy as np
import pytest
import tiny

from refinenet_jax import visualize
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import boundary, tune_crf
from refinenet_jax.inference.crf import CrfParameters, crf, read_parameters
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.segmenter import Segmenter

SIZE = (24, 32)


def _examples(noise=1.5, count=3):
    """Pictures of two coloured squares, one of them with void, and scores that guess at each pixel by itself."""
    rng = np.random.default_rng(0)
    examples = []
    for example in tiny.Pictures([SIZE] * count):
        truth = np.where(example["mask"] == 255, 0, example["mask"])
        logits = 2 * np.eye(3)[truth] + rng.normal(0, noise, (*SIZE, 3))
        scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        examples.append(tune_crf.Example(example["image"], scores.astype(np.float16), example["mask"]))
    return examples


def test_measure_adds_up_all_pixels_of_the_set():
    examples, parameters = _examples(), CrfParameters(iterations=2)
    done = []
    found = tune_crf.measure(examples, parameters, lambda: done.append(1))
    hits = union = 0
    outlines = np.zeros(len(boundary.COLUMNS), np.int64)
    for example in examples:
        prediction = (
            crf(example.image, example.probabilities.astype(np.float32), parameters).argmax(-1).astype(np.uint8)
        )
        there, counted = (example.mask > 0) & (example.mask < 255), example.mask < 255
        hits += np.count_nonzero(there & (prediction > 0))
        union += np.count_nonzero((there | (prediction > 0)) & counted)
        outlines += boundary.counts(example.mask, prediction)
    assert found.hand_iou == pytest.approx(hits / union)
    assert found.boundary_f == pytest.approx(float(boundary.scores(outlines)["boundary_f"]))
    assert found.score == pytest.approx((found.hand_iou + found.boundary_f) / 2)
    assert len(done) == len(examples)


def test_tuning_betters_the_start_within_its_trials():
    examples, done = _examples(), []
    start = CrfParameters(1, 20, 4, 0.3, iterations=3)
    trials = tune_crf.tune(examples, 12, start, lambda: done.append(1))
    alone, first = trials[:2]
    assert (alone.parameters, first.parameters) == (None, start)
    assert len(trials) == 12
    assert len({trial.parameters for trial in trials}) == 12
    assert len(done) == 12 * len(examples)
    assert {trial.parameters.iterations for trial in trials[1:]} == {3}
    best = max(trials, key=lambda trial: trial.score)
    assert best.score > first.score + 0.01
    again = tune_crf.measure(examples, best.parameters, lambda: None)
    assert again == best


def test_the_search_ends_by_itself_where_nothing_is_better(monkeypatch):
    """A peak over one setting: the start, both neighbours in each of five parameters, with both steps."""
    start = CrfParameters()
    monkeypatch.setattr(
        tune_crf, "measure", lambda examples, p, done: tune_crf.Trial(p, float(p == start), float(p == start))
    )
    trials = tune_crf.tune([], 1000, start)
    assert len(trials) == 2 + 2 * 2 * 5
    assert {trial.parameters.bilateral_weight for trial in trials[1:]} == {4, 8, 2, 5.66, 2.83}


def test_examples_without_hands_are_refused():
    example = _examples(count=1)[0]
    sure = np.zeros((*SIZE, 3), np.float16)
    sure[..., 0] = 1
    with pytest.raises(UsageError, match="has a hand"):
        tune_crf.tune([example._replace(probabilities=sure, mask=np.zeros(SIZE, np.uint8))])


def test_the_table_has_80_columns_and_the_network_alone_on_top():
    worst = CrfParameters(9990.5, 9999.5, 1234.56, 1234.56, 0.123456)
    trials = [
        tune_crf.Trial(None, 0.5, 0.6),
        tune_crf.Trial(worst, 0.4, 0.5),
        tune_crf.Trial(CrfParameters(), 0.7, 0.8),
    ]
    lines = tune_crf.table(trials).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[3:]] == ["no", "1.", "2."]
    assert lines[4].split()[-3:] == ["0.7000", "0.8000", "0.7500"]


@pytest.fixture
def dataset(tmp_path):
    """A folder of pictures, all of them the validation's but two."""
    for index, example in enumerate(tiny.Pictures([SIZE] * 5)):
        split = "train" if index == 0 else "test" if index == 1 else "val"
        for kind, pixels in (("images", example["image"]), ("masks", example["mask"])):
            path = tmp_path / "squares" / kind / split / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            visualize.write(str(path), pixels)
    (tmp_path / "squares" / "dataset.yaml").write_text("classes: [background, red, green]\n")
    return tmp_path / "squares"


class Guesser:
    """In the place of a network: goes by the colour of each pixel, and errs."""

    class_names = tiny.SQUARES.class_names

    def __call__(self, image):
        distance = np.linalg.norm(image[..., None, :] - tiny.COLOURS.astype(float), axis=-1) / 50
        logits = np.random.default_rng(0).normal(0, 1.5, distance.shape) - distance
        scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return Segmentation(image, scores.astype(np.float32), self.class_names)


@pytest.fixture(autouse=True)
def segmenter(monkeypatch):
    monkeypatch.setattr(Segmenter, "from_checkpoint", lambda directory, **options: Guesser())


def _run(*arguments):
    parser = argparse.ArgumentParser()
    tune_crf.add_arguments(parser)
    return tune_crf.run(parser.parse_args(["--checkpoint=runs/none", "--iterations=2", *map(str, arguments)]))


def test_the_verb_writes_the_best_of_the_table(dataset, tmp_path, capsys):
    output = tmp_path / "out" / "crf.json"
    assert _run(f"--dataset={dataset}", f"--output={output}", "--trials=4") == 0
    parameters = read_parameters(output)
    assert parameters.iterations == 2
    lines = capsys.readouterr().out.splitlines()
    row = next(line for line in lines if line.startswith("1."))
    assert float(row.split()[1]) == pytest.approx(parameters.bilateral_weight)
    assert "on 3 images" in lines[-1]


def test_only_as_many_images_as_asked_for_are_read(dataset, tmp_path, capsys):
    _run(f"--dataset={dataset}", f"--output={tmp_path / 'crf.json'}", "--trials=2", "--images=2")
    assert "on 2 images" in capsys.readouterr().out


def test_nothing_is_written_where_the_network_alone_is_better(dataset, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tune_crf, "crf", lambda image, probabilities, parameters: 1 - probabilities)
    assert _run(f"--dataset={dataset}", f"--output={tmp_path / 'crf.json'}", "--trials=3") == 1
    assert "No setting betters the network alone" in capsys.readouterr().err
    assert not (tmp_path / "crf.json").exists()


@pytest.mark.parametrize("flag", ["--trials=1", "--images=0", "--iterations=-1", "--split=nowhere"])
def test_what_cannot_be_is_refused_before_the_network_runs(flag, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(Guesser, "__call__", None)
    with pytest.raises(UsageError):
        _run(f"--dataset={dataset}", f"--output={tmp_path / 'crf.json'}", flag)
