"""The table fits a terminal and hides nothing; the files keep what they held and can be read by other programs."""

import csv
import json

import numpy as np
import pytest
import tiny

from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import protocols
from refinenet_jax.evaluation.analysis import calibration
from refinenet_jax.evaluation.report import report
from refinenet_jax.evaluation.scores import Scores

GOOD, FAIR, EMPTY = [[80, 4], [4, 12]], [[90, 0], [6, 4]], [[100, 0], [0, 0]]


def scores(counts, names=("background", "hand"), **more):
    n = len(counts)
    outlines = np.tile(np.array([10, 8, 12, 9, 5, 20]), (n, 1))
    ids, videos = tuple(f"v{i % 2}/{i}" for i in range(n)), tuple(f"v{i % 2}" for i in range(n))
    return Scores(names, ids, videos, np.array(counts, np.int64), outlines, **more)


def table(*asked, counts=(GOOD, FAIR, EMPTY), name="mine", **more):
    figures = protocols.figures(scores(counts, **more), name, asked)
    text = report.table(f"{name} [test], scales 0.6, 0.8, 1.0, flipped", figures)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "nan" not in text.lower()
    return lines


def row(lines, name):
    (line,) = [line for line in lines if line.startswith(name + " ")]
    return line.removeprefix(name).split()


def test_protocols_stand_side_by_side_under_their_names():
    lines = table("strict", "cvpr18", "seed")
    (head,) = [line for line in lines if line.split() == ["strict", "cvpr18", "seed"]]
    strict, published, seed = (head.index(name) + len(name) for name in ("strict", "cvpr18", "seed"))
    (line,) = [line for line in lines if line.startswith("hand IoU, mean per image")]
    assert line[:strict].endswith("0.5000")  # (0.6 + 0.4) / 2
    assert line[:published].endswith("0.3333")  # (0.6 + 0.4 + 0) / 3
    assert len(line) == published
    (line,) = [line for line in lines if line.startswith("hand IoU, all pixels")]
    assert line[:strict].endswith("0.5333")  # 16 / 30
    assert line[:seed].endswith("0.5333")
    assert line[strict + 16 : published].strip() == ""


def test_intervals_stand_beside_the_strict_figures():
    lines = table("strict", counts=(GOOD, FAIR) * 10)
    value, low, dash, high = row(lines, "hand IoU, mean per image")
    assert (value, low, dash, high) == ("0.5000", "0.400", "-", "0.600")  # two videos, one of each kind
    assert any(line.startswith("95 % intervals: bootstrap over 2 videos") for line in lines)


def test_one_protocol_alone():
    assert row(table("seed"), "IoU of background") == [f"{270 / 284:.4f}"]
    assert row(table("cvpr18"), "hand IoU, mean per image") == ["0.3333"]


def test_absent_class_is_told():
    lines = table("strict", "seed", counts=[[[9, 1, 0], [0, 0, 0], [0, 0, 0]]] * 12345, names=tiny.SQUARES.class_names)
    assert row(lines, "IoU of green") == ["absent"]
    assert row(lines, "IoU of background") == ["0.9000", "0.9000"]


def test_what_has_to_be_known_is_noted():
    lines = table("strict", "cvpr18", counts=[GOOD, EMPTY], name="egohands/hands", found=np.array([True, False]))
    notes = "\n".join(lines)
    assert "2 images, 1 of them without hands in truth and prediction" in notes
    assert "missing predictions: 1, counted as all background" in notes
    assert "cvpr18: sums over 2 images, divided by 800 as the published script does" in notes
    assert "divided by" not in "\n".join(table("strict", "cvpr18"))


def test_calibration_error_stands_in_the_table_where_it_is_known():
    histogram = np.zeros((calibration.BINS, len(calibration.COLUMNS)), np.int64)
    histogram[-1] = [100, 90, 100 * 65536]  # always sure, right nine times of ten
    assert row(table("strict", calibration=histogram), "calibration error") == ["0.1000"]


def test_long_names_do_not_make_the_table_wider():
    names = ("background", "the left hand of whoever stands on the other side of the very long table")
    assert row(table("strict", "cvpr18", "seed", names=names), "IoU of the left hand of whoeve")


def test_metrics_file_keeps_its_other_entries(tmp_path):
    path = tmp_path / "metrics.json"
    report.write_metrics(path, "a", {"mean_iou": 0.5})
    report.write_metrics(path, "b", {"mean_iou": None})
    report.write_metrics(path, "a", {"mean_iou": 0.75})
    assert json.loads(path.read_text()) == {"a": {"mean_iou": 0.75}, "b": {"mean_iou": None}}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("content", ['{"a": ', "[1]", "\udc80"])
def test_damaged_metrics_file_is_named_and_left_as_it_is(content, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=r"metrics\.json is damaged"):
        report.write_metrics(path, "a", {})
    assert path.read_bytes() == content.encode("utf-8", "surrogateescape")


def test_rows_of_images(tmp_path):
    more = {"attributes": {"hands": np.array([1.0, np.nan, 2.0]), "place": np.array(["OFFICE", "", 'a,"b"'])}}
    published = np.array([FAIR, EMPTY, GOOD], np.int64)
    path = tmp_path / "images.csv"
    found = np.array([True, True, False])
    report.write_per_image(path, scores([GOOD, FAIR, EMPTY], cvpr18=published, found=found, **more))
    rows = list(csv.DictReader(path.open(newline="")))
    assert [row["id"] for row in rows] == ["v0/0", "v1/1", "v0/2"]
    assert [row["video"] for row in rows] == ["v0", "v1", "v0"]
    assert [row["hand_iou"] for row in rows] == ["0.6", "0.4", ""]  # no hand in truth and prediction
    assert [row["hand_precision"] for row in rows] == ["0.75", "1", ""]
    assert [row["iou_background"] for row in rows] == [f"{80 / 88:.6g}", f"{90 / 96:.6g}", "1"]
    assert [row["boundary_iou"] for row in rows] == ["0.25"] * 3
    assert [row["cvpr18_iou"] for row in rows] == ["0.4", "0", "0.6"]  # 0 there
    assert [row["has_prediction"] for row in rows] == ["1", "1", "0"]
    assert [row["hands"] for row in rows] == ["1", "", "2"]
    assert [row["place"] for row in rows] == ["OFFICE", "", 'a,"b"']
    assert [p.name for p in tmp_path.iterdir()] == ["images.csv"]
