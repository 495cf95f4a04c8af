"""Section on slices: findings in sentences, a panel with intervals for each attribute, and a table."""

import math
from collections.abc import Sequence
from pathlib import Path

from refinenet_jax.evaluation import bootstrap
from refinenet_jax.evaluation.analysis import slices
from refinenet_jax.evaluation.analysis.attributes import ATTRIBUTES
from refinenet_jax.evaluation.report import figures, page, plots, published
from refinenet_jax.evaluation.report.figures import Estimate
from refinenet_jax.evaluation.scores import Scores


def findings(cuts: Sequence[slices.Slice]) -> str:
    """Returns the significant drops in sentences, and the test."""
    found = slices.findings(cuts)
    points = page.points(found or ["No drop is larger than chance explains."])
    return points + page.paragraph(slices.TEST)


def section(cuts: Sequence[slices.Slice], scores: Scores, dataset: str, whole: Estimate, folder: Path) -> str:
    """Returns a panel for each attribute and a table of all slices except single videos.

    Args:
      cuts: result of `slices.slices`.
      scores: scores of the whole set.
      dataset: dataset name, such as 'egohands/hands'.
      whole: hand IoU of the whole set.
      folder: folder for the figures as files.
    """
    cuts = [cut for cut in cuts if cut.attribute != "video"]
    if not cuts:
        return ""
    ranges = [bootstrap.intervals(scores.subset(cut.indices))["hand_iou"] for cut in cuts]
    span = _span([whole.value, *(cut.figures["hand_iou"] for cut in cuts)], [whole.interval, *ranges])
    panels = []
    for attribute in dict.fromkeys(cut.attribute for cut in cuts):
        title, note = _about(attribute, dataset)
        rows = [
            Estimate(cut.label.removeprefix(title).strip(), cut.figures["hand_iou"], interval, cut.n, cut.few)
            for cut, interval in zip(cuts, ranges, strict=True)
            if cut.attribute == attribute
        ]
        svg = plots.write(figures.intervals(rows, whole, span), folder, f"slices_{attribute}")
        panels.append(page.figure(title.capitalize(), svg + page.paragraph(note)))
    note = (
        "Hand IoU over all pixels of each slice with its 95 % interval (none where all are of one video); right: number of"
        " images. Line and band: the whole set. p: probability that chance makes any slice look as bad ('-': not tested)."
        f" * fewer than {slices.MIN_IMAGES} images (hollow dots): nothing is concluded from them."
    )
    return page.paragraph(note) + page.panels(panels) + _table(cuts, ranges)


def _table(cuts: Sequence[slices.Slice], ranges: Sequence[tuple[float, float] | None]) -> str:
    header = [
        "slice",
        "images",
        "hand IoU",
        "95 %",
        "against all",
        "per image",
        "precision",
        "recall",
        "boundary F",
        "p",
    ]
    rows = []
    for cut, interval in zip(cuts, ranges, strict=True):
        hand_iou, *others = (page.fraction(cut.figures[key]) for key in slices.FIGURES)
        difference = page.text(cut.difference["hand_iou"], "+.3f")
        name = f"{cut.label} *" if cut.few else cut.label
        p_value = page.fraction(cut.p_value)
        rows.append([name, f"{cut.n:,}", hand_iou, page.interval(interval), difference, *others, p_value])
    return page.table("scores", header, rows)


def _span(values: Sequence[float], ranges: Sequence[tuple[float, float] | None]) -> tuple[float, float]:
    """Returns the limits of an axis that shows all values and intervals."""
    known = [x for x in (*values, *(end for ends in ranges if ends for end in ends)) if not math.isnan(x)]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return max(math.floor(20 * (low - 0.01)) / 20, -0.02), min(math.ceil(20 * (high + 0.01)) / 20, 1.02)


def _about(attribute: str, dataset: str) -> tuple[str, str]:
    """Returns the title of an attribute's panel and a note."""
    if attribute == "size":
        line = "small: hands cover less than the median of the images with hands."
        return "small and big hands", f"{line} {published.small_and_big(dataset)}"
    about = ATTRIBUTES[attribute]
    if attribute == "skin_tone":
        angle = ATTRIBUTES["skin_angle"].description
        return about.title, f"groups of the {angle}; it says nothing about the person"
    return about.title, about.description
