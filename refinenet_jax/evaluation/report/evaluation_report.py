"""Writes the results of an evaluation: metrics.json, per_image_NAME.csv, pictures, and evaluation_NAME.html.

The page is self-contained, and the same table of scores gives the same page.
"""

import math
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from refinenet_jax import parallel, text_files
from refinenet_jax.data.examples import Source
from refinenet_jax.evaluation import bootstrap, metrics, protocols
from refinenet_jax.evaluation.analysis import calibration, flicker, slices
from refinenet_jax.evaluation.protocols import PROTOCOLS
from refinenet_jax.evaluation.report import figures, gallery, page, plots, published, report, slice_section
from refinenet_jax.evaluation.scores import Scores

PROTOCOL_NOTES = {
    "strict": "every image counts once, at the size of its mask; images without hands in truth and prediction have no hand IoU "
    "and are counted separately; absent classes do not count as correct; void is not counted.",
    "cvpr18": "as the published scripts of Urooj and Borji (CVPR 2018): hand IoU averaged over the images, 0 if no pixel is "
    "right; predictions are fused from three scales; size and divisor follow each dataset's script.",
    "seed": "over all pixels of the set, the mean IoU of background and hand (everything else).",
}
_FLICKER_NOTE = (
    "Flicker is 1 - IoU of a frame's mask and the previous mask, warped by optical flow; frames more than "
    f"{flicker.MAX_GAP} apart are not compared. Masks labeled frame by frame flicker as well: compare with the true masks."
)
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
      about: what was scored, name -> text.
      corruptions: result of `corruptions.curves`; None if not requested.
    """

    source: Source
    split: str
    scores: Scores
    predict: gallery.Predict
    protocols: Sequence[str]
    title: str
    about: Mapping[str, str]
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


def write(workdir: Path, evaluation: Evaluation) -> dict:
    """Prints the table and writes metrics.json, a row per image, the best and worst pictures, and the page.

    All processes may call it; only the main process writes. The folder is created if necessary.

    Returns:
      The figures of `protocols.figures`.
    """
    if parallel.is_main_process():
        workdir.mkdir(parents=True, exist_ok=True)
        print(report.table(evaluation.title, evaluation.figures))
        name = slug(evaluation.source, evaluation.split)
        picture, rows = workdir / f"evaluation_{name}.png", workdir / f"per_image_{name}.csv"
        more = {"flicker": evaluation.flicker.figures()} if evaluation.flicker else {}
        more |= {"corruptions": _for_json(evaluation.corruptions)} if evaluation.corruptions else {}
        summary = {**evaluation.about, **evaluation.figures, **more}
        report.write_metrics(workdir / "metrics.json", evaluation.title, summary)
        report.write_per_image(rows, evaluation.scores)
        print(f"Figures: {workdir / 'metrics.json'}\nEach image: {rows}")
        if gallery.write(picture, evaluation.predict, evaluation.source, evaluation.scores):
            print(f"Pictures: {picture}")
        print(f"Page: {write_page(workdir, name, evaluation)}")
    return evaluation.figures


def slug(source: Source, split: str) -> str:
    """Returns a dataset and split as part of a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{source.info.name}_{split}").strip("_")


def _for_json(corrupted: Mapping[str, Mapping]) -> dict:
    """Returns the curves with None for NaN."""
    return {
        kind: {s: {name: metrics.number(value) for name, value in figures.items()} for s, figures in rows.items()}
        for kind, rows in corrupted.items()
    }


def write_page(workdir: Path, name: str, evaluation: Evaluation) -> Path:
    """Writes evaluation_NAME.html; returns its path.

    Raises:
      OSError: the page cannot be written.
    """
    scores = evaluation.scores
    cuts = slices.slices(scores)
    sections = (
        ("Summary", _summary(evaluation)),
        ("Protocols side by side", _protocols(evaluation)),
        ("What makes it worse", slice_section.findings(cuts)),
        ("Slices", slice_section.section(cuts, scores, evaluation.dataset)),
        ("Calibration", _calibration(evaluation)),
        ("Corruptions", _corruptions(evaluation)),
        ("Videos", _videos(evaluation)),
        ("Worst images", _worst(evaluation)),
        ("How this was made", _facts(evaluation)),
    )
    note = evaluation.figures["intervals"]["about"] if "intervals" in evaluation.figures else ""
    title = f"{evaluation.dataset} [{evaluation.split}]"
    return text_files.replace(workdir / f"evaluation_{name}.html", page.page(title, note, sections))


def _summary(evaluation: Evaluation) -> str:
    """Returns the main figures with their intervals."""
    numbers, scores = evaluation.figures, evaluation.scores
    ranges, whole = numbers.get("intervals") or bootstrap.intervals(scores), slices.figures(scores)
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


def _calibration(evaluation: Evaluation) -> str:
    numbers = evaluation.figures.get("calibration")
    if not numbers or numbers["ece"] is None:
        return ""
    more = "overconfident" if numbers["confidence"] > numbers["accuracy"] else "underconfident"
    note = (
        f"{100 * numbers['accuracy']:.2f} % of the pixels are right, mean confidence {100 * numbers['confidence']:.2f} %:"
        f" the network is {more}. Expected calibration error {numbers['ece']:.4f} (Naeini et al., AAAI 2015;"
        f" {calibration.BINS} bins, most probable class)."
    )
    svg = plots.svg("reliability", figures.reliability, evaluation.scores.calibration)
    return page.panels([page.figure("Reliability", svg), page.paragraph(note)])


def _corruptions(evaluation: Evaluation) -> str:
    table = evaluation.corruptions
    if not table:
        return ""
    strengths = sorted(table["mean"])
    rows = [
        [kind.replace("_", " "), *(page.fraction(by_strength[s]["hand_iou"]) for s in strengths)]
        for kind, by_strength in table.items()
    ]
    numbers = page.table("scores", ["hand IoU", "none", *map(str, strengths[1:])], rows)
    note = (
        "Corruptions after Hendrycks and Dietterich (ICLR 2019) in five strengths, reproducible. What an occluding object hides"
        " counts as background."
    )
    svg = plots.svg("corruptions", figures.corruptions, table)
    return page.panels([page.figure("Hand IoU by strength", svg), page.paragraph(note)]) + page.folded(
        "Numbers", numbers
    )


def _videos(evaluation: Evaluation) -> str:
    """Returns hand IoU and flicker of each video, the worst first; '' with fewer than two videos and no flicker."""
    scores, measured = evaluation.scores, evaluation.flicker
    names = sorted(set(scores.videos) - {""})
    if len(names) < 2 and not measured:
        return ""
    rows = []
    for name in names:
        indices = [i for i, video in enumerate(scores.videos) if video == name]
        value = slices.figures(scores.subset(indices))["hand_iou"]
        flickers = [page.fraction(of.get(name)) for of in (measured.predicted, measured.true)] if measured else []
        rows.append((math.isnan(value), value, [name, f"{len(indices):,}", page.fraction(value), *flickers]))
    header = ["video", "frames", "hand IoU, all pixels", *(("flicker", "of the true masks") if measured else ())]
    return (page.paragraph(_FLICKER_NOTE) if measured else "") + page.table(
        "scores", header, [row for *_, row in sorted(rows)]
    )


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
    facts = {"scored": evaluation.title, **evaluation.about}
    facts["classes"] = ", ".join(evaluation.scores.class_names)
    facts["versions"] = ", ".join(f"{name} {number}" for name, number in versions.items())
    notes = [f"{name}: {PROTOCOL_NOTES[name]}" for name in PROTOCOLS if name in evaluation.figures]
    return page.descriptions("facts", [(name, text) for name, text in facts.items() if text]) + page.points(notes)
