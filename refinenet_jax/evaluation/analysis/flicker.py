"""Flicker of a whole split, for the predicted and for the true masks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise, tee

import numpy as np

from refinenet_jax.data.examples import Source
from refinenet_jax.data.reading import read_ahead
from refinenet_jax.evaluation.analysis import temporal
from refinenet_jax.evaluation.metrics import mean, number
from refinenet_jax.evaluation.scores import Scores
from refinenet_jax.progress import progress_bar, say


@dataclass(frozen=True, eq=False)
class Flicker:
    """Curves by video (`temporal.by_video`) for the same pairs of frames.

    Attributes:
      predicted: flicker of the predicted masks.
      true: flicker of the true masks, which are labeled frame by frame and therefore not steady either.
    """

    predicted: dict[str, dict]
    true: dict[str, dict]

    def figures(self) -> dict[str, float | int | None]:
        """Returns the means over the videos (None if no pair could be compared) and the numbers of videos and pairs."""
        means = {
            name: number(mean(np.array([curve["mean"] for curve in curves.values()])))
            for name, curves in (("predicted", self.predicted), ("true", self.true))
        }
        return {
            **means,
            "videos": len(self.predicted),
            "pairs": sum(len(curve["frames"]) for curve in self.predicted.values()),
        }


def measure(scores: Scores, source: Source, predict: Callable[[dict], np.ndarray]) -> Flicker | None:
    """Compares neighboring frames of the videos of a split, in the order of their frame numbers.

    Args:
      scores: videos and frame numbers of the images.
      source: images and true masks.
      predict: returns the scored mask of an example.

    Returns:
      None if no two frames of a video are close enough, or if frames of a video differ in size, which is logged.
    """
    order = neighbors(scores)
    if not order:
        return None
    with progress_bar("measuring flicker", len(order)) as bar:

        def examples() -> Iterator[dict]:
            for example in read_ahead(source.__getitem__, order):
                yield example
                bar.update()

        first, second = tee(examples())
        predicted = temporal.flickers({**example, "mask": predict(example)} for example in first)
        try:
            pairs = list(zip(predicted, temporal.flickers(second), strict=True))
        except ValueError as error:
            say(f"Flicker is not measured: {error}.")
            return None
    return Flicker(*(temporal.by_video(rows) for rows in zip(*pairs, strict=True)))


def neighbors(scores: Scores) -> list[int]:
    """Returns indices of frames with another frame within `temporal.MAX_GAP`, by video and frame number."""
    if scores.frames is None:
        return []
    videos, frames = np.array(scores.videos), scores.frames
    near: dict[int, None] = {}
    order: dict[tuple[str, int], int] = {}
    for i in np.lexsort((frames, videos)).tolist():
        if videos[i] and frames[i] >= 0:
            order.setdefault((videos[i], frames[i]), i)
    for before, after in pairwise(order.values()):
        if videos[before] == videos[after] and frames[after] - frames[before] <= temporal.MAX_GAP:
            near |= {before: None, after: None}
    return list(near)
