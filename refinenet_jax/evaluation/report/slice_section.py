"""Section on slices: findings in sentences, and a table."""

import itertools
from collections.abc import Sequence

from refinenet_jax.evaluation import bootstrap
from refinenet_jax.evaluation.analysis import slices
from refinenet_jax.evaluation.analysis.attributes import ATTRIBUTES
from refinenet_jax.evaluation.report import page, published
from refinenet_jax.evaluation.scores import Scores

_NOTE = (
    "Hand IoU over all pixels of each slice, with its 95 % interval (none where all are of one video), and its difference from"
    " the whole set. p: probability that chance makes any slice look as bad ('-': not tested)."
    f" * fewer than {slices.MIN_IMAGES} images: nothing is concluded from them."
)
_HEADER = ("slice", "images", "hand IoU", "95 %", "against all", "per image", "precision", "recall", "boundary F", "p")
_SIZE_NOTE = "small: hands cover less than the median of the images with hands."


def findings(cuts: Sequence[slices.Slice]) -> str:
    """Returns the clear drops in sentences, and how they are found."""
    points = page.points(slices.findings(cuts) or ["No drop is clearly larger than chance."])
    return points + page.paragraph(slices.TEST)


def section(cuts: Sequence[slices.Slice], scores: Scores, dataset: str) -> str:
    """Returns a table for each attribute.

    Args:
      cuts: result of `slices.slices`.
      scores: scores of the whole set.
      dataset: dataset name, such as 'egohands/hands'.
    """
    content = page.paragraph(_NOTE) if cuts else ""
    for attribute, group in itertools.groupby(cuts, key=lambda cut: cut.attribute):
        content += page.paragraph(_about(attribute, dataset))
        content += page.table("scores", _HEADER, [_row(cut, scores) for cut in group])
    return content


def _row(cut: slices.Slice, scores: Scores) -> list[str]:
    interval = bootstrap.intervals(scores.subset(cut.indices))["hand_iou"]
    hand_iou, *others = (page.fraction(cut.figures[key]) for key in slices.FIGURES)
    difference = page.text(cut.difference["hand_iou"], "+.3f")
    name = f"{cut.label} *" if cut.few else cut.label
    return [name, f"{cut.n:,}", hand_iou, page.interval(interval), difference, *others, page.fraction(cut.p_value)]


def _about(attribute: str, dataset: str) -> str:
    """Describes an attribute."""
    if attribute == "size":
        return f"Small and big hands: {_SIZE_NOTE} {published.small_and_big(dataset)}"
    about = ATTRIBUTES[attribute]
    if attribute == "skin_tone":
        about = f"groups of the {ATTRIBUTES['skin_angle']}; it says nothing about the person"
    return f"{page.label(attribute)}: {about}"
