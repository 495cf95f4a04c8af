"""The page shows the figures of the scores; names in it are escaped; its charts show the given numbers."""

import html
import re

import numpy as np
import pytest
import tiny

from refinenet_jax.evaluation import protocols
from refinenet_jax.evaluation.analysis import calibration, slices
from refinenet_jax.evaluation.analysis.flicker import Flicker
from refinenet_jax.evaluation.report import evaluation_report, figures, published
from refinenet_jax.evaluation.report.evaluation_report import Evaluation
from refinenet_jax.evaluation.report.figures import Estimate
from refinenet_jax.evaluation.scores import Scores

EVIL = "<script>alert('1')</script>&\"$x_{$"
N = 48


def make(videos=True, places=("office", "yard"), name="v"):
    """48 images of 1,000 pixels with 100 of hand: 90 found in one place, 30 in the other."""
    place = [places[i % 2] for i in range(N)]
    hits = np.where(np.array(place) == places[0], 90, 30) + np.arange(N) % 5
    counts = np.stack([np.tile([890, 10], (N, 1)), np.stack([100 - hits, hits], -1)], 1).astype(np.int64)
    attributes = {
        "place": np.array(place),
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


def curve(*values):
    known = np.array(values)
    return {"mean": float(known.mean()), "frames": 3 * np.arange(len(values)), "flicker": known}


def write(tmp_path, scores, name="egohands/hands", requested=protocols.PROTOCOLS, corruptions=None, flicker=None):
    source = tiny.Pictures([(24, 32)] * len(scores), tiny.DatasetInfo(name, scores.class_names))
    about, settings = {"checkpoint": "runs/x"}, {"empty": ""}
    predict = lambda example: 1 - (example["mask"] > 0)  # noqa: E731
    evaluation = Evaluation(source, "test", scores, predict, requested, "title", about, settings, corruptions)
    evaluation.__dict__["flicker"] = flicker
    path = evaluation_report.write(tmp_path, "name_test", evaluation)
    return path, path.read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A page with all sections."""
    folder = tmp_path_factory.mktemp("whole")
    row = dict.fromkeys(slices.FIGURES, 0.5)
    worse = {
        kind: {0: row, 1: {**row, "hand_iou": 0.25}, 2: {**row, "hand_iou": np.nan}} for kind in ("motion_blur", "mean")
    }
    steadiness = Flicker({"v0": curve(0.2, 0.4)}, {"v0": curve(0.1, 0.1)})
    return write(folder, make(), corruptions=worse, flicker=steadiness)


def test_figures_and_findings(whole):
    path, source = whole
    expected = slices.figures(make())
    figures = f"{expected['hand_iou']:.3f}", "true masks 0.100", "0.300", "runs/x", "motion blur", "0.250", "0.814"
    for text in (*figures, "bootstrap over 8 videos", slices.findings(slices.slices(make()))[0], slices.TEST):
        assert html.escape(text) in source, text
    rows = re.findall(r"<tr><td>(hands \d[^<]*)</td>(.*?)</tr>", source)
    assert [label for label, _ in rows] == ["hands 1", "hands 2 *"]  # few images
    assert rows[1][1].endswith("<td>-</td>")  # no p-value
    charts = {chart.name for chart in (path.parent / "figures" / "name_test").iterdir()}
    names = ("reliability", "images", "corruptions", "videos", "flicker_00", "slices_place")
    assert {f"{name}.{kind}" for name in names for kind in ("png", "svg")} <= charts


def test_the_page_is_self_contained(whole):
    _, source = whole
    assert not re.search("<(script|link|iframe|object|base)", source)
    references = re.findall(r' (?:src|href|xlink:href|srcset|data)="([^"]*)"', source)
    assert len(references) > 40
    assert all(reference.startswith(("data:image/jpeg;base64,", "#")) for reference in references)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", source))
    ids = re.findall(r' id="([^"]*)"', source)
    assert len(ids) == len(set(ids))


def test_names_are_escaped_on_a_page_with_few_sections(tmp_path):
    """Without videos, probabilities, protocol strict, or a difference between slices."""
    scores = make(videos=False, places=("a", EVIL), name=EVIL)
    scores = Scores(
        scores.class_names,
        scores.ids,
        scores.videos,
        np.tile(scores.counts[:1], (N, 1, 1)),
        scores.boundary,
        attributes={"place": scores.attributes["place"]},
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
    assert published.value(published.MATRIX["gtea"]["hof"]) == 0.26


def test_charts_show_the_given_numbers():
    rows = [Estimate("a", 0.4, (0.3, 0.5), 12), Estimate("b", 0.6, None, 3, few=True)]
    (axes,) = figures.intervals(rows, Estimate("all", 0.5, (0.45, 0.55), 15), (0.2, 0.8)).axes
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
    assert lines == [([0.5, 0.5], [0, 1]), ([0.3, 0.5], [0, 0]), ([0.4], [0]), ([0.6], [1])]
    (axes,) = figures.distributions({"x": np.array([0.5, np.nan, 0.25])}).axes
    assert axes.lines[0].get_xdata().tolist() == [0, 0.25, 0.5, 1]
    assert axes.lines[0].get_ydata().tolist() == [1, 1, 0.5, 0]
    points = {"frames": np.array([1, 5, 40]), "flicker": np.array([0.1, 0.2, 0.3])}
    (axes,) = figures.flicker(points, points, 10, 1.0).axes
    np.testing.assert_array_equal(axes.lines[0].get_xdata(), [1, 5, np.nan, 40])  # not connected over a gap
    histogram = np.zeros((calibration.BINS, 3), np.int64)
    histogram[9], histogram[14] = (100, 40, 65 * 65536), (300, 290, 297 * 65536)
    axes, below = figures.reliability(histogram).axes
    assert [round(bar.get_height(), 6) for bar in axes.patches] == [0.4, round(290 / 300, 6)]
    assert [bar.get_height() for bar in below.patches] == [0.25, 0.75]
