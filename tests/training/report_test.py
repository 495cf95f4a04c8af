"""The page shows what the folder holds, holds itself together, and trusts no name in it."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from refinenet_jax import checkpoint
from refinenet_jax.evaluation.report import plots
from refinenet_jax.training import curves, log, report

EVIL = "<script>alert('1')</script>&\"$x_{$"


class Page(HTMLParser):
    """The text and the tags of a page, each of which is closed."""

    def __init__(self, path):
        super().__init__()
        self.text, self.tags, self.open = [], [], []
        self.source = path.read_text()
        self.feed(self.source)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def has(self, text):
        return any(text in part for part in self.text)

    @property
    def svgs(self):
        return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", self.source, re.S)]

    @property
    def headings(self):
        return re.findall(r"<h2>(.*?)</h2>", self.source)


def _log(workdir, steps=10, name="hand"):
    written = log.Log(workdir, 0)
    for step in range(1, steps + 1):
        terms = {"loss_cross_entropy": 1 / step, f"loss_{name}": 2 / step}
        speed = {"images_per_second": 20.0 + step} if step > 1 else {}
        figures = {"loss": 3 / step, "gradient_norm": 100.0 / step**3, "mean_iou": 0.1, "learning_rate": 1e-3}
        written.write(step, "train", {**figures, **terms, **speed})
        if step % 5 == 0:
            figures = {
                "mean_iou": 0.6123,
                "hand_iou": 0.3,
                "pixel_accuracy": 0.9,
                "iou": {"background": 0.9, name: None},
            }
            written.write(step, "evaluation", figures)
    written.event(3, "resumed")
    written.event(4, "step skipped", ids=[name, "b.jpg"])
    written.event(7, "example skipped", id=name, fault=f"{name} cannot be decoded")
    written.close()


def _run(workdir, name="hand"):
    """A folder with all that a run leaves behind, and `name` wherever names come from files."""
    description = {"variant": "rf101", "class_names": ["background", name], "flip_pairs": [[0, 1]], "dataset": name}
    checkpoint.write_description(workdir, {**description, "license": name, "scales": [0.6, 1.0]})
    _log(workdir, name=name)
    (workdir / "evaluation_x_test.html").write_text("a page")
    return Page(report.write_report(workdir))


def test_a_whole_run_is_on_the_page(tmp_path):
    page = _run(tmp_path)
    assert page.headings == [
        "Summary",
        "Network",
        "Curves",
        "Evaluations during training",
        "Evaluations of checkpoints",
        "Events",
    ]
    for text in ("rf101 on hand", "background, hand", "0.6, 1", "jax 0.", "0.6123", "evaluation_x_test.html"):
        assert page.has(text), text
    for text in ("resumed", "ids: hand, b.jpg", "id: hand; fault: hand cannot be decoded"):
        assert page.has(text), text
    assert re.findall(r"<tr class=best><td>(.*?)</td>", page.source) == ["10 · best"]  # the last of equals
    assert len(page.svgs) == 5
    assert report.write_report(tmp_path).read_text() == page.source


def test_page_is_self_contained_and_names_from_files_are_escaped(tmp_path):
    page = _run(tmp_path, EVIL)
    assert page.has(f"rf101 on {EVIL}")
    assert len(page.svgs) == 5
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "base"}
    references = [a[key] for _, a in page.tags for key in ("src", "href", "xlink:href", "srcset", "data") if key in a]
    assert references
    assert all(reference.startswith("#") for reference in references)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page.source))
    assert "@import" not in page.source
    ids = [attributes["id"] for tag, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))  # pictures do not draw with each other's pieces


def test_an_empty_folder_has_a_page(tmp_path):
    page = Page(report.write_report(tmp_path))
    assert page.has("nothing to show")
    assert [path.name for path in tmp_path.iterdir()] == [report.NAME]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_is_named_and_does_not_hide_the_rest(tmp_path, content):
    _log(tmp_path)
    (tmp_path / "model.json").write_bytes(content)
    page = Page(report.write_report(tmp_path))
    assert page.has("0.6123")
    assert page.has("cannot be read") or page.has("not a JSON object")


def test_figures_that_cannot_be_drawn_are_skipped(tmp_path):
    values = [None, "0.5", True, 10**400, -1.0, float("1e300"), [1], {"a": 1}]
    lines = [{"step": i, "kind": "train", "loss": value, "gradient_norm": None} for i, value in enumerate(values)]
    lines += [
        {"step": 10**400, "kind": "train", "loss": 1.0},
        {"step": 3, "kind": "evaluation", "iou": 3, "mean_iou": "x"},
    ]
    lines += [
        {"step": -5, "kind": "event", "what": ["resumed"], "time": 3},
        {"step": 10**40, "kind": "event", "what": "resumed"},
    ]
    (tmp_path / log.NAME).write_text(
        "\n".join(map(json.dumps, lines)) + '\n{"step": 1, "kind": "train", "loss": NaN}\n'
    )
    (tmp_path / "model.json").write_text(json.dumps({"class_names": 3, "flip_pairs": [[9, 9]], "half": "\ud800"}))
    page = Page(report.write_report(tmp_path))
    assert len(page.svgs) == 1


def test_page_of_a_long_run_is_bounded(tmp_path):
    with (tmp_path / log.NAME).open("w") as file:
        for step in range(20_000):
            figures = {"loss": 1 / (step + 1) if step % 2 else None}
            file.write(json.dumps({"step": step, "kind": "train", **figures}) + "\n")
        for step in range(500):
            file.write(json.dumps({"step": step, "kind": "event", "what": "resumed"}) + "\n")
    page = Page(report.write_report(tmp_path))
    assert page.has("log.jsonl has 300 more.")
    assert len(page.source) < 300_000


def test_long_curves_are_averaged_and_keep_their_gaps():
    steps, values = curves._thin({float(i): float(i) if 300 <= i < 900 else np.nan for i in range(1200)})
    assert len(steps) == 600
    np.testing.assert_allclose(values[150:450], steps[150:450])
    assert np.isnan(values[:150]).all()
    assert np.isnan(values[450:]).all()


def test_a_logarithmic_axis_only_where_values_spread():
    def ticks(values):
        svg = plots.svg("x", curves.draw, [dict(enumerate(values))], "log")
        return re.findall(r">([\d.e-]+)</text>", svg)

    assert {"1", "10", "100"} <= set(ticks([0.5, 1.0, 10.0, 200.0]))
    assert "100" in ticks([5.0, 50.0, 200.0, 150.0])
    assert "150" in ticks([5.0, 50.0, 200.0, 150.0])  # at equal distances
    assert "150" in ticks([0.0, 1.0, 10.0, 200.0])
