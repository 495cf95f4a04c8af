"""Figures as files and as elements of a page."""

import re
from xml.etree import ElementTree

import cv2
from matplotlib.figure import Figure

from refinenet_jax.evaluation.report import plots


def _figure():
    with plots.style():
        figure = Figure(figsize=(2, 1), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], "o", label="<a & b>")
        axes.fill_between([0, 1], [0, 1], hatch="/")
        axes.legend()
        return figure


def test_figures_have_distinct_ids_and_are_reproducible():
    first, second = plots.svg(_figure(), "first"), plots.svg(_figure(), "second")
    names = [re.findall(r' id="([^"]*)"', svg) for svg in (first, second)]
    assert all(len(set(found)) == len(found) > 0 for found in names)
    assert not set(names[0]) & set(names[1])
    for svg, found in zip((first, second), names, strict=True):
        assert set(re.findall(r"#([\w-]+)[\")]", svg)) <= {*found, *re.findall(r"#([0-9a-f]{6})", svg)}
    assert plots.svg(_figure(), "first") == first
    assert "&lt;a &amp; b&gt;" in first
    assert "<metadata" not in first


def test_files_equal_the_element_on_the_page(tmp_path):
    element = plots.write(_figure(), tmp_path / "figures", "x")
    assert cv2.imread(str(tmp_path / "figures" / "x.png")).shape == (200, 400, 3)
    written = (tmp_path / "figures" / "x.svg").read_text()
    assert written.endswith(element)
    assert ElementTree.fromstring(written.encode()).tag.endswith("svg")
