"""Three evaluation protocols, from scores to figures: strict, cvpr18 and seed.

All are pure functions of `Scores`. They differ in what is averaged, over which images, and in the value of an image without
hands. This alone can change a figure by several points, so figures of different protocols must not be compared.
"""

from collections.abc import Sequence

import numpy as np

from refinenet_jax.errors import UsageError, require
from refinenet_jax.evaluation import bootstrap, boundary, metrics
from refinenet_jax.evaluation.analysis import calibration
from refinenet_jax.evaluation.cvpr18 import dataset_of
from refinenet_jax.evaluation.metrics import mean, number
from refinenet_jax.evaluation.scores import Scores

PROTOCOLS = ("strict", "cvpr18", "seed")


# Numbers by which `computeAccuracy*.m` divide; None is the number of predictions. See `cvpr18`.
SCRIPTS = {"egohands": 800, "eyth": 258, "gtea": None, "hof": None}


def figures(scores: Scores, dataset: str, protocols: Sequence[str]) -> dict[str, dict]:
    """Returns all figures of a set, ready for JSON.

    Args:
      scores: per-image scores.
      dataset: dataset name, such as 'egohands/hands'.
      protocols: names from PROTOCOLS.

    Returns:
      The figures by protocol. With 'strict' also `intervals`: [low, high] or None for each figure, and `about`, a line on how
      they were computed. `calibration` (`calibration.figures`) if it is known.
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
    """Raises UsageError if one of `config.evaluate.protocols` is unknown or none is given."""
    if isinstance(protocols, str) or not protocols:
        raise UsageError(
            f"config.evaluate.protocols is {protocols!r}. Give one or more of {', '.join(PROTOCOLS)}, for example "
            "--config.evaluate.protocols='(\"strict\",)'."
        )
    for name in protocols:
        require(name, PROTOCOLS, "protocol")


def strict(scores: Scores) -> dict:
    """Counts every image once, at the size of its mask, in integers; no image is dropped.

    An image without hands in truth and prediction has no hand IoU: such images are counted separately and excluded from the
    means. A class in neither truth nor prediction is absent, not correct. A missing prediction counts as background.

    Returns:
      The figures of `metrics.summarize`; boundary_f, boundary_precision, boundary_recall and boundary_iou, means over the
      images with an outline; missing_predictions.
    """
    outlines = boundary.scores(scores.boundary)
    return {
        **metrics.summarize(scores.counts, scores.class_names),
        **{name: number(mean(values)) for name, values in outlines.items()},
        "missing_predictions": 0 if scores.found is None else int((~scores.found).sum()),
    }


def cvpr18(scores: Scores, dataset: str) -> dict:
    """Computes figures as the published scripts of Urooj and Borji (CVPR 2018) do (refinenet_files/ in their repository).

    For each image: IoU, precision and recall of the hand, which is everything but background. All three are 0 if no pixel is
    right, also if there is no hand and none was found (`getIOU.m`). The sum over the images is divided by

      800 in EgoHands (`computeAccuracyEgoHands.m`), at 384x216 pixels, the truth resized and cut at Otsu's threshold;
      258 in EYTH, minus the number of images with IoU 0 (`computeAccuracyEYTH.m`), missing predictions not subtracted;
      the number of predictions that exist in GTEA, at 720x405 pixels (`computeAccuracyGTEA.m`), and HOF
      (`computeAccuracyHoF.m`);
      the number of images in all other datasets.

    The script of EgoHands stops at a missing prediction; here a missing prediction counts 0.

    Args:
      scores: per-image scores; without counts of `cvpr18.compare`, those at the truth's size are used.
      dataset: dataset name, such as 'egohands/hands'.

    Returns:
      per_image_iou, per_image_precision, per_image_recall (None if the divisor is 0); images, divided_by.
    """
    counts = metrics.foreground(scores.counts) if scores.cvpr18 is None else scores.cvpr18
    found = np.ones(len(scores), bool) if scores.found is None else scores.found
    by_image = {name: np.where(found, np.nan_to_num(v), 0.0) for name, v in metrics.hand_scores(counts).items()}
    name = dataset_of(dataset)
    divisor = SCRIPTS.get(name, len(scores))
    if divisor is None:
        divisor = int(found.sum())
    if name == "eyth":
        divisor -= int((found & (by_image["iou"] == 0)).sum())
    means = {f"per_image_{k}": float(v.sum()) / divisor if divisor > 0 else None for k, v in by_image.items()}
    return {**means, "images": len(scores), "divided_by": divisor}


def seed(scores: Scores) -> dict:
    """Computes the mean IoU of background and hand over all pixels of the set, as adarsh1001/Hand_Segmentation_RefineNet does.

    The log of that project has 0.937 and 0.437, hence 0.687. The hand is everything but background.

    Returns:
      mean_iou, background_iou, hand_iou; None if neither truth nor prediction has the class.
    """
    background, hand = metrics.iou(metrics.foreground(scores.counts.sum(0, dtype=np.int64)))
    return {"mean_iou": number((background + hand) / 2), "background_iou": number(background), "hand_iou": number(hand)}
