"""evaluation_NAME.html: all that is known of one evaluation, on a page that needs no other file; figures/NAME/ has its figures.

The same table of scores gives the same page.
"""

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from refinenet_jax import page, plots
from refinenet_jax.data.examples import Source
from refinenet_jax.evaluation import bootstrap, boundary, metrics
from refinenet_jax.evaluation.analysis import calibration, slices
from refinenet_jax.evaluation.analysis.flicker import Flicker
from refinenet_jax.evaluation.protocols import PROTOCOLS
from refinenet_jax.evaluation.report import figures, gallery, published, report, slice_section, video_section
from refinenet_jax.evaluation.report.figures import Estimate
from refinenet_jax.evaluation.scores import Scores

PROTOCOL_NOTES = {
    "strict": "every image counts once, at the size of its mask; an image without hands in truth and prediction has no hand "
    "IoU and is counted apart; an absent class is not taken for found; void is not counted.",
    "cvpr18": "as the scripts that Urooj and Borji (CVPR 2018) published count: hand IoU averaged over the images, 0 where not "
    "one pixel is right; predictions are fused of three scales, size and divisor are those of each dataset's script.",
    "seed": "over all pixels of the set, the mean of the IoU of background and that of the hand, which is all else.",
}
_MAX_CASES = 10
_PACKAGES = ("refinenet-jax", "jax", "flax", "numpy", "opencv-python-headless")
_CORRUPTION_NOTE = (
    "Images made worse on purpose, after Hendrycks and Dietterich (ICLR 2019), five strengths of each kind; random parts are "
    "the same every time. What an occluding object hides counts as background."
)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a page is made of.

    Attributes:
      title: its heading.
      dataset: name, such as 'egohands/hands'.
      scores: image by image.
      figures: of `protocols.figures`.
      flicker: None where there are no neighbouring frames.
      corruptions: of `corruptions.curves`, None where nobody asked for them.
      facts: how it was made: name -> text.
    """

    title: str
    dataset: str
    scores: Scores
    figures: Mapping[str, Mapping]
    flicker: Flicker | None = None
    corruptions: Mapping[str, Mapping[int, Mapping[str, float]]] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def write(workdir: Path, name: str, evaluation: Evaluation, source: Source, predict: gallery.Predict) -> Path:
    """Writes the page and its figures.

    Args:
      workdir: where evaluation_NAME.html and figures/NAME/ go.
      name: part of their names.
      evaluation: what is told.
      source: the images, of which the worst are shown.
      predict: gives the scored mask of an example.

    Returns:
      The path of the page.

    Raises:
      OSError: it cannot be written.
    """
    folder = workdir / "figures" / name
    scores = evaluation.scores
    cuts = slices.slices(scores)
    sections = (
        ("Summary", _summary(evaluation)),
        ("Protocols side by side", _protocols(evaluation)),
        ("What makes it worse", slice_section.findings(cuts)),
        ("Slices", slice_section.section(cuts, scores, evaluation.dataset, _whole(evaluation), folder)),
        ("Is it right as often as it is sure?", _calibration(evaluation, folder)),
        ("Image by image, and along the outlines", _images(evaluation, folder)),
        ("Corruptions", _corruptions(evaluation, folder)),
        ("Videos", video_section.by_video(scores, folder)),
        ("Flicker", video_section.flicker(evaluation.flicker, folder) if evaluation.flicker else ""),
        ("Worst images", _worst(evaluation, source, predict)),
        ("How this was made", _facts(evaluation)),
    )
    note = evaluation.figures["intervals"]["about"] if "intervals" in evaluation.figures else ""
    path = workdir / f"evaluation_{name}.html"
    partial = path.with_suffix(".html.partial")
    partial.write_bytes(page.page(evaluation.title, note, sections).encode("utf-8", "replace"))
    partial.replace(path)
    return path


def _summary(evaluation: Evaluation) -> str:
    """The few figures that are asked for first, with their intervals."""
    told, scores = evaluation.figures, evaluation.scores
    ranges = _ranges(evaluation)
    whole = slices.figures(scores)
    tiles = [
        ("hand IoU", page.fraction(whole["hand_iou"]), _range(ranges["hand_iou"], "all pixels")),
        (
            "hand IoU per image",
            page.fraction(whole["per_image_iou"]),
            _range(ranges["per_image_iou"], "mean of the images"),
        ),
        ("boundary F", page.fraction(whole["boundary_f"]), _range(ranges["boundary_f"], "mean of the images")),
    ]
    if "calibration" in told:
        right, sure = (page.fraction(told["calibration"][key]) for key in ("accuracy", "confidence"))
        tiles.append(("calibration error", page.fraction(told["calibration"]["ece"]), f"right {right}, sure {sure}"))
    if evaluation.flicker:
        means = evaluation.flicker.figures()
        tiles.append(("flicker", page.fraction(means["predicted"]), f"true masks {page.fraction(means['true'])}"))
    if evaluation.corruptions:
        strongest = max(evaluation.corruptions["mean"])
        worst = evaluation.corruptions["mean"][strongest]["hand_iou"]
        tiles.append(("hand IoU, corrupted", page.fraction(worst), f"mean of all kinds at strength {strongest}"))
    videos = len(set(scores.videos) - {""})
    tiles.append(("images", f"{len(scores):,}", f"of {videos:,} videos" if videos else ""))
    return page.descriptions("tiles", tiles)


def _protocols(evaluation: Evaluation) -> str:
    told = evaluation.figures
    columns = [name for name in PROTOCOLS if name in told]
    header = ["", *(part for name in columns for part in ((name, "95 % interval") if name == "strict" else (name,)))]
    rows = []
    for name, values, interval in report.rows(told):
        row = [name]
        for column in columns:
            value = values.get(column, math.nan)
            row.append("absent" if value is None else "" if math.isnan(value) else f"{value:.4f}")
            if column == "strict":
                row.append(page.interval(interval) if interval else "")
        rows.append(row)
    content = page.table("scores", header, rows) + "".join(map(page.paragraph, report.notes(told)))
    if known := published.rows(evaluation.dataset):
        content += page.paragraph("Published for this dataset, on all of its test images:")
        content += page.table("sources", ["published by", "score", "measured as"], known)
    return content


def _calibration(evaluation: Evaluation, folder: Path) -> str:
    told = evaluation.figures.get("calibration")
    if not told or told["ece"] is None:
        return ""
    more = "surer than right" if told["confidence"] > told["accuracy"] else "right more often than it is sure"
    note = (
        f"Of all pixels, {100 * told['accuracy']:.2f} % are right, at a mean confidence of {100 * told['confidence']:.2f} %:"
        f" the network is {more}. Expected calibration error {told['ece']:.4f} (Naeini et al., AAAI 2015), at most"
        f" {told['mce']:.3f} in a bin; {calibration.BINS} bins, most probable class."
    )
    svg = plots.write(figures.reliability(evaluation.scores.calibration), folder, "reliability")
    return page.panels([page.figure("Reliability", svg), page.paragraph(note)], "panels wide")


def _images(evaluation: Evaluation, folder: Path) -> str:
    scores = evaluation.scores
    outlines = boundary.scores(scores.boundary)
    curves = {
        "hand IoU": scores.hand_iou,
        "boundary F": outlines["boundary_f"],
        "boundary IoU": outlines["boundary_iou"],
    }
    svg = plots.write(figures.distributions(curves), folder, "images")
    ranges = _ranges(evaluation)
    rows = [
        [page.label(name).replace(" f", " F"), page.fraction(metrics.mean(values)), page.interval(ranges[name])]
        for name, values in outlines.items()
    ]
    note = (
        f"The boundary F-score takes an outline for hit within {100 * boundary.TOLERANCE:g} % of the image's diagonal; boundary"
        f" IoU (Cheng et al., CVPR 2021) compares bands of {100 * boundary.BAND:g} % along the inside of the outlines."
    )
    table = page.table("scores", ["mean of the images", "", "95 % interval"], rows)
    beside = f"<div>{table}{page.paragraph(note)}</div>"
    return page.panels([page.figure("How many images reach a score", svg), beside], "panels wide")


def _corruptions(evaluation: Evaluation, folder: Path) -> str:
    table = evaluation.corruptions
    if not table:
        return ""
    strengths = sorted(table["mean"])
    rows = [
        [kind.replace("_", " "), *(page.fraction(by_strength[s]["hand_iou"]) for s in strengths)]
        for kind, by_strength in table.items()
    ]
    svg = plots.write(figures.corruptions(table), folder, "corruptions")
    numbers = page.table("scores", ["hand IoU", "as it is", *map(str, strengths[1:])], rows)
    beside = f"<div>{numbers}{page.paragraph(_CORRUPTION_NOTE)}</div>"
    return page.panels([page.figure("Hand IoU by strength", svg), beside], "panels wide")


def _worst(evaluation: Evaluation, source: Source, predict: gallery.Predict) -> str:
    picked = gallery.worst(evaluation.scores, _MAX_CASES)
    shown = [
        page.figure(
            case.caption,
            f"<div>{''.join(page.picture(p, t) for p, t in zip(case.pictures, gallery.TITLES, strict=True))}</div>",
            kind="case",
        )
        for case in gallery.cases(picked, evaluation.scores, source, predict)
    ]
    names = [name for name in gallery.COLOURS if name != "other class" or len(evaluation.scores.class_names) > 2]
    colours = ["#{:02x}{:02x}{:02x}".format(*gallery.COLOURS[name]) for name in names]
    columns = page.paragraph(f"From left to right: {', '.join(gallery.TITLES)}. At most two of one video.")
    return f"{columns}<p class='key boxes'>{page.swatches(colours, names)}</p>\n{''.join(shown)}" if shown else ""


def _facts(evaluation: Evaluation) -> str:
    versions = {name: version(name) for name in _PACKAGES} | {"Python": platform.python_version()}
    facts = {**evaluation.facts, "versions": ", ".join(f"{name} {number}" for name, number in versions.items())}
    notes = [f"{name}: {PROTOCOL_NOTES[name]}" for name in PROTOCOLS if name in evaluation.figures]
    return page.descriptions("facts", [(name, text) for name, text in facts.items() if text]) + page.points(notes)


def _whole(evaluation: Evaluation) -> Estimate:
    value = slices.figures(evaluation.scores)["hand_iou"]
    return Estimate("all", value, _ranges(evaluation)["hand_iou"], len(evaluation.scores))


def _ranges(evaluation: Evaluation) -> Mapping[str, Sequence[float] | None]:
    """The intervals, which only the protocol strict tells."""
    return evaluation.figures.get("intervals") or bootstrap.intervals(evaluation.scores)


def _range(ends: Sequence[float] | None, what: str) -> str:
    return what if ends is None else f"{page.interval(ends)} (95 %), {what}"
