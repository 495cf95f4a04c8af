"""The flicker of a whole split: of the predicted masks, and of the true ones, which are not steady either."""

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
    """Curves by video as `temporal.by_video` gives them, of the same pairs of frames.

    Attributes:
      predicted: of the predicted masks.
      true: of the true ones: what labelling by hand, frame by frame, makes of it.
    """

    predicted: dict[str, dict]
    true: dict[str, dict]

    def figures(self) -> dict[str, float | int | None]:
        """Means over the videos of both (None where no pair could be compared), and how many videos and pairs there are."""
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
    """Compares neighbouring frames of the videos of a split, in the order of their numbers, whatever that of the split is.

    Args:
      scores: say which images are frames of which videos.
      source: the images, and the true masks.
      predict: gives the scored mask of an example.

    Returns:
      None where no two frames of a video are near enough to each other, or frames of a video differ in size, which is told.
    """
    order = neighbours(scores)
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


def neighbours(scores: Scores) -> list[int]:
    """The frames that have another at most `temporal.MAX_GAP` away, video by video, in order; of one number the first."""
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
