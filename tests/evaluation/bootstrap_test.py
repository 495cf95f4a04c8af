"""Intervals compared with a plain bootstrap over tables."""

import numpy as np
import pytest

from refinenet_jax.evaluation import bootstrap, protocols
from refinenet_jax.evaluation.scores import Scores


def population(videos: int, images: int, seed: int, names: tuple[str, ...] = ("background", "hand")) -> Scores:
    """Videos whose share of found hand pixels differs more between than within them."""
    rng = np.random.default_rng(seed)
    share = np.clip(rng.normal(0.7, 0.15, videos).repeat(images) + rng.normal(0, 0.05, videos * images), 0.02, 0.98)
    n, classes = len(share), len(names)
    counts = np.zeros((n, classes, classes), np.int64)
    there = rng.integers(1000, 5000, n)
    for hand in range(1, classes):
        counts[:, hand, hand] = there * share / hand
        counts[:, hand, 0] = there - counts[:, hand, hand]
        counts[:, 0, hand] = there * (1 - share)
    counts[:, 0, 0] = 100_000
    outline = (1000 * share).astype(np.int64)
    boundary = np.stack([np.full(n, 1000), outline, np.full(n, 900), outline // 2, 3 * outline, np.full(n, 4000)], -1)
    return Scores(
        class_names=names,
        ids=tuple(f"image{i}" for i in range(n)),
        videos=tuple(f"video{i // images}" for i in range(n)),
        counts=counts,
        boundary=boundary,
    )


def without_videos(scores: Scores, images: range) -> Scores:
    videos = tuple("" if i in images else video for i, video in enumerate(scores.videos))
    return Scores(scores.class_names, scores.ids, videos, scores.counts, scores.boundary)


@pytest.mark.parametrize("single", [range(0), range(5, 12), range(24)])
def test_equals_a_plain_bootstrap_over_tables(single):
    """Only videos, videos and single images, and only images; two images are empty, one has a false hand."""
    scores = population(4, 6, 0, ("background", "left", "right"))
    scores.counts[[2, 9], :, 1:], scores.counts[[2, 9], 1:] = 0, 0
    scores.boundary[[2, 9]] = 0
    scores.counts[13, 1:], scores.boundary[13] = 0, [70, 0, 0, 0, 0, 100]
    scores = without_videos(scores, single)
    units: dict[str, list[int]] = {}
    for i, video in enumerate(scores.videos):
        units.setdefault(video or scores.ids[i], []).append(i)
    members = list(units.values())

    drawn = np.random.default_rng(0).multinomial(len(members), [1 / len(members)] * len(members), 40)
    figures = []
    for times in drawn:
        indices = [i for unit, often in zip(members, times, strict=True) for _ in range(often) for i in unit]
        summary = protocols.strict(scores.subset(indices))
        figures.append([summary[name] for name in bootstrap.FIGURES])
    low, high = np.percentile(np.array(figures, float), [2.5, 97.5], axis=0)

    found = bootstrap.intervals(scores, resamples=40)
    assert tuple(found) == bootstrap.FIGURES
    np.testing.assert_allclose(list(found.values()), np.stack([low, high], -1), rtol=1e-12)
    assert all(a < b for a, b in found.values())


def test_one_video_or_one_image_has_no_intervals():
    scores = population(1, 9, 0)
    for few in (scores, scores.subset([]), without_videos(scores.subset([0]), range(1))):
        assert set(bootstrap.intervals(few).values()) == {None}
        assert bootstrap.describe(few).startswith("No intervals")
    assert "24 videos" in bootstrap.describe(population(24, 2, 0))
    assert "too narrow" in bootstrap.describe(population(8, 2, 0))


def test_undefined_figures_have_no_intervals():
    scores = population(6, 3, 0)
    scores.counts[:, 1], scores.boundary[:, 2:4] = 0, 0  # only false hands
    found = bootstrap.intervals(scores)
    assert found["hand_recall"] is found["per_image_recall"] is found["boundary_recall"] is None
    assert found["hand_iou"] == found["hand_precision"] == (0.0, 0.0)


def test_counts_of_a_large_set_stay_exact():
    """One of 2^51 pixels would be lost in float32."""
    counts = np.array([[[2**50, 0], [1, 1]]] * 2)
    scores = Scores(("background", "hand"), ("a", "b"), ("", ""), counts, np.zeros((2, 6), np.int64))
    assert bootstrap.intervals(scores)["hand_recall"] == (0.5, 0.5)
