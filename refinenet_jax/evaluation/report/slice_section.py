"""Section on slices: findings in sentences, a panel with intervals for each attribute, and a table."""

import itertools
from collections.abc import Sequence

from refinenet_jax.evaluation import bootstrap
from refinenet_jax.evaluation.analysis import slices
from refinenet_jax.evaluation.analysis.attributes import ATTRIBUTES
from refinenet_jax.evaluation.report import figures, page, plots, published
from refinenet_jax.evaluation.scores import Scores

_NOTE = (
    "Hand IoU over all pixels of each slice, with its 95 % interval (none where all are of one video); line: the whole set."
    f" * fewer than {slices.MIN_IMAGES} images: nothing is concluded from them."
)
_P_NOTE = "p: probability that chance makes any slice look as bad ('-': not tested)."
_HEADER = ("slice", "images", "hand IoU", "95 %", "against all", "per image", "precision", "recall", "boundary F", "p")


def findings(cuts: Sequence[slices.Slice]) -> str:
    """Returns the clear drops in sentences, and how they are found."""
    points = page.points(slices.findings(cuts) or ["No drop is clearly larger than chance."])
    return points + page.paragraph(slices.TEST)


def section(cuts: Sequence[slices.Slice], scores: Scores, dataset: str) -> str:
    """Returns a panel for each attribute, and a table.

    Args:
      cuts: result of `slices.slices`.
      scores: scores of the whole set.
      dataset: dataset name, such as 'egohands/hands'.
    """
    if not cuts:
        return ""
    whole = slices.figures(scores)["hand_iou"]
    rows = [(cut, bootstrap.intervals(scores.subset(cut.indices))["hand_iou"]) for cut in cuts]
    ends = [whole, *(x for cut, interval in rows for x in (cut.figures["hand_iou"], *(interval or ())))]
    ends = [x for x in ends if x == x] or [0, 1]
    span = (min(ends) - 0.02, max(ends) + 0.02)  # of all panels, to compare them
    panels = []
    for attribute, group in itertools.groupby(rows, key=lambda row: row[0].attribute):
        title, about = _about(attribute, dataset)
        estimates = [(_name(cut).removeprefix(title), cut.figures["hand_iou"], interval) for cut, interval in group]
        svg = plots.svg(f"slices_{attribute}", figures.intervals, estimates, whole, span)
        panels.append(page.figure(title.capitalize(), svg + page.paragraph(about)))
    table = page.table("scores", _HEADER, [_row(cut, interval) for cut, interval in rows])
    return page.paragraph(_NOTE) + page.panels(panels) + page.folded("All scores", page.paragraph(_P_NOTE) + table)


def _name(cut: slices.Slice) -> str:
    return f"{cut.label} *" if cut.few else cut.label


def _row(cut: slices.Slice, interval: tuple[float, float] | None) -> list[str]:
    hand_iou, *others = (page.fraction(cut.figures[key]) for key in slices.FIGURES)
    difference = page.text(cut.difference["hand_iou"], "+.3f")
    return [
        _name(cut),
        f"{cut.n:,}",
        hand_iou,
        page.interval(interval),
        difference,
        *others,
        page.fraction(cut.p_value),
    ]


def _about(attribute: str, dataset: str) -> tuple[str, str]:
    """Returns the title of an attribute's panel and a note."""
    if attribute == "size":
        note = "small: hands cover less than the median of the images with hands."
        return "small and big hands", f"{note} {published.small_and_big(dataset)}"
    about = ATTRIBUTES[attribute]
    if attribute == "skin_tone":
        about = f"groups of the {ATTRIBUTES['skin_angle']}; it says nothing about the person"
    return page.label(attribute), about
