"""Writes evaluation_NAME.html, a self-contained page on one evaluation, and its figures into figures/NAME/.

The same table of scores gives the same page.
"""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from refinenet_jax import text_files
from refinenet_jax.data.examples import Source
from refinenet_jax.evaluation import bootstrap, boundary, metrics, protocols
from refinenet_jax.evaluation.analysis import calibration, flicker, slices
from refinenet_jax.evaluation.protocols import PROTOCOLS
from refinenet_jax.evaluation.report import (
    figures,
    gallery,
    page,
    plots,
    published,
    report,
    slice_section,
    video_section,
)
from refinenet_jax.evaluation.report.figures import Estimate
from refinenet_jax.evaluation.scores import Scores

PROTOCOL_NOTES = {
    "strict": "every image counts once, at the size of its mask; images without hands in truth and prediction have no hand IoU "
    "and are counted separately; absent classes do not count as correct; void is not counted.",
    "cvpr18": "as the published scripts of Urooj and Borji (CVPR 2018): hand IoU averaged over the images, 0 if no pixel is "
    "right; predictions are fused from three scales; size and divisor follow each dataset's script.",
    "seed": "over all pixels of the set, the mean IoU of background and hand (everything else).",
}
_MAX_CASES = 10
_PACKAGES = ("refinenet-jax", "jax", "flax", "numpy", "opencv-python-headless")


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Images, scores and settings of one evaluation.

    Attributes:
      source: images of the split.
      split: name of the split.
      scores: per-image scores of the split.
      predict: returns the scored mask of an example, uint8 [h, w].
      protocols: names of the requested protocols.
      title: title of the table and key in metrics.json.
      about: what was scored, for metrics.json.
      settings: further settings to list on the page, name -> text.
      corruptions: result of `corruptions.curves`; None if not requested.
    """

    source: Source
    split: str
    scores: Scores
    predict: gallery.Predict
    protocols: Sequence[str]
    title: str
    about: Mapping[str, str]
    settings: Mapping[str, str] = field(default_factory=dict)
    corruptions: Mapping[str, Mapping[int, Mapping[str, float]]] | None = None

    @property
    def dataset(self) -> str:
        """Dataset name, such as 'egohands/hands'."""
        return self.source.info.name

    @cached_property
    def figures(self) -> dict[str, dict]:
        """Result of `protocols.figures`."""
        return protocols.figures(self.scores, self.dataset, self.protocols)

    @cached_property
    def flicker(self) -> flicker.Flicker | None:
        """None if there are no neighboring frames."""
        return flicker.measure(self.scores, self.source, self.predict)


def write(workdir: Path, name: str, evaluation: Evaluation) -> Path:
    """Writes evaluation_NAME.html and figures/NAME/; returns the path of the page.

    Raises:
      OSError: the page cannot be written.
    """
    folder, scores = workdir / "figures" / name, evaluation.scores
    cuts = slices.slices(scores)
    whole = Estimate("all", slices.figures(scores)["hand_iou"], _ranges(evaluation)["hand_iou"], len(scores))
    sections = (
        ("Summary", _summary(evaluation)),
        ("Protocols side by side", _protocols(evaluation)),
        ("What makes it worse", slice_section.findings(cuts)),
        ("Slices", slice_section.section(cuts, scores, evaluation.dataset, whole, folder)),
        ("Calibration", _calibration(evaluation, folder)),
        ("Images and outlines", _images(evaluation, folder)),
        ("Corruptions", _corruptions(evaluation, folder)),
        ("Videos", video_section.by_video(scores, folder)),
        ("Flicker", video_section.flicker(evaluation.flicker, folder) if evaluation.flicker else ""),
        ("Worst images", _worst(evaluation)),
        ("How this was made", _facts(evaluation)),
    )
    note = evaluation.figures["intervals"]["about"] if "intervals" in evaluation.figures else ""
    title = f"{evaluation.dataset} [{evaluation.split}]"
    return text_files.replace(workdir / f"evaluation_{name}.html", page.page(title, note, sections))


def _summary(evaluation: Evaluation) -> str:
    """Returns the main figures with their intervals."""
    numbers, scores = evaluation.figures, evaluation.scores
    ranges, whole = _ranges(evaluation), slices.figures(scores)
    tiles = []
    for name, key, what in (
        ("hand IoU", "hand_iou", "all pixels"),
        ("hand IoU per image", "per_image_iou", "mean of the images"),
        ("boundary F", "boundary_f", "mean of the images"),
    ):
        interval = f"{page.interval(ranges[key])} (95 %), " if ranges[key] else ""
        tiles.append((name, page.fraction(whole[key]), interval + what))
    if "calibration" in numbers:
        right, sure = (page.fraction(numbers["calibration"][key]) for key in ("accuracy", "confidence"))
        note = f"accuracy {right}, confidence {sure}"
        tiles.append(("calibration error", page.fraction(numbers["calibration"]["ece"]), note))
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
    header, *rows = report.cells(evaluation.figures)
    content = page.table("scores", header, rows) + "".join(map(page.paragraph, report.notes(evaluation.figures)))
    if known := published.rows(evaluation.dataset):
        content += page.paragraph("Published for this dataset, on all of its test images:")
        content += page.table("sources", ["published by", "score", "measured as"], known)
    return content


def _calibration(evaluation: Evaluation, folder: Path) -> str:
    numbers = evaluation.figures.get("calibration")
    if not numbers or numbers["ece"] is None:
        return ""
    more = "overconfident" if numbers["confidence"] > numbers["accuracy"] else "underconfident"
    note = (
        f"{100 * numbers['accuracy']:.2f} % of the pixels are right, mean confidence {100 * numbers['confidence']:.2f} %:"
        f" the network is {more}. Expected calibration error {numbers['ece']:.4f} (Naeini et al., AAAI 2015), at most"
        f" {numbers['mce']:.3f} in a bin; {calibration.BINS} bins, most probable class."
    )
    svg = plots.write(figures.reliability(evaluation.scores.calibration), folder, "reliability")
    return page.wide_panel("Reliability", svg, page.paragraph(note))


def _images(evaluation: Evaluation, folder: Path) -> str:
    scores = evaluation.scores
    outlines = boundary.scores(scores.boundary)
    curves = {"boundary F": outlines["boundary_f"], "boundary IoU": outlines["boundary_iou"]}
    svg = plots.write(figures.distributions({"hand IoU": scores.hand_iou, **curves}), folder, "images")
    ranges = _ranges(evaluation)
    rows = [
        [page.label(name).replace(" f", " F"), page.fraction(metrics.mean(values)), page.interval(ranges[name])]
        for name, values in outlines.items()
    ]
    note = (
        f"The boundary F-score counts an outline as matched within {100 * boundary.TOLERANCE:g} % of the image's diagonal;"
        f" boundary IoU (Cheng et al., CVPR 2021) compares bands of {100 * boundary.BAND:g} % along the inside of the outlines."
    )
    table = page.table("scores", ["mean of the images", "", "95 % interval"], rows)
    return page.wide_panel("How many images reach a score", svg, table + page.paragraph(note))


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
    numbers = page.table("scores", ["hand IoU", "none", *map(str, strengths[1:])], rows)
    note = (
        "Corruptions after Hendrycks and Dietterich (ICLR 2019) in five strengths, reproducible. What an occluding object hides"
        " counts as background."
    )
    return page.wide_panel("Hand IoU by strength", svg, numbers + page.paragraph(note))


def _worst(evaluation: Evaluation) -> str:
    picked = gallery.worst(evaluation.scores, _MAX_CASES)
    shown = []
    for caption, pictures in gallery.cases(picked, evaluation.scores, evaluation.source, evaluation.predict):
        embedded = (page.picture(pixels, title) for pixels, title in zip(pictures, gallery.TITLES, strict=True))
        shown.append(page.figure(caption, f"<div>{''.join(embedded)}</div>", kind="case"))
    names = [name for name in gallery.COLORS if name != "other class" or len(evaluation.scores.class_names) > 2]
    colors = ["#{:02x}{:02x}{:02x}".format(*gallery.COLORS[name]) for name in names]
    columns = page.paragraph(f"From left to right: {', '.join(gallery.TITLES)}. At most two images of one video.")
    return f"{columns}<p class='key boxes'>{page.swatches(colors, names)}</p>\n{''.join(shown)}" if shown else ""


def _facts(evaluation: Evaluation) -> str:
    versions = {name: version(name) for name in _PACKAGES} | {"Python": platform.python_version()}
    facts = {**evaluation.about, **evaluation.settings, "dataset": evaluation.dataset, "split": evaluation.split}
    facts["classes"] = ", ".join(evaluation.scores.class_names)
    facts["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    notes = [f"{name}: {PROTOCOL_NOTES[name]}" for name in PROTOCOLS if name in evaluation.figures]
    return page.descriptions("facts", [(name, text) for name, text in facts.items() if text]) + page.points(notes)


def _ranges(evaluation: Evaluation) -> Mapping[str, Sequence[float] | None]:
    """Returns the intervals, also if the protocol strict was not requested."""
    return evaluation.figures.get("intervals") or bootstrap.intervals(evaluation.scores)
