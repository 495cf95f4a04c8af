"""Section on slices: findings in sentences, a panel with intervals for each attribute, and a table."""

import math
from collections.abc import Sequence
from pathlib import Path

from refinenet_jax import page, plots
from refinenet_jax.evaluation import bootstrap
from refinenet_jax.evaluation.analysis import slices
from refinenet_jax.evaluation.analysis.attributes import ATTRIBUTES
from refinenet_jax.evaluation.report import figures, published
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
        rows = [
            Estimate(_short(cut), cut.figures["hand_iou"], interval, cut.n, cut.few)
            for cut, interval in zip(cuts, ranges, strict=True)
            if cut.attribute == attribute
        ]
        title, note = _about(attribute, dataset)
        svg = plots.write(figures.intervals(rows, whole, span), folder, f"slices_{attribute}")
        panels.append(page.figure(_capital(title), svg + page.paragraph(note)))
    notes = [
        "Hand IoU over all pixels of each slice with its 95 % interval (none where all are of one video); right: number of"
        " images. Line and band: the whole set. p: probability that chance makes any slice look as bad ('-': not tested)."
    ]
    if any(cut.few for cut in cuts):
        notes.append(f"* fewer than {slices.MIN_IMAGES} images (hollow dots): nothing is concluded from them.")
    return page.paragraph(" ".join(notes)) + page.panels(panels) + _table(cuts, ranges)


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
        here = cut.figures
        rows.append(
            [
                f"{cut.label}{' *' if cut.few else ''}",
                f"{cut.n:,}",
                page.fraction(here["hand_iou"]),
                page.interval(interval),
                page.text(cut.difference["hand_iou"], "+.3f"),
                *(page.fraction(here[key]) for key in ("per_image_iou", "hand_precision", "hand_recall", "boundary_f")),
                page.fraction(cut.p_value),
            ]
        )
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


def _short(cut: slices.Slice) -> str:
    """Returns the label of a slice without the title of its panel."""
    title = "" if cut.attribute == "size" else ATTRIBUTES[cut.attribute].title
    return cut.label.removeprefix(title).strip()


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
