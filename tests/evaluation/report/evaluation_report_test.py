"""The page shows the figures of the scores, and names in it are escaped."""

import html
import re

import numpy as np
import pytest
import tiny

from refinenet_jax.evaluation import protocols
from refinenet_jax.evaluation.analysis import calibration, slices
from refinenet_jax.evaluation.analysis.flicker import Flicker
from refinenet_jax.evaluation.report import evaluation_report, published
from refinenet_jax.evaluation.report.evaluation_report import Evaluation
from refinenet_jax.evaluation.scores import Scores

EVIL = "<script>alert('1')</script>&\"$x_{$"
N = 48


def make(videos=True, name="v"):
    """48 images of 1,000 pixels with 100 of hand: 90 found in bright ones, 30 in others."""
    hits = np.where(np.arange(N) % 2, 30, 90) + np.arange(N) % 5
    counts = np.stack([np.tile([890, 10], (N, 1)), np.stack([100 - hits, hits], -1)], 1).astype(np.int64)
    attributes = {
        "hand_area": np.where(np.arange(N) % 2, 0.02, 0.1),
        "hands": np.array([float(i == 7) + 1 for i in range(N)]),  # one image alone has two
        "skin_tone": np.array([("light", "tan")[i % 3 == 0] for i in range(N)]),
    }
    return Scores(
        ("background", "hand"),
        tuple(f"{name}{i % 8}/{i}" for i in range(N)),
        tuple(f"{name}{i % 8}" for i in range(N)) if videos else ("",) * N,
        counts,
        np.tile(np.array([10, 8, 12, 9, 5, 20]), (N, 1)),
        calibration=np.tile(np.array([100, 60, 80 * 65536]), (calibration.BINS, 1)),
        attributes=attributes,
    )


def write(tmp_path, scores, name="egohands/hands", requested=protocols.PROTOCOLS, corruptions=None, flicker=None):
    source = tiny.Pictures([(24, 32)] * len(scores), tiny.DatasetInfo(name, scores.class_names))
    predict = lambda example: 1 - (example["mask"] > 0)  # noqa: E731
    evaluation = Evaluation(source, "test", scores, predict, requested, "title", {"checkpoint": "runs/x"}, corruptions)
    evaluation.__dict__["flicker"] = flicker
    path = evaluation_report.write_page(tmp_path, "name_test", evaluation)
    return path, path.read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A page with all sections."""
    folder = tmp_path_factory.mktemp("whole")
    row = dict.fromkeys(slices.FIGURES, 0.5)
    worse = {
        kind: {0: row, 1: {**row, "hand_iou": 0.25}, 2: {**row, "hand_iou": np.nan}} for kind in ("motion_blur", "mean")
    }
    steadiness = Flicker({"v0": 0.3}, {"v0": 0.1}, 2)
    return write(folder, make(), corruptions=worse, flicker=steadiness)


def test_figures_and_findings(whole):
    _, source = whole
    expected = slices.figures(make())
    figures = f"{expected['hand_iou']:.3f}", "0.100", "0.300", "runs/x", "motion blur", "0.250", "0.814"
    for text in (*figures, "bootstrap over 8 videos", slices.findings(slices.slices(make()))[0], slices.TEST):
        assert html.escape(text) in source, text
    rows = re.findall(r"<tr><td>(hands \d[^<]*)</td>(.*?)</tr>", source)
    assert [label for label, _ in rows] == ["hands 1", "hands 2 *"]  # few images
    assert rows[1][1].endswith("<td>-</td>")  # not tested


def test_the_page_is_self_contained(whole):
    _, source = whole
    assert not re.search("<(script|link|iframe|object|base)", source)
    references = re.findall(r' (?:src|href|xlink:href|srcset|data)="([^"]*)"', source)
    assert len(references) == 4 * 10
    assert all(reference.startswith("data:image/jpeg;base64,") for reference in references)
    assert "url(" not in source


def test_names_are_escaped_on_a_page_with_few_sections(tmp_path):
    """Without videos, probabilities, protocol strict, or a difference between slices."""
    scores = make(videos=False, name=EVIL)
    scores = Scores(
        scores.class_names,
        scores.ids,
        scores.videos,
        np.tile(scores.counts[:1], (N, 1, 1)),
        scores.boundary,
        attributes={"hand_area": scores.attributes["hand_area"]},
    )
    path, source = write(tmp_path, scores, name=EVIL, requested=("seed",))
    assert not slices.findings(slices.slices(scores))
    assert html.escape(EVIL) in source
    assert "<script" not in source
    assert not {"Corruptions", "Videos", "Flicker"} & set(re.findall("<h2>(.*?)</h2>", source))
    first = path.read_bytes()
    assert write(tmp_path, scores, name=EVIL, requested=("seed",))[0].read_bytes() == first


def test_published_scores():
    assert published.rows("mine") == []
    assert published.small_and_big("mine") == ""
    assert published.rows("gtea/wrist:1.0.0")[0][1] == "0.821"
