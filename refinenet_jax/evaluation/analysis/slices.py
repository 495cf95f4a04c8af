"""Slices of a set of images with a common attribute, and which of them have clearly lower scores than the whole set.

A slice is the images with something in common: small hands, low light, one place. Among fifty slices some look bad by chance,
and the frames of a video are alike, so a difference is reported as a finding only if it passes a test that accounts for both
(`_p_values`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from refinenet_jax.evaluation import metrics, protocols
from refinenet_jax.evaluation.analysis.attributes import ATTRIBUTES, SKIN_TONES
from refinenet_jax.evaluation.scores import Scores

FIGURES = ("hand_iou", "per_image_iou", "hand_precision", "hand_recall", "boundary_f")
MIN_IMAGES = 10  # smaller slices are marked, and nothing is concluded from them
LEVEL = 0.05  # probability of any false finding
MIN_DROP = 0.02  # of hand IoU; smaller drops are not reported
TEST = (
    f"A drop is reported if it is at least {MIN_DROP} of hand IoU in at least {MIN_IMAGES} images with hands, and if the"
    f" probability that chance makes any slice look as bad is below {LEVEL} (sign-flip test over the videos, or over the images"
    " if there are no videos, corrected for the number of slices). With fewer than five videos nothing can be reported."
)

Cut = tuple[str, str, np.ndarray]  # label, where, bool [n]

_ABOVE_0 = 1e-12


def _shares(edges: Sequence[float], where: str) -> tuple[tuple[float, str, str], ...]:
    """Returns bins of a share in [0, 1]: lower edge, name, and wording for a sentence."""
    percent = [f"{100 * edge:g}" for edge in edges]
    between = [f"{low}-{high} %" for low, high in pairwise(percent)]
    names = [f"under {percent[0]} %", *between, f"over {percent[-1]} %"]
    return tuple((least, name, where.format(name)) for least, name in zip((_ABOVE_0, *edges), names, strict=True))


# Attributes with fixed bins. Values below the first bin, and NaN, are in none.
_BINS = {
    "hand_area": _shares((0.01, 0.03, 0.06, 0.12, 0.25), "hands cover {} of the image"),
    "largest_hand": _shares((0.01, 0.02, 0.04, 0.08), "the largest hand covers {} of the image"),
    "hands": (
        (0, "0", "there are no hands"),
        (1, "1", "there is one hand"),
        (2, "2", "there are two hands"),
        (3, "3", "there are three hands"),
        (4, "4 or more", "there are four hands or more"),
    ),
    "border_contact": (
        (0, "none", "no hand is cut off by the border"),
        (_ABOVE_0, "up to 10 %", "hands are cut off by the border, up to 10 % of their outline"),
        (0.1, "over 10 %", "hands are cut off by the border, over 10 % of their outline"),
    ),
}
# Attributes without a natural scale: three equal parts of the set, from the lowest.
_THIRDS = {
    "sharpness": ("the image is blurred", "the image is fairly sharp", "the image is sharp"),
    "hand_sharpness": ("hands are blurred", "hands are fairly sharp", "hands are sharp"),
    "brightness": ("the image is dark", "the image is of medium brightness", "the image is bright"),
    "contrast": ("contrast is low", "contrast is medium", "contrast is high"),
    "skin_background": tuple(f"{much} of the background looks like skin" for much in ("little", "some", "much")),
}
_WORDS = {
    "skin_tone": "hands look {} (skin tone as pictured)",
    "activity": "the activity is {}",
    "place": "the place is {}",
    "video": "the video is {}",
}


@dataclass(frozen=True, eq=False)
class Slice:
    """The images of a set with a common attribute.

    Attributes:
      attribute: one of attributes.ATTRIBUTES, or 'size' for the halves with small and big hands.
      label: name, such as 'hand area 1-3 %'.
      where: wording for a sentence, such as 'hands cover 1-3 % of the image'.
      indices: int64 [n], rows in the scores.
      videos: number of videos; 0 if there are none.
      figures: FIGURES in [0, 1], NaN if undefined.
      difference: figures minus those of the whole set.
      p_value: probability that chance makes any slice of the set drop as clearly; NaN if not tested: in slices with fewer than
        MIN_IMAGES images with hands, and for single videos, which are one sample each.
    """

    attribute: str
    label: str
    where: str
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

    Hand area, size of the largest hand, number of hands and contact with the border have fixed bins (a value at an edge
    belongs to the upper bin); sharpness, brightness, contrast and skin-like background are divided into thirds of this set;
    words form groups. The pair 'size' corresponds to the small and big hands of Urooj and Borji (CVPR 2018), who publish
    figures for both but not the threshold. Here images with a hand area below the median of the images with hands are small,
    all others with hands are big; compare `per_image_iou`.

    An attribute with the same value in all images gives no slices, nor does the skin angle.
    """
    cuts = [(name, *cut) for name, cut in _cuts(scores)]
    if not cuts:
        return []
    whole = figures(scores)
    members = np.stack([cut[-1] for cut in cuts], 1)
    with_hands = metrics.foreground(scores.counts)[:, 1].sum(-1) > 0
    tested = (with_hands @ members.astype(np.int64) >= MIN_IMAGES) & np.array([name != "video" for name, *_ in cuts])
    p_values = np.full(len(cuts), np.nan)
    if tested.any():
        p_values[tested] = _p_values(scores, members[:, tested])
    result = []
    for (name, label, where, member), p_value in zip(cuts, p_values, strict=True):
        indices = np.flatnonzero(member)
        here = figures(part := scores.subset(indices))
        result.append(
            Slice(
                attribute=name,
                label=label,
                where=where,
                indices=indices,
                videos=len(set(part.videos) - {""}),
                figures=here,
                difference={key: here[key] - whole[key] for key in FIGURES},
                p_value=float(p_value),
            )
        )
    return result


def findings(slices: Sequence[Slice], limit: int = 5) -> list[str]:
    """Describes the largest drops of hand IoU in sentences, largest first; none if chance explains them (see TEST).

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
        elif name in _WORDS:
            groups = _by_words(name, values)
        else:
            continue
        groups = [group for group in groups if group[-1].any()]
        if len(groups) > 1:
            yield from ((name, group) for group in groups)
            if name == "hand_area":
                yield from (("size", group) for group in _by_size(values) if group[-1].any())


def _by_bins(name: str, values: np.ndarray) -> Iterator[Cut]:
    bins = _BINS[name]
    place = np.digitize(values, [least for least, _, _ in bins]) - 1
    for i, (_, label, where) in enumerate(bins):
        yield f"{ATTRIBUTES[name].title} {label}", where, (place == i) & ~np.isnan(values)


def _by_thirds(name: str, values: np.ndarray) -> Iterator[Cut]:
    known = values[~np.isnan(values)]
    if not len(known):
        return
    edges = np.quantile(known, (1 / 3, 2 / 3))
    factor, unit = (100, " %") if ATTRIBUTES[name].unit == "share" else (1, "")
    place, (low, high) = np.digitize(values, edges), (_short(edge * factor) for edge in edges)
    ranges = f"under {low}", f"{low}-{high}", f"over {high}"
    for i, (between, where) in enumerate(zip(ranges, _THIRDS[name], strict=True)):
        label = f"{ATTRIBUTES[name].title} {between}{unit}"
        yield label, f"{where} ({label})", (place == i) & ~np.isnan(values)


def _by_words(name: str, values: np.ndarray) -> Iterator[Cut]:
    words = sorted(set(values.tolist()) - {""})
    for word in [w for w in SKIN_TONES if w in words] if name == "skin_tone" else words:
        yield f"{ATTRIBUTES[name].title} {word}", _WORDS[name].format(word), values == word


def _by_size(areas: np.ndarray) -> Iterator[Cut]:
    median = np.median(areas[areas > 0])
    line = f"under {_short(100 * median)} % of the image, the median of the set"
    yield "small hands", f"hands are small ({line})", (areas > 0) & (areas < median)
    yield "big hands", f"hands are big (not {line})", areas >= median


def _short(value: float) -> str:
    """Formats with two digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2g}"


def _p_values(scores: Scores, members: np.ndarray, resamples: int = 10_000) -> np.ndarray:
    """Computes the probability that chance makes any of the slices drop as clearly as each of them does.

    If an attribute does not matter, the contribution of each video to the difference between slice and whole is as likely to
    have the other sign. The signs of whole videos are flipped, and the largest statistic of all slices is compared with each
    observed one: a score-based wild cluster test (Kline and Santos, J. Econometric Methods 2012) with the max-T correction for
    multiple comparisons (Westfall and Young, 1993; Romano and Wolf, Econometrica 2005). An image without a video is its own
    cluster. Up to 12 videos all sign patterns are tried, beyond that `resamples` patterns from a fixed seed. With v videos no
    value is below 2^-v.

    Args:
      scores: scores of n images.
      members: bool [n, s], membership in s slices.

    Returns:
      float64 [s], one-sided p-values corrected for the s slices.
    """
    binary = metrics.foreground(scores.counts).astype(np.float64)
    hits, union = binary[:, 1, 1], binary.sum((-2, -1)) - binary[:, 0, 0]
    if not union.any():
        return np.ones(members.shape[1])
    # Linearization of hits / union: contribution of each image to IoU(slice) - IoU(whole), up to a factor per slice.
    residual = hits - hits.sum() / union.sum() * union
    added = residual[:, None] * (members - union @ members / union.sum())
    names = [video or f"\0{i}" for i, video in enumerate(scores.videos)]
    clusters = np.unique(names, return_inverse=True)[1]
    drop = np.zeros((clusters.max() + 1, members.shape[1]))
    np.add.at(drop, clusters, -added)
    norm = np.sqrt((drop**2).sum(0))
    drop = np.divide(drop, norm, out=np.zeros_like(drop), where=norm > 0).astype(np.float32)
    observed = drop.sum(0)
    count = len(drop)
    if count <= 12:
        signs = [1 - 2 * (np.arange(2**count)[:, None] >> np.arange(count) & 1)]
    else:
        rng = np.random.default_rng(0)
        signs = [rng.integers(0, 2, (1000, count), np.int8) * 2 - 1 for _ in range(resamples // 1000)]
        signs.append(np.ones((1, count)))  # the observed pattern, so that no value is 0
    largest = np.concatenate([(block.astype(np.float32) @ drop).max(1) for block in signs])
    return (largest[:, None] >= observed - 1e-4).mean(0)


def _overlap(a: Slice, b: Slice) -> float:
    """Returns the share of the smaller slice's images that are in both."""
    return len(np.intersect1d(a.indices, b.indices)) / min(a.n, b.n)


def _sentence(s: Slice) -> str:
    """Describes the drop, where it occurs, and whether precision or recall contributes more."""
    before = {key: s.figures[key] - s.difference[key] for key in FIGURES}
    images = f"{s.n} images" + (f" of {s.videos} videos" if s.videos > 1 else " of one video" if s.videos else "")
    if s.difference["hand_precision"] < s.difference["hand_recall"]:
        cause, key = "other things are mistaken for hands", "precision"
    else:  # also if nothing is predicted and precision is NaN
        cause, key = "hands are missed", "recall"
    return (
        f"Hand IoU falls from {before['hand_iou']:.2f} to {s.figures['hand_iou']:.2f} where {s.where}; {images}."
        f" Main reason: {cause}; {key} {s.figures[f'hand_{key}']:.2f} instead of {before[f'hand_{key}']:.2f}."
    )
