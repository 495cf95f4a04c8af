"""Each pair is scored once, in its common classes; pairs that cannot be scored are refused before any scoring."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import tiny

from configs import common
from refinenet_jax import checkpoint, models
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import cross_dataset, metrics
from refinenet_jax.evaluation.report import cross_report
from refinenet_jax.evaluation.report.cross_report import Cell
from refinenet_jax.inference.segmenter import Segmenter

SIDES, ARM = ("background", "left hand", "right hand"), ("background", "hand and arm")


class Named(tiny.Pictures):
    directory: Path

    def __repr__(self):
        return f"{self.info.name} {len(self)} 1.0.0"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    one = tiny.write_checkpoint(folder / "one", ("background", "hand"), dataset="set0/x")
    return [one, tiny.write_checkpoint(folder / "two", SIDES, seed=1, dataset="set1/x")]


@pytest.fixture
def world(monkeypatch, tmp_path_factory):
    """Small networks and datasets, and a list of what was scored."""
    monkeypatch.setattr(models, "create_model", tiny.create_model)
    sources = {
        "egohands/hands": Named([(24, 32)] * 3, tiny.DatasetInfo("egohands/hands", ("background", "hand"))),
        "gtea/left_right": Named([(24, 32)] * 4, tiny.DatasetInfo("gtea/left_right", SIDES), seed=1),
        "gtea/arm": Named([(24, 32)] * 2, tiny.DatasetInfo("gtea/arm", ARM)),
    }
    for name, source in sources.items():
        source.directory = tmp_path_factory.mktemp(name.replace("/", "_"))
        (source.directory / "record").write_text(name)
    for example in sources["egohands/hands"]:
        example["mask"][example["mask"] == 2] = 0
    for example in sources["gtea/arm"]:
        example["mask"][example["mask"] == 2] = 1
    monkeypatch.setattr(cross_dataset, "open_source", lambda name, split, folder: sources[name])
    scored = []

    def score(segmenter, source, options, run=cross_dataset.score):
        scored.append((segmenter.class_names, source.info.name))
        return run(segmenter, source, options)

    monkeypatch.setattr(cross_dataset, "score", score)
    return sources, scored


def _config(**evaluate):
    config = common.get_config()
    config.evaluate.scales = (1.0,)
    config.evaluate.protocols = ("strict",)
    config.evaluate.update(evaluate)
    return config


def test_every_pair_is_scored_once(runs, world, tmp_path, capsys, monkeypatch):
    sources, scored = world
    names = ["egohands/hands", "gtea/left_right"]
    cells = cross_dataset.cross_evaluate(_config(), tmp_path, runs, names)
    assert [(cell.checkpoint, cell.dataset) for cell in cells] == [(run, name) for run in runs for name in names]
    assert scored == [
        (("background", "hand"), "egohands/hands"),
        (("background", "hand"), "gtea/left_right"),
        (("background", "hand"), "egohands/hands"),
        (SIDES, "gtea/left_right"),
    ]
    # Computed with NumPy for the pair whose classes are merged only in the dataset.
    segmenter = Segmenter(tiny.Tiny(2), tiny.variables(2, 0), ("background", "hand"))
    counts = [
        metrics.count(np.where(e["mask"] == 2, 1, e["mask"]), segmenter(e["image"]).mask, 2)
        for e in sources["gtea/left_right"]
    ]
    expected = metrics.summarize(np.array(counts), ("background", "hand"))
    assert cells[1].entry["strict"]["hand_iou"] == expected["hand_iou"]
    assert f"{expected['per_image_iou']:.3f}" in capsys.readouterr().out

    del scored[:]
    again = cross_dataset.cross_evaluate(_config(), tmp_path, runs, names)
    assert scored == []
    assert [cell.entry for cell in again] == json.loads(json.dumps([cell.entry for cell in cells]))
    assert len(json.loads((tmp_path / cross_dataset.FILE).read_text())) == 4

    # A pair is scored again after a change of the dataset's length or files, an option, or the checkpoint.
    def score(segmenter, source, mapping, options):
        scored.append(source.info.name)
        return {name: figures for name, figures in again[0].entry.items() if name != "key"}

    monkeypatch.setattr(cross_dataset, "_score", score)
    sources["egohands/hands"].append(sources["egohands/hands"][0])
    cross_dataset.cross_evaluate(_config(), tmp_path, runs[:1], names)
    assert scored == ["egohands/hands"]
    cross_dataset.cross_evaluate(_config(flip=True), tmp_path, runs[:1], names)
    assert scored == ["egohands/hands", *names]
    description = Path(runs[1]) / checkpoint.DESCRIPTION
    os.utime(description, (0, 0))
    cross_dataset.cross_evaluate(_config(), tmp_path, runs[1:], names[1:])
    assert scored == ["egohands/hands", *names, names[1]]
    inside = sources[names[1]].directory / "results"
    for _ in range(2):
        cross_dataset.cross_evaluate(_config(), inside, runs[1:], names[1:])
    assert scored.pop() == names[1]  # once: its own results are not part of the dataset
    (sources[names[1]].directory / "record").write_text("gtea/right_left")  # no longer than before
    cross_dataset.cross_evaluate(_config(), tmp_path, runs[1:], names[1:])
    assert scored == ["egohands/hands", *names, names[1], names[1]]


def test_all_impossible_pairs_are_named_before_scoring(runs, world, tmp_path):
    _, scored = world
    with pytest.raises(UsageError, match=r"(?s)one \(.*gtea/arm.*two \(.*gtea/arm.*--policy=merge_to_hand"):
        cross_dataset.cross_evaluate(_config(), tmp_path / "out", runs, ["egohands/hands", "gtea/arm"])
    checkpoint.write_description(tmp_path / "empty", {"class_names": ("background", "hand")})
    with pytest.raises(UsageError, match="empty"):
        cross_dataset.cross_evaluate(_config(), tmp_path / "out", [str(tmp_path / "empty")], ["egohands/hands"])
    assert scored == []
    assert not (tmp_path / "out").exists()
    cells = cross_dataset.cross_evaluate(_config(), tmp_path, runs[:1], ["gtea/arm"], "merge_to_hand")
    assert cells[0].entry["classes"] == ["background", "hand"]


@pytest.mark.parametrize("given", [([], ["a"]), (["x"], []), (["x", "x"], ["a"]), (["x"], ["a", "a"])])
def test_lists_without_repetitions(given, tmp_path):
    with pytest.raises(UsageError, match=r"--(checkpoints|datasets) is"):
        cross_dataset.cross_evaluate(_config(), tmp_path, *given)


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": 1}'])
def test_damaged_results_are_kept(content, runs, world, tmp_path):
    (tmp_path / cross_dataset.FILE).write_text(content)
    with pytest.raises(UsageError, match=r"cross_dataset\.json is damaged"):
        cross_dataset.cross_evaluate(_config(), tmp_path, runs[:1], ["egohands/hands"])
    assert (tmp_path / cross_dataset.FILE).read_text() == content


def _cells(datasets, published=0.25):
    entry = {
        "strict": {"images": 9, "per_image_iou": None, "hand_iou": 0.5},
        "cvpr18": {"images": 9, "per_image_iou": published},
    }
    entry["intervals"] = {"per_image_iou": None, "hand_iou": [0.4, 0.6]}
    return [Cell(f"runs/{run}", "", name, entry) for run in ("a", "<b>$x_{$") for name in datasets]


def test_the_published_matrix(tmp_path):
    cells = _cells(["egohands/hands", "hof/resized", "mine"])
    text = cross_report.table(cells)
    below = text[text.index("published") :].splitlines()
    assert below[1].split() == ["EgoHands", "HOF"]
    assert below[2].split() == ["EgoHands", "0.814", "~0.503"]
    assert below[4].split() == ["GTEA", "~0.152", "~0.26"]

    figures = re.findall("<figure>.*?</figure>", cross_report.write(tmp_path, cells).read_text(), re.S)
    names = ["egohands/hands", "hof/resized", "mine", "a", "&lt;b&gt;$x_{$"]  # columns and rows
    theirs = ["EgoHands", "HOF", "EgoHands", "EYTH", "GTEA", "HOF"]
    theirs += ["0.814", "~0.503", "0.670", "0.528", "~0.152", "~0.26", "0.578", "0.766"]
    expected = [["0.250"] * 6 + names, theirs, ["-"] * 6 + names, ["0.500"] * 6 + names]
    for figure, texts in zip(figures, expected, strict=True):
        assert sorted(re.findall(">([^<]+)</text>", figure)) == sorted(texts)
