"""The page and its charts show the given numbers, and names in it are escaped."""

import html
import re

import numpy as np
import pytest
import tiny
from matplotlib.figure import Figure

from refinenet_jax.evaluation import protocols
from refinenet_jax.evaluation.analysis import calibration, corruptions, slices
from refinenet_jax.evaluation.analysis.flicker import Flicker
from refinenet_jax.evaluation.report import evaluation_report, figures, published
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
    numbers = f"{expected['hand_iou']:.3f}", "0.100", "0.300", "runs/x", "motion blur", "0.250", "0.814"
    for text in (*numbers, "bootstrap over 8 videos", slices.findings(slices.slices(make()))[0], slices.TEST):
        assert html.escape(text) in source, text
    rows = re.findall(r"<tr><td>(hands \d[^<]*)</td>(.*?)</tr>", source)
    assert [label for label, _ in rows] == ["hands 1", "hands 2 *"]  # few images
    assert rows[1][1].endswith("<td>-</td>")  # not tested
    titles = ["Hand area", "Small and big hands", "Hands", "Skin tone", "Reliability", "Hand IoU by strength"]
    assert re.findall("<figure><figcaption><b>(.*?)</b> </figcaption>\n<svg", source) == titles


def test_the_page_is_self_contained(whole):
    _, source = whole
    assert not re.search("<(script|link|iframe|object|base)", source)
    references = re.findall(r' (?:src|href|xlink:href|srcset|data)="([^"]*)"', source)
    assert all(reference.startswith(("data:image/jpeg;base64,", "#")) for reference in references)
    ids = re.findall(r' id="([^"]*)"', source)
    targets = re.findall(r"url\(([^)]*)\)", source) + [r for r in references if r.startswith("#")]
    assert {target.removeprefix("#") for target in targets} <= set(ids)
    assert len(ids) == len(set(ids)) > 0  # figures do not draw with each other's pieces


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


def test_charts_show_the_given_numbers():
    def axes(draw, *arguments):
        draw(figure := Figure(), *arguments)
        return figure.axes

    def points(line):
        return list(line.get_xdata()), list(line.get_ydata())

    (chart,) = axes(figures.intervals, [("a", 0.4, (0.3, 0.5)), ("b", 0.6, None)], 0.5, (0.2, 0.8))
    lines = [([0.5, 0.5], [0, 1]), ([0.3, 0.5], [0, 0]), ([0.4], [0]), ([], []), ([0.6], [1])]
    assert list(map(points, chart.lines)) == lines
    assert [label.get_text() for label in chart.get_yticklabels()] == ["a", "b"]

    histogram = np.zeros((calibration.BINS, 3), np.int64)
    histogram[9], histogram[14] = (100, 40, 65 * 65536), (300, 290, 297 * 65536)
    chart, below = axes(figures.reliability, histogram)
    np.testing.assert_allclose([bar.get_height() for bar in chart.patches], [0.4, 290 / 300])
    np.testing.assert_allclose([bar.get_x() for bar in chart.patches], [9 / 15, 14 / 15])
    np.testing.assert_allclose(points(chart.lines[1]), [[0.65, 0.99], [0.4, 290 / 300]])
    assert [bar.get_height() for bar in below.patches] == [0.25, 0.75]

    kinds = [*corruptions.CORRUPTIONS, "mean"]
    (chart,) = axes(figures.corruptions, {k: {s: {"hand_iou": i + s} for s in (0, 1)} for i, k in enumerate(kinds)})
    assert list(map(points, chart.lines)) == [([0, 1], [i, i + 1]) for i in range(len(kinds))]

    (chart,) = axes(figures.matrix, ["a", "b"], ["x", "y"], [["0.814", "-"], ["~0.26", "1.000"]])
    assert chart.images[0].get_array().tolist() == [[0.814, None], [0.26, 1]]
    assert [text.get_text() for text in chart.texts] == ["0.814", "-", "~0.26", "1.000"]
