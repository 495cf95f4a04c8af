"""Per-image scores of predicted masks: the table from which all figures, slices, intervals and pictures are computed."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from refinenet_jax import parallel
from refinenet_jax.data.examples import DatasetInfo
from refinenet_jax.data.reading import read_ahead
from refinenet_jax.evaluation import boundary, metrics
from refinenet_jax.evaluation.analysis import attributes, calibration


@dataclass(frozen=True)
class Scores:
    """Scores with one row per image of a split, in the split's order.

    Attributes:
      class_names: c names, background first.
      ids: n image ids.
      videos: video of each image, '' for images without one.
      counts: int64 [n, c, c], confusion matrices with truth in the rows; void is not counted.
      boundary: int64 [n, k], counts along the outlines; see `boundary.COLUMNS`.
      calibration: int64 [bins, k], over the whole set; see `calibration.COLUMNS`. None if only masks are known.
      attributes: name -> [n], numbers (NaN if undefined) or strings, by which slices are formed.
      cvpr18: int64 [n, 2, 2], confusion of background and hand in the protocol cvpr18, which has predictions of its own; see
        `cvpr18.compare`. None if it was not requested.
      found: bool [n], whether there was a prediction; a missing one counts as background. None means all were found.
      frames: int64 [n], frame number of each image in its video, -1 if it has none. None if no image has one.
    """

    class_names: tuple[str, ...]
    ids: tuple[str, ...]
    videos: tuple[str, ...]
    counts: np.ndarray
    boundary: np.ndarray
    calibration: np.ndarray | None = None
    attributes: dict[str, np.ndarray] = field(default_factory=dict)
    cvpr18: np.ndarray | None = None
    found: np.ndarray | None = None
    frames: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, indices: Sequence[int]) -> "Scores":
        """Returns the rows at `indices`, without the calibration, which belongs to the whole set."""
        indices = np.asarray(indices, np.int64)
        return replace(
            self,
            ids=tuple(self.ids[i] for i in indices),
            videos=tuple(self.videos[i] for i in indices),
            counts=self.counts[indices],
            boundary=self.boundary[indices],
            calibration=None,
            attributes={name: values[indices] for name, values in self.attributes.items()},
            cvpr18=None if self.cvpr18 is None else self.cvpr18[indices],
            found=None if self.found is None else self.found[indices],
            frames=None if self.frames is None else self.frames[indices],
        )

    @property
    def hand_iou(self) -> np.ndarray:
        """IoU of all foreground classes together, float64 [n]; NaN where neither truth nor prediction has any."""
        return metrics.hand_scores(self.counts)["iou"]


class Prediction(NamedTuple):
    """A predicted mask to be measured.

    Attributes:
      index: position of the example in the split.
      example: example of a source.
      mask: uint8 [h, w], class ids, of the size of the example's mask.
      found: whether there was a prediction; if not, `mask` is all background.
      probabilities: float32 [h, w, c] from which the mask follows, if known.
    """

    index: int
    example: dict[str, Any]
    mask: np.ndarray
    found: bool = True
    probabilities: np.ndarray | None = None


def measure(predictions: Iterable[Prediction], info: DatasetInfo) -> list[dict]:
    """Measures predictions in threads on the host, as they arrive; returns a row for each, for `gather`."""
    threads = min(os.cpu_count() or 1, 8)

    def measured(prediction: Prediction) -> dict:
        example, mask, probabilities = prediction.example, prediction.mask, prediction.probabilities
        truth, values = example["mask"], attributes.of(example)
        return {
            "index": prediction.index,
            "id": example["id"],
            "video": str(example.get("video", "")),
            "frame": int(example.get("frame", -1)),
            "found": prediction.found,
            "counts": metrics.count(truth, mask, info.num_classes),
            "boundary": boundary.counts(truth, mask),
            "calibration": None if probabilities is None else calibration.histogram(probabilities, truth).tolist(),
            "attributes": {name: value if isinstance(value, str) else float(value) for name, value in values.items()},
        }

    return list(read_ahead(measured, predictions, threads, 2 * threads))


def gather(rows: list[dict], info: DatasetInfo, total: int, cvpr18: np.ndarray | None = None) -> Scores:
    """Collects the rows of all processes, which must all call it, into one table.

    Args:
      rows: rows of this process.
      info: dataset of the split.
      total: number of images of the split.
      cvpr18: int64 [total, 2, 2], counts of that protocol for the images of all processes, if requested.
    """
    indices = np.array([row["index"] for row in rows], np.int64)
    shapes = {"counts": (info.num_classes,) * 2, "boundary": (len(boundary.COLUMNS),)}
    tables = {
        name: np.array([row.pop(name) for row in rows], np.int64).reshape(-1, *shape) for name, shape in shapes.items()
    }
    tables = {name: parallel.gather_rows(indices, table, total) for name, table in tables.items()}
    rows = sorted((row for part in parallel.gather_json(rows) for row in part), key=lambda row: row["index"])
    if [row["index"] for row in rows] != list(range(total)):
        raise RuntimeError(f"{len(rows)} predictions were measured of {total} images; each must be once")
    histograms = [row["calibration"] for row in rows]
    return Scores(
        class_names=info.class_names,
        ids=tuple(row["id"] for row in rows),
        videos=tuple(row["video"] for row in rows),
        **tables,
        calibration=None if None in histograms else np.sum(histograms, 0, dtype=np.int64),
        attributes={name: np.array([row["attributes"][name] for row in rows]) for name in rows[0]["attributes"]},
        cvpr18=cvpr18,
        found=np.array([row["found"] for row in rows]),
        frames=np.array([row["frame"] for row in rows], np.int64),
    )
