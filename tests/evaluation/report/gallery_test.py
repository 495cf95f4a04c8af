"""The worst images come first and not all of one video; every kind of error has its color."""

import cv2
import numpy as np
import pytest
import tiny

from refinenet_jax.evaluation.report import gallery
from refinenet_jax.evaluation.scores import Scores


def scores(counts, videos=None, **attributes):
    n = len(counts)
    ids = tuple(f"picture-{i}" for i in range(n))
    attributes = {name: np.array(values) for name, values in attributes.items()}
    return Scores(
        ("background", "hand"),
        ids,
        tuple(videos or [""] * n),
        np.array(counts, np.int64),
        np.zeros((n, 6), np.int64),
        attributes=attributes,
    )


def counts(*hits):
    """Of ten pixels of hand each; None for an image without any."""
    return [[[10, 0], [0, 0]] if hit is None else [[10, 0], [10 - hit, hit]] for hit in hits]


def test_every_kind_of_error_has_its_color():
    truth = np.array([[0, 0, 1, 1, 1, 255]], np.uint8)
    prediction = np.array([[0, 1, 0, 1, 2, 1]], np.uint8)
    image = np.full((1, 6, 3), (200, 100, 50), np.uint8)
    found = gallery.errors(image, truth, prediction).astype(int)
    assert len(set(found[0, 0])) == 1  # gray where nothing is
    kinds = (None, "false positive", "false negative", "hand, found", "other class", "void, not counted")
    for column, kind in enumerate(kinds[1:], 1):
        distances = {name: np.abs(found[0, column] - color).sum() for name, color in gallery.COLORS.items()}
        assert min(distances, key=distances.get) == kind, column
    assert (image == (200, 100, 50)).all()


def test_worst_images_at_most_two_of_one_video():
    table = scores(counts(0, 1, 2, 3, None, 9), videos=["a", "a", "a", "b", "b", ""])
    assert gallery.worst(table) == [0, 1, 3, 5]
    assert gallery.worst(table, limit=2) == [0, 1]


def test_single_images_are_no_video():
    assert gallery.worst(scores(counts(3, 2, 1, 0))) == [3, 2, 1, 0]


def test_of_equally_bad_images_the_one_with_more_wrong_pixels_comes_first():
    table = scores([[[10, 0], [5, 0]], [[10, 90], [5, 0]]])
    assert gallery.worst(table) == [1, 0]


def test_cases_tell_what_they_are_and_are_no_larger_than_a_page_needs():
    source = tiny.Pictures([(24, 32), (700, 1400)])
    table = scores([[[80, 4], [4, 12]], [[90, 6], [0, 0]]], hand_area=[0.16, 0.0])
    first, second = gallery.cases([0, 1], table, source, lambda example: example["mask"])
    assert first.caption == "picture-0: IoU 0.60, precision 0.75, recall 0.75, hands cover 16 %"
    assert second.caption == "picture-1: IoU 0.00, precision 0.00, recall -, hands cover 0 %"
    assert [picture.shape for picture in first.pictures] == [(24, 32, 3)] * 4
    assert [picture.shape for picture in second.pictures] == [(280, 560, 3)] * 4


@pytest.fixture(scope="module")
def source():
    return tiny.Pictures([(24, 32)] * 9)


def test_gallery_shows_best_first_and_worst_last(source, tmp_path, monkeypatch):
    """Six rows by hand IoU; pictures without hands in truth and prediction are left out."""
    captions = []
    monkeypatch.setattr(
        gallery.visualize,
        "gallery",
        lambda rows, texts, titles, draw=gallery.visualize.gallery: captions.extend(texts) or draw(rows, texts, titles),
    )
    path = tmp_path / "gallery.png"
    table = scores(counts(5, 1, 9, 2, 7, 3, 8, 4, None))
    assert gallery.write(path, lambda example: example["mask"], source, table)
    assert [text.split(": picture-")[0] for text in captions] == ["best", "best", "median", "median", "worst", "worst"]
    assert [int(text.split("picture-")[1].split()[0]) for text in captions] == [2, 6, 0, 4, 1, 3]
    assert cv2.imread(str(path)).shape[1] > 4 * 320


def test_gallery_of_nothing_is_no_file(source, tmp_path):
    assert not gallery.write(tmp_path / "x.png", lambda example: example["mask"], source, scores(counts(*[None] * 9)))
    assert not list(tmp_path.iterdir())
