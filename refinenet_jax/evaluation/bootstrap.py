"""Bootstrap percentile intervals of the figures of a split.

Frames of a video show the same hands, room and light, so a hundred of them say little more than ten. Therefore whole videos are
drawn with replacement (cluster bootstrap; Davison and Hinkley, Bootstrap Methods, 1997, section 3.8). An image without a video
is its own cluster. The intervals express how much the figures would change with other videos of the same kind, not with another
training. With few videos they are too narrow: in a simulation (20 frames per video, IoU with a standard deviation of 0.12
between videos and 0.05 within) 95 % intervals contained the truth in 77 % of cases with 4 videos, 88 % with 8 and 93 % with
20; drawn by image, in about 30 %.
"""

import numpy as np

from refinenet_jax.evaluation import boundary, metrics
from refinenet_jax.evaluation.scores import Scores

# Names and definitions of `protocols.strict`: mean_iou and hand_* over all pixels of the set, the others means over images.
_PER_IMAGE = ("per_image_iou", "per_image_precision", "per_image_recall")
FIGURES = ("mean_iou", "hand_iou", "hand_precision", "hand_recall", *_PER_IMAGE, *boundary.SCORES)
RESAMPLES, LEVEL = 1000, 0.95
FEW = 20  # units, below which `describe` warns


def intervals(scores: Scores, resamples: int = RESAMPLES) -> dict[str, tuple[float, float] | None]:
    """Computes percentile intervals of all figures, with coverage LEVEL; the same scores give the same intervals.

    Returns:
      Name in FIGURES -> (low, high). None if all images are of one video, if there is only one image, or if a figure is
      undefined in all resamples (resamples in which it is undefined are ignored).
    """
    units = _units(scores)
    count = int(units.max(initial=-1)) + 1
    if count < 2:
        return dict.fromkeys(FIGURES)
    sums = _sums_by_unit(scores, units, count)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), resamples).astype(np.float64)
    # Sums over a resample are products with how often each unit was drawn; integers up to 2^53 stay exact in them.
    figures = _figures({name: np.tensordot(drawn, values, 1) for name, values in sums.items()})
    tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
    result = {}
    for name in FIGURES:
        values = figures[name][~np.isnan(figures[name])]
        result[name] = tuple(map(float, np.percentile(values, tails))) if values.size else None
    return result


def describe(scores: Scores) -> str:
    """Returns a note for below a table: what was resampled, or why there are no intervals."""
    count = int(_units(scores).max(initial=-1)) + 1
    videos = set(scores.videos) - {""}
    if count < 2:
        return f"No intervals: all images are of one video ({videos.pop()})." if videos else "No intervals: one image."
    what = "images" if not videos else "videos and single images" if "" in scores.videos else "videos"
    line = f"{100 * LEVEL:g} % intervals: bootstrap over {count} {what}, {RESAMPLES} resamples"
    return f"{line}; too narrow because there are few." if count < FEW else f"{line}."


def _units(scores: Scores) -> np.ndarray:
    """Returns the resampling unit of each image (its video, or itself), int64 [n], numbered from 0."""
    names = [("video", video) if video else ("image", str(i)) for i, video in enumerate(scores.videos)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)


def _sums_by_unit(scores: Scores, units: np.ndarray, count: int) -> dict[str, np.ndarray]:
    """Returns the sums over each unit from which the figures follow, float64 [count, ...]."""
    per_image = [*metrics.hand_scores(scores.counts).values(), *boundary.scores(scores.boundary).values()]
    per_image = np.stack(per_image, -1)
    rows = {"counts": scores.counts, "per_image": np.nan_to_num(per_image), "known": ~np.isnan(per_image)}
    sums = {name: np.zeros((count, *values.shape[1:])) for name, values in rows.items()}
    for name, values in rows.items():
        np.add.at(sums[name], units, values)
    return sums


def _figures(sums: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Computes FIGURES, float64 [r] each, from sums over r resamples; NaN if undefined."""
    by_class = metrics.iou(sums["counts"])
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_iou = np.nansum(by_class, -1) / (~np.isnan(by_class)).sum(-1)
        per_image = sums["per_image"] / sums["known"]
    return {
        "mean_iou": mean_iou,
        **{f"hand_{name}": values for name, values in metrics.hand_scores(sums["counts"]).items()},
        **dict(zip((*_PER_IMAGE, *boundary.SCORES), per_image.T, strict=True)),
    }
