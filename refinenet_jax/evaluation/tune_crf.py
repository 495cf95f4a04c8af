"""`refinenet-jax tune-crf`: the CRF's parameters that serve a network best, found on the validation images of a dataset."""

import argparse
import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from refinenet_jax.data.reading import read_ahead
from refinenet_jax.data.sources import check_masks, open_source
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import boundary, metrics
from refinenet_jax.evaluation.evaluate import check_classes
from refinenet_jax.inference import test_time
from refinenet_jax.inference.crf import CrfParameters, crf, write_parameters
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.progress import progress_bar, say

# In the order of the search: what the outline follows first.
_TUNED = (
    "bilateral_colour_stddev",
    "bilateral_weight",
    "bilateral_position_stddev",
    "smoothness_weight",
    "smoothness_stddev",
)
_FACTORS = (2.0, math.sqrt(2.0))  # steps of the search, coarse to fine


class Example(NamedTuple):
    """An image, what a network made of it, and the truth.

    Attributes:
      image: uint8 [h, w, 3] RGB.
      probabilities: float [h, w, c]; float16 will do, and halves the memory.
      mask: uint8 [h, w] of class ids, 255 = void.
    """

    image: np.ndarray
    probabilities: np.ndarray
    mask: np.ndarray


class Trial(NamedTuple):
    """What parameters are worth on a set of examples.

    Attributes:
      parameters: None for the network alone.
      hand_iou: of all classes but background together, over all pixels of the set; NaN where there is none.
      boundary_f: boundary F-score of the set, its counts added up (see `boundary`); NaN where there is no outline.
    """

    parameters: CrfParameters | None
    hand_iou: float
    boundary_f: float

    @property
    def score(self) -> float:
        """The mean of the two: what is tuned for."""
        return (self.hand_iou + self.boundary_f) / 2


def measure(examples: Sequence[Example], parameters: CrfParameters | None, done: Callable[[], object]) -> Trial:
    """Scores the CRF, or with None the network alone, on a set; calls `done()` after every example."""
    counts, outlines = [], []
    for example in examples:
        probabilities = example.probabilities.astype(np.float32)
        if parameters:
            probabilities = crf(example.image, probabilities, parameters)
        prediction = probabilities.argmax(-1).astype(np.uint8)
        counts.append(metrics.count(example.mask, prediction, probabilities.shape[-1]))
        outlines.append(boundary.counts(example.mask, prediction))
        done()
    hand_iou = metrics.hand_scores(np.sum(counts, 0))["iou"]
    return Trial(parameters, float(hand_iou), float(boundary.scores(np.sum(outlines, 0))["boundary_f"]))


def tune(
    examples: Sequence[Example],
    limit: int = 40,
    start: CrfParameters | None = None,
    done: Callable[[], object] = lambda: None,
) -> list[Trial]:
    """Searches one parameter at a time: each is multiplied and divided by a step, and what scores better is kept.

    When a round over all five betters nothing, the step falls from 2 to its root; then the search ends.

    Args:
      examples: to score on.
      limit: of trials, the network alone and the start among them.
      start: where to begin; CrfParameters() by default. Its iterations are kept.
      done: called after every example of every trial.

    Returns:
      All trials: the network alone first, then in order of the search. The best is `max(trials, key=lambda t: t.score)`.

    Raises:
      UsageError: the examples have no hands, or the network finds none, so that there is nothing to compare.
    """
    trials = [measure(examples, None, done)]
    if math.isnan(trials[0].score):
        raise UsageError("Neither the truth nor the network has a hand in these images; tune on others.")
    best = measure(examples, start or CrfParameters(), done)
    trials.append(best)
    tried = {best.parameters}
    for factor in _FACTORS:
        improved = True
        while improved and len(trials) < limit:
            improved = False
            for name in _TUNED:
                for candidate in _neighbours(best.parameters, name, factor):
                    if candidate in tried or len(trials) >= limit:
                        continue
                    tried.add(candidate)
                    trials.append(measure(examples, candidate, done))
                    if trials[-1].score > best.score:
                        best, improved = trials[-1], True
    return trials


def table(trials: Sequence[Trial]) -> str:
    """The network alone, and the trials from the best down, as lines of at most 80 columns."""
    title = "         weight  position  colour | weight  stddev | hand IoU  boundary F   mean"
    lines = ["       bilateral                  | smoothness     |", title, "-" * len(title)]
    alone, *others = trials
    ordered = sorted(others, key=lambda trial: -trial.score)
    for label, trial in [("no CRF", alone), *((f"{i}.", trial) for i, trial in enumerate(ordered, 1))]:
        p = trial.parameters
        values = (
            f"{p.bilateral_weight:>7.4g} {p.bilateral_position_stddev:>9.4g} {p.bilateral_colour_stddev:>7.4g} |"
            f" {p.smoothness_weight:>6.4g} {p.smoothness_stddev:>7.4g} |"
            if p
            else f"{'':25} | {'':14} |"
        )
        lines.append(f"{label:<7} {values} {trial.hand_iou:>8.4f} {trial.boundary_f:>11.4f} {trial.score:>6.4f}")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `refinenet-jax tune-crf`."""
    parser.add_argument(
        "--checkpoint", required=True, metavar="DIR", help="folder of a training run, or a weights file"
    )
    parser.add_argument("--dataset", required=True, metavar="NAME", help="built dataset or folder, as config.data.name")
    parser.add_argument("--data-dir", metavar="DIR", help="where datasets are built (default: TFDS_DATA_DIR)")
    parser.add_argument("--split", default="validation", help="what to tune on, not the test's (default: %(default)s)")
    parser.add_argument(
        "--images",
        type=int,
        default=40,
        help="so many, spread evenly over the split (default: %(default)s); each takes 7 MB of memory at 1280x720",
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="JSON file for the parameters")
    parser.add_argument("--trials", type=int, default=40, help="settings to try at most (default: %(default)s)")
    parser.add_argument("--iterations", type=int, default=10, help="of mean field in each (default: %(default)s)")
    test_time.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Tunes, prints the table, writes the best parameters; returns 1, with nothing written, if the network alone is better.

    Raises:
      UsageError: no checkpoint or dataset, one with other classes, or nothing to tune on.
    """
    if args.trials < 2:
        raise UsageError(f"--trials={args.trials} leaves nothing to choose from; give 2 or more.")
    if args.images < 1:
        raise UsageError(f"--images={args.images} leaves nothing to tune on; give 1 or more.")
    start = CrfParameters(iterations=args.iterations)
    source = open_source(args.dataset, args.split, args.data_dir)
    segmenter = Segmenter.from_checkpoint(args.checkpoint, **test_time.options(args))
    check_classes(segmenter, source, args.checkpoint)
    check_masks(source)
    indices = np.unique(np.linspace(0, len(source) - 1, args.images).round().astype(int)).tolist()
    examples = []
    with progress_bar("segmenting", len(indices)) as bar:
        for given in read_ahead(source.__getitem__, indices):
            scores = segmenter(given["image"]).scores.astype(np.float16)  # that of small probabilities is as fine
            examples.append(Example(given["image"], scores, given["mask"]))
            bar.update()
    with progress_bar("tuning", args.trials * len(examples)) as bar:
        trials = tune(examples, args.trials, start, bar.update)
    best = max(trials, key=lambda trial: trial.score)
    print(table(trials))
    if best.parameters is None:
        say(f"No setting betters the network alone on {source.info.name} [{args.split}]; {args.output} is not written.")
        return 1
    write_parameters(args.output, best.parameters)
    gain = best.score - trials[0].score
    print(
        f"The best of {len(trials) - 1} settings is in {args.output}: {gain:+.4f} in the mean, on {len(examples)} images"
    )
    return 0


def _neighbours(parameters: CrfParameters, name: str, factor: float) -> list[CrfParameters]:
    """Larger and smaller in one parameter, as far as its range goes."""
    found = []
    for step in (factor, 1 / factor):
        try:
            found.append(dataclasses.replace(parameters, **{name: float(f"{getattr(parameters, name) * step:.3g}")}))
        except UsageError:
            continue
    return found
