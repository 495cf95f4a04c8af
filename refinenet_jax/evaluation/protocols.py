"""What a table of scores comes to, after the rules of three kinds of papers: strict, cvpr18 and seed.

All three are pure functions of `Scores`. They differ in what is averaged, over which images, and in what an image without hands
counts; that alone can move a figure by several points, so figures of two protocols are not to be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from refinenet_jax.errors import UsageError, require
from refinenet_jax.evaluation import bootstrap, boundary, metrics
from refinenet_jax.evaluation.analysis import calibration
from refinenet_jax.evaluation.cvpr18 import dataset_of
from refinenet_jax.evaluation.metrics import mean, number
from refinenet_jax.evaluation.scores import Scores

PROTOCOLS = ("strict", "cvpr18", "seed")


@dataclass(frozen=True)
class Script:
    """How a `computeAccuracy*.m` divides; see `cvpr18`.

    Attributes:
      images: it divides by this number, whatever is there; None for the number of predictions.
      drops_zeros: images with IoU 0 are taken from that number.
    """

    images: int | None
    drops_zeros: bool = False


SCRIPTS = {
    "egohands": Script(images=800),
    "eyth": Script(images=258, drops_zeros=True),
    "gtea": Script(images=None),
    "hof": Script(images=None),
}


def figures(scores: Scores, dataset: str, protocols: Sequence[str]) -> dict[str, dict]:
    """All that is told of a set, ready for JSON.

    Args:
      scores: image by image.
      dataset: its name, such as 'egohands/hands'.
      protocols: of PROTOCOLS.

    Returns:
      The figures of each protocol by its name; with 'strict' also `intervals`, [low, high] or None for its figures and `about`,
      a line on how they came about; and `calibration` where it is known (`calibration.figures`).
    """
    check(protocols)
    make = {"strict": strict, "cvpr18": lambda scores: cvpr18(scores, dataset), "seed": seed}
    result = {name: make[name](scores) for name in PROTOCOLS if name in protocols}
    if "strict" in protocols:
        ranges = {name: ends and list(ends) for name, ends in bootstrap.intervals(scores).items()}
        result["intervals"] = {**ranges, "about": bootstrap.describe(scores)}
    if scores.calibration is not None:
        result["calibration"] = {k: number(v) for k, v in calibration.figures(scores.calibration).items()}
    return result


def check(protocols: Sequence[str]) -> None:
    """Raises UsageError where one of `config.evaluate.protocols` is unknown, or none is given."""
    if isinstance(protocols, str) or not protocols:
        raise UsageError(
            f"config.evaluate.protocols is {protocols!r}; name one or more of {', '.join(PROTOCOLS)}, for instance "
            "--config.evaluate.protocols='(\"strict\",)'"
        )
    for name in protocols:
        require(name, PROTOCOLS, "protocol")


def strict(scores: Scores) -> dict:
    """Every image counts once, at the size of its mask, in whole numbers; nothing is dropped.

    An image without hands in truth and prediction has no hand IoU: it is counted apart, and the means are over the others. A
    class that neither truth nor prediction has is absent, not found. A missing prediction counts as all background.

    Returns:
      What `metrics.summarise` returns; boundary_f, boundary_precision, boundary_recall, boundary_iou, means per image where
      there is an outline; missing_predictions.
    """
    outlines = boundary.scores(scores.boundary)
    return {
        **metrics.summarise(scores.counts, scores.class_names),
        **{name: number(mean(values)) for name, values in outlines.items()},
        "missing_predictions": _missing(scores),
    }


def cvpr18(scores: Scores, dataset: str) -> dict:
    """Urooj and Borji (CVPR 2018), as the scripts they published count, in refinenet_files/ of their repository.

    Of each image: IoU, precision and recall of the hand, which is all that is not background; all three are 0 where not one
    pixel is right, also where there is no hand and none was found (`getIOU.m`). Then the sum over the images is divided by

      800 in EgoHands (`computeAccuracyEgoHands.m`), at 384x216 pixels, the truth resized and cut at Otsu's threshold;
      258 in EYTH, less the number of images with IoU 0 (`computeAccuracyEYTH.m`), though not less those of missing predictions;
      the number of predictions that exist in GTEA, at 720x405 pixels (`computeAccuracyGTEA.m`), and HOF
      (`computeAccuracyHoF.m`);
      the number of images in all other datasets.

    EgoHands' script stops at a missing prediction; here it counts 0.

    Args:
      scores: with what `cvpr18.compare` counted; where nothing was, masks of the truth's size serve.
      dataset: its name, such as 'egohands/hands'.

    Returns:
      per_image_iou, per_image_precision, per_image_recall (None where it is divided by 0); images, divided_by.
    """
    counts = metrics.foreground(scores.counts) if scores.cvpr18 is None else scores.cvpr18
    found = np.ones(len(scores), bool) if scores.found is None else scores.found
    script = SCRIPTS.get(dataset_of(dataset))
    by_image = {name: np.where(found, np.nan_to_num(v), 0.0) for name, v in metrics.hand_scores(counts).items()}
    if script is None:
        divisor = len(scores)
    else:
        divisor = int(found.sum()) if script.images is None else script.images
        if script.drops_zeros:
            divisor -= int((found & (by_image["iou"] == 0)).sum())
    means = {f"per_image_{k}": float(v.sum()) / divisor if divisor > 0 else None for k, v in by_image.items()}
    return {**means, "images": len(scores), "divided_by": divisor}


def seed(scores: Scores) -> dict:
    """The project this one began with: over all pixels of the set, the mean of the IoU of background and that of the hand.

    Its log of 0.937 and 0.437 gives 0.687. The hand is all that is not background.

    Returns:
      mean_iou, background_iou, hand_iou; None where the set has neither truth nor prediction of it.
    """
    background, hand = metrics.iou(metrics.foreground(scores.counts.sum(0, dtype=np.int64)))
    return {"mean_iou": number((background + hand) / 2), "background_iou": number(background), "hand_iou": number(hand)}


def _missing(scores: Scores) -> int:
    return 0 if scores.found is None else int((~scores.found).sum())
