"""The table in the terminal; metrics.json keeps its other entries, and other programs can read the CSV."""

import csv
import json

import numpy as np
import pytest
import tiny
from tiny import scores

from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import protocols
from refinenet_jax.evaluation.analysis import calibration
from refinenet_jax.evaluation.report import report

VIDEOS = ["v0", "v1"] * 10000
GOOD, FAIR, EMPTY = [[80, 4], [4, 12]], [[90, 0], [6, 4]], [[100, 0], [0, 0]]


def table(*asked, counts=(GOOD, FAIR, EMPTY), name="mine", **more):
    figures = protocols.figures(scores(counts, videos=VIDEOS[: len(counts)], **more), name, asked)
    text = report.table(f"{name} [test], scales 0.6, 0.8, 1.0, flipped", figures)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    assert "nan" not in text.lower()
    return lines


def row(lines, name):
    (line,) = [line for line in lines if line.startswith(name + " ")]
    return line.removeprefix(name).split()


def test_figures_of_all_protocols_and_their_intervals():
    lines = table("strict", "cvpr18", "seed")
    assert row(lines, "hand IoU, mean per image") == ["0.5000", "0.400", "-", "0.600", "0.3333"]  # 1 / 2 and 1 / 3
    assert row(lines, "hand IoU, all pixels")[0] == row(lines, "hand IoU, all pixels")[-1] == "0.5333"  # 16 / 30
    histogram = np.zeros((calibration.BINS, len(calibration.COLUMNS)), np.int64)
    histogram[-1] = [100, 90, 100 * 65536]
    assert row(table("strict", calibration=histogram), "calibration error") == ["0.1000"]
    absent = [[[9, 1, 0], [0, 0, 0], [0, 0, 0]]] * 12345
    assert row(table("strict", counts=absent, class_names=tiny.SQUARES.class_names), "IoU of green") == ["absent"]
    assert row(table("seed", counts=[[[9, 1], [1, 0]]]), "hand IoU, all pixels") == ["0.0000"]
    table(
        "strict",
        "cvpr18",
        "seed",
        class_names=("background", "the left hand of the person at the other side of the table"),
    )


def test_notes():
    lines = table("strict", "cvpr18", counts=[GOOD, EMPTY], name="egohands/hands", found=np.array([True, False]))
    notes = "\n".join(lines)
    for fact in ("2 images, 1 of them without hands", "missing predictions: 1", "2 images, divided by 800"):
        assert fact in notes
    assert "divided by" not in "\n".join(table("strict", "cvpr18"))


def test_metrics_file_keeps_its_other_entries(tmp_path):
    path = tmp_path / "metrics.json"
    report.write_metrics(path, "a", {"mean_iou": 0.5})
    report.write_metrics(path, "b", {"mean_iou": None})
    report.write_metrics(path, "a", {"mean_iou": 0.75})
    assert json.loads(path.read_text()) == {"a": {"mean_iou": 0.75}, "b": {"mean_iou": None}}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


@pytest.mark.parametrize("content", [b'{"a": ', b"[1]", b"\x80"])
def test_damaged_metrics_file_is_kept(content, tmp_path):
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"metrics\.json is damaged"):
        report.write_metrics(path, "a", {})
    assert path.read_bytes() == content


def test_rows_of_images(tmp_path):
    more = {"attributes": {"hands": np.array([1.0, np.nan, 2.0]), "skin_tone": np.array(["tan", "", 'a,"b"'])}}
    published = np.array([FAIR, EMPTY, GOOD], np.int64)
    path = tmp_path / "images.csv"
    found = np.array([True, True, False])
    report.write_per_image(path, scores([GOOD, FAIR, EMPTY], videos=VIDEOS[:3], cvpr18=published, found=found, **more))
    rows = list(csv.DictReader(path.open(newline="")))
    assert [row["id"] for row in rows] == ["0", "1", "2"]
    assert [row["video"] for row in rows] == ["v0", "v1", "v0"]
    assert [row["hand_iou"] for row in rows] == ["0.6", "0.4", ""]  # no hand in truth and prediction
    assert [row["hand_precision"] for row in rows] == ["0.75", "1", ""]
    assert [row["iou_background"] for row in rows] == [f"{80 / 88:.6g}", f"{90 / 96:.6g}", "1"]
    assert [row["boundary_iou"] for row in rows] == ["0.25"] * 3
    assert [row["cvpr18_iou"] for row in rows] == ["0.4", "0", "0.6"]  # 0 there
    assert [row["has_prediction"] for row in rows] == ["1", "1", "0"]
    assert [row["hands"] for row in rows] == ["1", "", "2"]
    assert [row["skin_tone"] for row in rows] == ["tan", "", 'a,"b"']
    assert [p.name for p in tmp_path.iterdir()] == ["images.csv"]
