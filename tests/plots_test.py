"""Figures in one style that does not leak, as files and as elements of which many stand on one page."""

import re
from xml.etree import ElementTree

import cv2
import matplotlib
from matplotlib.figure import Figure

from refinenet_jax import plots


def _figure():
    with plots.style():
        figure = Figure(figsize=(2, 1), layout="constrained")
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], "o", label="<a & b>")
        axes.fill_between([0, 1], [0, 1], hatch="/")
        axes.legend()
        return figure


def test_style_is_left_when_a_figure_is_drawn():
    before = dict(matplotlib.rcParams)
    with plots.style("salt"):
        assert matplotlib.rcParams["svg.hashsalt"] == "salt"
        assert matplotlib.rcParams["font.size"] == 8
    assert dict(matplotlib.rcParams) == before


def test_figures_of_one_page_share_no_names_and_are_always_the_same():
    first, second = plots.svg(_figure(), "first"), plots.svg(_figure(), "second")
    names = [re.findall(r' id="([^"]*)"', svg) for svg in (first, second)]
    assert all(len(set(found)) == len(found) > 0 for found in names)
    assert not set(names[0]) & set(names[1])
    for svg, found in zip((first, second), names, strict=True):
        assert set(re.findall(r"#([\w-]+)[\")]", svg)) <= {*found, *re.findall(r"#([0-9a-f]{6})", svg)}
    assert plots.svg(_figure(), "first") == first
    assert "&lt;a &amp; b&gt;" in first
    assert "<metadata" not in first


def test_files_are_what_the_page_shows(tmp_path):
    element = plots.write(_figure(), tmp_path / "figures", "x")
    assert cv2.imread(str(tmp_path / "figures" / "x.png")).shape == (200, 400, 3)
    written = (tmp_path / "figures" / "x.svg").read_text()
    assert written.endswith(element)
    assert ElementTree.fromstring(written.encode()).tag.endswith("svg")
