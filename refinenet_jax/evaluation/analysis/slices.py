"""Slices of a set of images with a common attribute, and which of them have clearly lower scores than the whole set.

A slice is the images with something in common: small hands, low light, a skin tone. Among twenty slices some look bad by
chance, and the frames of a video are alike, so a difference is a finding only if it passes a test that accounts for both
(`_p_values`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import stdtr

from refinenet_jax.evaluation import metrics, protocols
from refinenet_jax.evaluation.analysis.attributes import SKIN_TONES
from refinenet_jax.evaluation.scores import Scores

FIGURES = ("hand_iou", "per_image_iou", "hand_precision", "hand_recall", "boundary_f")
MIN_IMAGES = 10  # smaller slices are marked, and nothing is concluded from them
MIN_DROP = 0.02  # of hand IoU; smaller drops are not reported
LEVEL = 0.05  # probability of any false finding
MIN_VIDEOS = 5  # with fewer nothing is concluded
TEST = (
    f"A drop is reported if it is at least {MIN_DROP} of hand IoU in at least {MIN_IMAGES} images with hands, and if the"
    f" probability that chance makes any slice look as bad is below {LEVEL} (t-test over the videos, or over the images if"
    f" there are none, corrected for the number of slices). With fewer than {MIN_VIDEOS} videos nothing can be reported."
)

Cut = tuple[str, np.ndarray]  # label, bool [n]

_ABOVE_0 = 1e-12


def _shares(*edges: float) -> tuple[tuple[float, str], ...]:
    """Returns bins of a share in [0, 1]: lower edge and name."""
    percent = [f"{100 * edge:g}" for edge in edges]
    names = [f"under {percent[0]} %", *(f"{a}-{b} %" for a, b in pairwise(percent)), f"over {percent[-1]} %"]
    return tuple(zip((_ABOVE_0, *edges), names, strict=True))


# Attributes with fixed bins: lower edge and name of each. Values below the first bin, and NaN, are in none.
_BINS = {
    "hand_area": _shares(0.01, 0.03, 0.06, 0.12, 0.25),
    "hands": ((0, "0"), (1, "1"), (2, "2"), (3, "3"), (4, "4 or more")),
}
# Attributes without a natural scale: three equal parts of the set, from the lowest.
_THIRDS = ("hand_sharpness", "brightness", "skin_background")


@dataclass(frozen=True, eq=False)
class Slice:
    """The images of a set with a common attribute.

    Attributes:
      attribute: one of attributes.ATTRIBUTES, or 'size' for the halves with small and big hands.
      label: name, such as 'hand area 1-3 %'.
      indices: int64 [n], rows in the scores.
      videos: number of videos; 0 if there are none.
      figures: FIGURES in [0, 1], NaN if undefined.
      difference: figures minus those of the whole set.
      p_value: probability that chance makes any slice of the set drop as clearly; NaN if not tested: in slices with fewer than
        MIN_IMAGES images with hands.
    """

    attribute: str
    label: str
    indices: np.ndarray
    videos: int
    figures: dict[str, float]
    difference: dict[str, float]
    p_value: float

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.indices)

    @property
    def few(self) -> bool:
        """Whether there are fewer than MIN_IMAGES images."""
        return self.n < MIN_IMAGES


def slices(scores: Scores) -> list[Slice]:
    """Forms the slices of a set by each of its attributes.

    Hand area and number of hands have fixed bins (a value at an edge belongs to the upper bin); sharpness, brightness and
    skin-like background are divided into thirds of this set; skin tones form groups. The pair 'size' corresponds to the small
    and big hands of Urooj and Borji (CVPR 2018), who publish figures for both but not the threshold. Here images with a hand
    area below the median of the images with hands are small, all others with hands are big; compare `per_image_iou`.

    An attribute with the same value in all images gives no slices, nor does the skin angle.
    """
    cuts = [(name, *cut) for name, cut in _cuts(scores)]
    if not cuts:
        return []
    whole = figures(scores)
    members = np.stack([cut[-1] for cut in cuts], 1)
    with_hands = metrics.foreground(scores.counts)[:, 1].sum(-1) > 0
    tested = with_hands @ members.astype(np.int64) >= MIN_IMAGES
    p_values = np.where(tested, np.minimum(_p_values(scores, members) * tested.sum(), 1), np.nan)  # Bonferroni
    result = []
    for (name, label, member), p_value in zip(cuts, p_values, strict=True):
        indices = np.flatnonzero(member)
        here = figures(part := scores.subset(indices))
        result.append(
            Slice(
                attribute=name,
                label=label,
                indices=indices,
                videos=len(set(part.videos) - {""}),
                figures=here,
                difference={key: here[key] - whole[key] for key in FIGURES},
                p_value=float(p_value),
            )
        )
    return result


def findings(slices: Sequence[Slice], limit: int = 5) -> list[str]:
    """Describes the largest drops of hand IoU in sentences, largest first; only those that TEST describes.

    Of two slices that share more than half of the smaller one's images, only the worse is reported.
    """
    reported: list[Slice] = []
    clear = [s for s in slices if s.p_value < LEVEL and s.difference["hand_iou"] <= -MIN_DROP]
    for candidate in sorted(clear, key=lambda s: s.difference["hand_iou"]):
        if len(reported) < limit and not any(_overlap(candidate, other) > 0.5 for other in reported):
            reported.append(candidate)
    return [_sentence(s) for s in reported]


def figures(scores: Scores) -> dict[str, float]:
    """Computes FIGURES of a set as in the protocol strict; NaN if undefined."""
    strict = protocols.strict(scores)
    return {key: np.nan if strict[key] is None else strict[key] for key in FIGURES}


def _cuts(scores: Scores) -> Iterator[tuple[str, Cut]]:
    """Yields attribute and cut, for attributes in which at least two groups have images."""
    for name, values in scores.attributes.items():
        if name in _BINS:
            groups = _by_bins(name, values)
        elif name in _THIRDS:
            groups = _by_thirds(name, values)
        elif name == "skin_tone":
            groups = _by_skin_tone(values)
        else:
            continue
        groups = [group for group in groups if group[-1].any()]
        if len(groups) > 1:
            yield from ((name, group) for group in groups)
            if name == "hand_area":
                yield from (("size", group) for group in _by_size(values) if group[-1].any())


def _by_bins(name: str, values: np.ndarray) -> Iterator[Cut]:
    place = np.digitize(values, [least for least, _ in _BINS[name]]) - 1
    for i, (_, label) in enumerate(_BINS[name]):
        yield f"{name.replace('_', ' ')} {label}", (place == i) & ~np.isnan(values)


def _by_thirds(name: str, values: np.ndarray) -> Iterator[Cut]:
    known = values[~np.isnan(values)]
    if not len(known):
        return
    edges = np.quantile(known, (1 / 3, 2 / 3))
    factor, unit = (100, " %") if name == "skin_background" else (1, "")
    place, (low, high) = np.digitize(values, edges), (_short(edge * factor) for edge in edges)
    for i, between in enumerate((f"under {low}", f"{low}-{high}", f"over {high}")):
        yield f"{name.replace('_', ' ')} {between}{unit}", (place == i) & ~np.isnan(values)


def _by_skin_tone(tones: np.ndarray) -> Iterator[Cut]:
    for tone in SKIN_TONES:
        yield f"skin tone {tone}", tones == tone


def _by_size(areas: np.ndarray) -> Iterator[Cut]:
    median = np.median(areas[areas > 0])
    yield "small hands", (areas > 0) & (areas < median)
    yield "big hands", areas >= median


def _short(value: float) -> str:
    """Formats with two digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def _p_values(scores: Scores, members: np.ndarray) -> np.ndarray:
    """Computes the probability that chance makes each slice drop as clearly as it does, by a one-sided t-test.

    The difference between hand IoU of the slice and of the whole set is linearized: it is the sum of a contribution of every
    image. Contributions are added by video (an image without a video is its own), because frames of one video are alike; the
    test is whether their mean over the videos is below 0.

    Args:
      scores: scores of n images.
      members: bool [n, s], membership in s slices.

    Returns:
      float64 [s], not corrected for the number of slices; 1 with fewer than MIN_VIDEOS videos.
    """
    binary = metrics.foreground(scores.counts).astype(np.float64)
    hits, union = binary[:, 1, 1], binary.sum((-2, -1)) - binary[:, 0, 0]
    total = max(union.sum(), 1)
    residual = hits - hits.sum() / total * union
    added = residual[:, None] * (members - union @ members / total)
    clusters = np.unique([video or f"\0{i}" for i, video in enumerate(scores.videos)], return_inverse=True)[1]
    change = np.zeros((clusters.max() + 1, members.shape[1]))
    np.add.at(change, clusters, added)
    if len(change) < MIN_VIDEOS:
        return np.ones(members.shape[1])
    error = change.std(0, ddof=1) / np.sqrt(len(change)) + 1e-9 * total  # of equal contributions it is 0
    return stdtr(len(change) - 1, change.mean(0) / error)


def _overlap(a: Slice, b: Slice) -> float:
    """Returns the share of the smaller slice's images that are in both."""
    return len(np.intersect1d(a.indices, b.indices)) / min(a.n, b.n)


def _sentence(s: Slice) -> str:
    """Describes the drop, its slice, and whether precision or recall contributes more."""
    before = {key: s.figures[key] - s.difference[key] for key in FIGURES}
    images = f"{s.n} images" + (f" of {s.videos} videos" if s.videos > 1 else " of one video" if s.videos else "")
    if s.difference["hand_precision"] < s.difference["hand_recall"]:
        cause, key = "other things are mistaken for hands", "precision"
    else:  # also if nothing is predicted and precision is NaN
        cause, key = "hands are missed", "recall"
    return (
        f"Hand IoU falls from {before['hand_iou']:.2f} to {s.figures['hand_iou']:.2f} with {s.label}; {images}."
        f" Main reason: {cause}; {key} {s.figures[f'hand_{key}']:.2f} instead of {before[f'hand_{key}']:.2f}."
    )
