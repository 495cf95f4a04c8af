"""Selection of the worst images, and the colors of errors."""

import re

import numpy as np
import tiny
from tiny import scores

from refinenet_jax.evaluation.report import gallery


def counts(*hits):
    """Images with ten pixels of hand each; None for an image without hands."""
    return [[[10, 0], [0, 0]] if hit is None else [[10, 0], [10 - hit, hit]] for hit in hits]


def test_colors_of_errors():
    truth = np.array([[0, 0, 1, 1, 1, 255]], np.uint8)
    prediction = np.array([[0, 1, 0, 1, 2, 1]], np.uint8)
    image = np.full((1, 6, 3), (200, 100, 50), np.uint8)
    found = gallery.errors(image, truth, prediction).astype(int)
    assert len(set(found[0, 0])) == 1  # gray background
    kinds = (None, "false positive", "false negative", "hand, found", "other class", "void, not counted")
    for column, kind in enumerate(kinds[1:], 1):
        distances = {name: np.abs(found[0, column] - color).sum() for name, color in gallery.COLORS.items()}
        assert min(distances, key=distances.get) == kind, column
    assert (image == (200, 100, 50)).all()


def test_worst_images_at_most_two_of_one_video():
    table = scores(counts(0, 1, 2, 3, None, 9), videos=["a", "a", "a", "b", "b", ""])
    assert gallery.worst(table) == [0, 1, 3, 5]
    assert gallery.worst(table, limit=2) == [0, 1]
    assert gallery.worst(scores(counts(3, 2, 1, 0))) == [3, 2, 1, 0]  # without videos
    assert gallery.worst(scores([[[10, 0], [5, 0]], [[10, 90], [5, 0]]])) == [1, 0]  # equal IoU, more wrong pixels


def test_cases():
    source = tiny.Pictures([(24, 32), (700, 1400)])
    table = scores([[[80, 4], [4, 12]], [[90, 6], [0, 0]]])
    (first, pictures), (second, reduced) = gallery.cases([0, 1], table, source, lambda example: example["mask"])
    assert first == "0: IoU 0.60, precision 0.75, recall 0.75"
    assert second == "1: IoU 0.00, precision 0.00, recall -"
    assert [picture.shape for picture in pictures] == [(24, 32, 3)] * 4
    assert [picture.shape for picture in reduced] == [(280, 560, 3)] * 4


def test_gallery_from_best_to_worst(tmp_path, monkeypatch):
    """Six rows by hand IoU, without pictures that have no hands in truth and prediction."""
    captions, draw = [], gallery.visualize.gallery
    monkeypatch.setattr(
        gallery.visualize, "gallery", lambda rows, texts, *more: captions.extend(texts) or draw(rows, texts, *more)
    )
    source, path = tiny.Pictures([(24, 32)] * 9), tmp_path / "gallery.png"
    table = scores(counts(5, 1, 9, 2, 7, 3, 8, 4, None))
    assert gallery.write(path, lambda example: example["mask"], source, table)
    shown = [re.match(r"(\w+): (\d)", caption).groups() for caption in captions]
    assert shown == list(zip(("best", "best", "median", "median", "worst", "worst"), "260413", strict=True))
    path.unlink()
    assert not gallery.write(path, lambda example: example["mask"], source, scores(counts(*[None] * 9)))
    assert not path.exists()
