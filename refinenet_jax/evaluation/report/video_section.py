"""Section on videos: hand IoU and flicker of each."""

import math
from pathlib import Path

import numpy as np

from refinenet_jax.evaluation.analysis import slices
from refinenet_jax.evaluation.analysis.flicker import MAX_GAP, Flicker
from refinenet_jax.evaluation.report import figures, page, plots
from refinenet_jax.evaluation.report.figures import Estimate
from refinenet_jax.evaluation.scores import Scores

_MAX_VIDEOS, _MAX_CURVES = 60, 12
_NOTE = (
    "Flicker is 1 - IoU of a frame's mask and the previous mask, warped by optical flow; frames more than "
    f"{MAX_GAP} apart are not compared. Masks labeled frame by frame flicker as well: compare with the true masks."
)


def by_video(scores: Scores, folder: Path) -> str:
    """Returns the hand IoU of each video and of its frames; '' with fewer than two videos."""
    names = sorted(set(scores.videos) - {""})
    if len(names) < 2:
        return ""
    videos, ious = np.array(scores.videos), scores.hand_iou
    rows = []
    for name in names:
        indices = np.flatnonzero(videos == name)
        value = slices.figures(scores.subset(indices))["hand_iou"]
        rows.append((Estimate(name, value, None, len(indices)), ious[indices]))
    rows.sort(key=lambda row: (math.isnan(row[0].value), row[0].value))
    shown = rows[:_MAX_VIDEOS]
    svg = plots.write(figures.videos([row for row, _ in shown], [frames for _, frames in shown]), folder, "videos")
    which = f"the {_MAX_VIDEOS} worst of {len(rows)} videos" if len(rows) > len(shown) else "each video"
    note = f"Bar and line: hand IoU over all pixels of {which}; dots: of its single frames; right: number of frames."
    return page.wide_panel("Hand IoU by video", svg, page.paragraph(note))


def flicker(measured: Flicker, folder: Path) -> str:
    """Returns the flicker of a set, and the curves of the videos with the highest flicker."""
    names = sorted(measured.predicted, key=lambda name: -np.nan_to_num(measured.predicted[name]["mean"], nan=-1))
    shown = names[:_MAX_CURVES]
    values = [curves[name]["flicker"] for name in shown for curves in (measured.predicted, measured.true)]
    top = min(1.15 * np.nanmax(np.concatenate(values), initial=0.1) + 0.05, 1.1)
    panels = []
    for number, name in enumerate(shown):
        predicted, true = measured.predicted[name], measured.true[name]
        svg = plots.write(figures.flicker(predicted, true, MAX_GAP, top), folder, f"flicker_{number:02}")
        legend = f"<span>predicted {page.fraction(predicted['mean'])}, true {page.fraction(true['mean'])}</span>"
        panels.append(page.figure(name, svg, legend))
    means = measured.figures()
    note = (
        f"Predicted {page.fraction(means['predicted'])}, true masks {page.fraction(means['true'])}: means over the videos"
        f" (videos: {means['videos']}, pairs of frames: {means['pairs']}). "
    )
    if len(names) > len(shown):
        note += f"The {len(shown)} videos with the highest flicker are shown. "
    return page.paragraph(note + _NOTE) + page.panels(panels)
