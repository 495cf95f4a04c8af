"""Compares an export with its network; an export with other results is rejected."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from refinenet_jax.data.examples import VOID
from refinenet_jax.inference.export.network import Network
from refinenet_jax.inference.export.pictures import Picture


@dataclass(frozen=True)
class Limits:
    """Limits that an export must satisfy.

    Attributes:
      agreement: minimum share of pixels with the network's class.
      difference: maximum difference of a score.
      iou: minimum IoU of the foregrounds, if there are any.
    """

    agreement: float
    difference: float
    iou: float


FLOAT32 = Limits(agreement=0.999, difference=1e-3, iou=0.0)
INT8 = Limits(agreement=0.95, difference=1.0, iou=0.85)  # 256 steps: pixels at borders may change, whole masks may not


@dataclass(frozen=True)
class Comparison:
    """Results of the comparison over all pictures.

    Attributes:
      pictures: number of pictures.
      agreement: share of pixels with the network's class.
      difference: maximum difference of a score.
      iou: IoU of the foreground with the network's; None if neither has any.
      truth_iou: IoU of the network and of the export with the truth; None if the truth is not known.
      milliseconds: time per picture of the network in JAX and of the export; the fastest of all pictures.
    """

    pictures: int
    agreement: float
    difference: float
    iou: float | None
    truth_iou: tuple[float, float] | None
    milliseconds: tuple[float, float]

    def faults(self, limits: Limits) -> list[str]:
        """Describes all violations of the limits."""
        faults = []
        if not self.agreement >= limits.agreement:  # also for NaN
            faults.append(
                f"{self.agreement:.3%} of the pixels have the network's class, less than {limits.agreement:.1%}"
            )
        if not self.difference <= limits.difference:
            faults.append(f"a score differs by {self.difference:.2g}, more than {limits.difference:.2g}")
        if self.iou is not None and self.iou < limits.iou:
            faults.append(f"the IoU of the foreground with the network's is {self.iou:.3f}, less than {limits.iou:g}")
        return faults


def compare(
    run: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], network: Network, pictures: Sequence[Picture]
) -> Comparison:
    """Runs an export and its network on all pictures, one at a time.

    Args:
      run: function of the export: uint8 [1, h, w, 3] -> mask uint8 [1, h, w], scores float32 [1, h, w, c].
      network: network that was exported, applied as `refinenet-jax predict` does.
      pictures: at least one picture of the network's size.
    """
    same = pixels = 0
    difference, times = 0.0, ([], [])
    overlap = np.zeros((3, 2), np.int64)  # export and network, network and truth, export and truth
    for index, (image, truth) in enumerate(pictures):
        ours, seconds = _timed(lambda image=image: network.segmenter(image), again=index == 0)
        theirs, their_seconds = _timed(lambda image=image: run(image[None]), again=index == 0)
        times[0].append(seconds)
        times[1].append(their_seconds)
        mask, scores = (np.asarray(result)[0] for result in theirs)
        same += int((mask == ours.mask).sum())
        pixels += mask.size
        difference = max(difference, float(np.abs(scores - ours.scores).max()), key=_nan_first)
        overlap[0] += foreground_overlap(mask, ours.mask)
        if truth is not None:
            overlap[1] += foreground_overlap(ours.mask, truth)
            overlap[2] += foreground_overlap(mask, truth)
    iou, before, after = (float(both / either) if either else None for both, either in overlap)
    return Comparison(
        len(pictures),
        same / pixels,
        difference,
        iou,
        None if before is None or after is None else (before, after),
        (1e3 * min(times[0]), 1e3 * min(times[1])),
    )


def foreground_overlap(mask: np.ndarray, truth: np.ndarray) -> tuple[int, int]:
    """Returns the numbers of pixels in both foregrounds and in either, without the truth's void."""
    valid = truth != VOID
    a, b = (mask > 0) & valid, (truth > 0) & valid
    return int((a & b).sum()), int((a | b).sum())


def _timed(function: Callable, again: bool) -> tuple:
    """Returns the result and the seconds it took; with `again`, runs once before to exclude compilation."""
    if again:
        function()
    start = time.perf_counter()
    result = function()
    return result, time.perf_counter() - start


def _nan_first(value: float) -> tuple[bool, float]:
    return np.isnan(value), value
