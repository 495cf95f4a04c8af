"""Slices and findings computed by hand, and false findings in random data."""

import numpy as np
import pytest
from scipy import stats

from refinenet_jax.evaluation.analysis import slices as slicing
from refinenet_jax.evaluation.analysis.slices import figures, findings, slices
from refinenet_jax.evaluation.scores import Scores


def make(hits, missed, invented, attributes, videos=None, boundary=None):
    """Scores of images of 10,000 pixels from the counts of each."""
    hits, missed, invented = (np.asarray(x, np.int64) for x in (hits, missed, invented))
    n = len(hits)
    rows = [np.stack([10_000 - hits - missed - invented, invented], -1), np.stack([missed, hits], -1)]
    return Scores(
        class_names=("background", "hand"),
        ids=tuple(f"image{i}" for i in range(n)),
        videos=tuple(videos or [""] * n),
        counts=np.stack(rows, -2),
        boundary=np.zeros((n, 6), np.int64) if boundary is None else boundary,
        attributes={name: np.array(values) for name, values in attributes.items()},
    )


def plain(**attributes):
    """Images that differ only in their attributes."""
    n = len(next(iter(attributes.values())))
    return make([80] * n, [20] * n, [0] * n, attributes)


def by_label(scores, attribute):
    return {s.label: s.indices.tolist() for s in slices(scores) if s.attribute == attribute}


def test_fixed_bins():
    scores = plain(
        hand_area=[0.0, 0.005, 0.01, 0.029, 0.03, 0.5, np.nan],  # median of those with hands: 0.029
        hands=[0, 1, 1, 2, 4, 9.0, np.nan],
    )
    assert by_label(scores, "hand_area") == {
        "hand area under 1 %": [1],
        "hand area 1-3 %": [2, 3],
        "hand area 3-6 %": [4],
        "hand area over 25 %": [5],
    }
    assert by_label(scores, "size") == {"small hands": [1, 2], "big hands": [3, 4, 5]}
    assert by_label(scores, "hands") == {"hands 0": [0], "hands 1": [1, 2], "hands 2": [3], "hands 4 or more": [4, 5]}


def test_thirds():
    # Quantiles of 1..9 at 1/3 and 2/3: 11/3 and 19/3.
    scores = plain(brightness=[9, 8, 7, 6, np.nan, 5, 4, 3, 2, 1])
    assert by_label(scores, "brightness") == {
        "brightness under 3.7": [7, 8, 9],
        "brightness 3.7-6.3": [3, 5, 6],
        "brightness over 6.3": [0, 1, 2],
    }

    # Shares are in percent, and equal values are in one slice. Quantiles at 1/3 and 2/3: 0.1, and 0.1 + (0.2 - 0.1) / 3.
    scores = plain(skin_background=[0.1, 0.1, 0.1, 0.1, 0.2, 0.9])
    assert by_label(scores, "skin_background") == {
        "skin background 10-13 %": [0, 1, 2, 3],
        "skin background over 13 %": [4, 5],
    }


def test_skin_tones_are_sorted_from_light_to_dark():
    scores = plain(skin_tone=["dark", "light", "", "dark"])
    assert list(by_label(scores, "skin_tone").items()) == [("skin tone light", [1]), ("skin tone dark", [0, 3])]


def test_equal_and_unknown_values_give_no_slices():
    assert slices(plain(hands=[2.0] * 9, brightness=[0.5] * 9, hand_sharpness=[np.nan] * 9, skin_tone=[""] * 9)) == []
    assert slices(plain(skin_angle=[1.0, 2.0])) == []


def test_figures_by_hand():
    boundary = np.array([[10, 6, 8, 4, 0, 0], [10, 10, 12, 12, 0, 0]])
    scores = make([60, 30, 0], [20, 70, 0], [20, 0, 0], {}, boundary=np.concatenate([boundary, np.zeros((1, 6), int)]))
    assert figures(scores) == pytest.approx(
        {
            "hand_iou": 90 / 200,
            "per_image_iou": (60 / 100 + 30 / 100) / 2,  # the third image has no hands in truth or prediction
            "hand_precision": 90 / 110,
            "hand_recall": 90 / 180,
            "boundary_f": (2 * 0.6 * 0.5 / (0.6 + 0.5) + 1) / 2,  # 6 of 10 and 4 of 8, then all
        }
    )
    assert all(np.isnan(value) for value in figures(scores.subset([2])).values())
    first, second = slices(make([60, 30], [20, 70], [20, 0], {"hands": [1, 2]}, ["x", "y"]))
    assert (first.n, first.videos, first.few) == (1, 1, True)
    assert first.difference["hand_iou"] == pytest.approx(0.6 - 0.45)
    assert second.difference["hand_recall"] == pytest.approx(0.3 - 0.5)
    assert np.isnan(first.p_value)  # too few images


def population(seed, images, videos=0, drop=0.0, spread=0.1):
    """Images whose attributes are independent of their IoU except for `drop` in the dark; videos differ by `spread`.

    Brightness and skin tone belong to the video, sharpness to the image.
    """
    rng = np.random.default_rng(seed)
    video = np.arange(images) * videos // images if videos else np.arange(images)
    of_video = lambda low, high: rng.uniform(low, high, max(videos, images))[video]  # noqa: E731
    brightness = of_video(0, 1) + rng.uniform(0, 0.3, images)
    dark = brightness < np.quantile(brightness, 1 / 3)
    recall = np.clip(0.7 + of_video(-spread, spread) + rng.uniform(-0.2, 0.2, images) - drop * dark, 0, 1)
    hands = rng.integers(300, 2000, images)
    hits = (hands * recall).astype(int)
    attributes = {
        "hand_area": hands / 10_000,
        "brightness": brightness,
        "skin_background": brightness + rng.uniform(0, 0.1, images),
        "hand_sharpness": rng.uniform(0, 1, images),
        "skin_tone": np.array(["light", "tan"])[(of_video(0, 1) > 0.5).astype(int)],
    }
    invented = (hands * rng.uniform(0, 0.2, images)).astype(int)  # in proportion: otherwise small hands would be worse
    return make(hits, hands - hits, invented, attributes, [f"v{v}" for v in video] if videos else None)


@pytest.mark.parametrize(("images", "videos"), [(60, 0), (200, 8), (200, 5)])
def test_noise_gives_no_findings(images, videos):
    assert sum(bool(findings(slices(population(seed, images, videos)))) for seed in range(20)) <= 4


@pytest.mark.parametrize(("images", "videos"), [(120, 0), (480, 24)])
def test_a_true_drop_is_found(images, videos):
    found = findings(slices(population(1, images, videos, drop=0.4, spread=0.05)))
    assert "brightness under" in found[0]
    assert not any("sharp" in sentence for sentence in found)
    assert not any("skin background" in sentence for sentence in found)  # the same images


def test_facts_of_a_finding():
    # 80 images of 8 videos of 100 hand pixels each: half of each video at IoU 0.8, half at 0.4, all by misses.
    hits = np.tile([80, 40], 40)
    videos = [f"v{i // 10}" for i in range(80)]
    scores = make(hits, 100 - hits, [0] * 80, {"hand_area": np.tile([0.1, 0.005], 40)}, videos)
    (finding,) = findings(slices(scores))
    for fact in ("0.60 to 0.40", "under 1 %", "40 images of 8 videos", "recall 0.40"):
        assert fact in finding
    scores = make([100] * 60, [0] * 60, np.tile([0, 100], 30), {"skin_tone": ["light", "tan"] * 30})
    (finding,) = findings(slices(scores))
    for fact in ("0.67 to 0.50", "skin tone tan", "30 images", "precision 0.50"):
        assert fact in finding


def test_a_video_is_one_sample():
    """One of eight videos gives no finding, however bad it is and however many frames it has; nor do four videos."""
    hits = np.repeat([80, 80, 80, 80, 80, 80, 80, 5], 50)
    videos = np.repeat(list("abcdefgh"), 50).tolist()
    assert (
        findings(slices(make(hits, 100 - hits, [0] * 400, {"hands": np.repeat([1, 1, 1, 1, 1, 1, 2, 2], 50)}, videos)))
        == []
    )
    for count in (4, 5):
        hits = np.tile([80, 40], 10 * count)
        videos = [f"v{i // 20}" for i in range(20 * count)]
        scores = make(hits, 100 - hits, [0] * len(hits), {"hands": [1, 2] * (10 * count)}, videos)
        better, worse = slices(scores)
        assert bool(findings([worse, better])) == (count == 5)


def test_the_test_is_that_of_scipy_corrected_for_the_number_of_slices():
    """In two slices of 20 images each, a slice's own images contribute by 1/2 and the others by -1/2."""
    rng = np.random.default_rng(0)
    hits = rng.integers(20, 80, 40)
    scores = make(hits, 100 - hits, [0] * 40, {"hands": [1, 2] * 20})
    residual = hits - hits.mean()
    for s, sign in zip(slices(scores), (1, -1), strict=True):
        change = residual * np.tile([sign, -sign], 20)
        expected = stats.ttest_1samp(change, 0, alternative="less").pvalue
        assert s.p_value == pytest.approx(min(2 * expected, 1), rel=1e-4)


def test_images_without_hands_and_too_few_images_are_not_tested():
    hits = [80] * 60 + [1] * 9 + [0] * 20
    missed = [20] * 60 + [99] * 9 + [0] * 20
    hands = [1.0] * 60 + [2.0] * 9 + [0.0] * 20
    found = {s.label: s for s in slices(make(hits, missed, [5] * 89, {"hands": hands}))}
    assert np.isnan([found["hands 0"].p_value, found["hands 2"].p_value]).all()
    assert (found["hands 0"].few, found["hands 2"].few) == (False, True)
    assert findings(list(found.values())) == []


def test_small_drops_are_not_reported():
    hits = np.tile([800, 790], 300)
    found = slices(make(hits, 1000 - hits, [0] * 600, {"hands": [1, 2] * 300}))
    assert min(s.p_value for s in found) < slicing.LEVEL
    assert findings(found) == []
    without_hands = {"skin_tone": ["light", "tan"] * 15, "hand_area": [0.0] * 30}
    assert findings(slices(make([0] * 30, [0] * 30, [0] * 30, without_hands))) == []
