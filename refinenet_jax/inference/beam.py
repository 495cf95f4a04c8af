"""Prediction of a corpus by an Apache Beam pipeline, on any of its runners.

Workers read and write the same paths as this process, so these must be on a file system that all of them have. Each loads the
network once. Beam may do a part twice, after a fault of a worker: files are then replaced by equal ones, and the last of equal
lines for COCO counts.
"""

import contextlib
import dataclasses
import io
import json
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from absl import logging
from apache_beam.options.pipeline_options import PipelineOptions

from refinenet_jax.data import DataError, images
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import coco, fitting, shapes
from refinenet_jax.inference.predict_images import predict_images
from refinenet_jax.inference.segmenter import Segmenter, Size
from refinenet_jax.inference.sources import Item
from refinenet_jax.inference.video import VideoOptions, predict_video
from refinenet_jax.progress import say

_BATCHES_AT_ONCE = 8  # that a worker gets together: enough for its pictures to be grouped by size


@dataclasses.dataclass(frozen=True)
class Work:
    """What every worker has to know.

    Attributes:
      checkpoint: path of the network.
      options: of `Segmenter.from_checkpoint`.
      root: folder of the results.
      kinds: what to save.
      settings: of `predict_video`.
      resume: of `predict_video`.
      video: of `predict_video`; its batch_size and min_area count for pictures, too.
      size_multiple: of the segmenter.
      longest_side: of the segmenter.
    """

    checkpoint: str
    options: dict[str, Any]
    root: str
    kinds: tuple[str, ...]
    settings: dict[str, Any]
    resume: bool
    video: VideoOptions
    size_multiple: int
    longest_side: int


def pipeline_options(text: str) -> PipelineOptions:
    """Beam's options from 'runner=DirectRunner,direct_num_workers=2', as the `tfds` command takes them.

    Raises:
      UsageError: one that Beam refuses.
    """
    flags = [f"--{flag.strip().removeprefix('--')}" for flag in text.split(",") if flag.strip()]
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            options = PipelineOptions(flags)
            options.get_all_options()
    except (ValueError, SystemExit) as error:
        reason = (told.getvalue().strip().splitlines() or [str(error)])[-1]
        raise UsageError(f"Beam refuses --beam_pipeline_options={text}: {reason}") from error
    return options


def run(work: Work, items: Sequence[Item], options: str) -> Counter:
    """Predicts all items; returns how many images, videos and frames there were, and how many failed.

    Raises:
      UsageError: options that Beam refuses, or the pipeline failed; the cause is in the message.
    """
    results = Path(work.root) / f".beam-{uuid.uuid4().hex}.jsonl"
    try:
        with beam.Pipeline(options=pipeline_options(options)) as pipeline:
            pictures = pipeline | "Pictures" >> beam.Create([item for item in items if item.kind == "image"])
            videos = pipeline | "Videos" >> beam.Create([item for item in items if item.kind == "video"])
            sizes = pictures | beam.FlatMap(lambda item: [size for size in [images.upright_size(item.path)] if size])
            sizes = sizes | "Fit" >> beam.Map(fitting.fitted_size, work.longest_side) if work.longest_side else sizes
            plan = sizes | beam.combiners.ToList() | beam.Map(shapes.plan, work.size_multiple)
            batches = pictures | "Spread pictures" >> beam.Reshuffle() | beam.BatchElements(*_batch_sizes(work))
            counts = (
                batches | beam.ParDo(_PredictPictures(work), beam.pvalue.AsSingleton(plan)),
                videos | "Spread videos" >> beam.Reshuffle() | beam.ParDo(_PredictVideo(work)),
            )
            lines = counts | beam.Flatten() | beam.Map(json.dumps)
            _ = lines | beam.io.WriteToText(str(results), num_shards=1, shard_name_template="")
        return _sum(results)
    except UsageError:
        raise
    except Exception as error:  # Beam wraps what its workers raise in types of its own
        cause = str(error).strip().splitlines()
        raise UsageError(f"The Beam pipeline failed: {cause[0] if cause else repr(error)}") from error
    finally:
        results.unlink(missing_ok=True)


class _Predict(beam.DoFn):
    """Loads the network once in each worker; yields counts, and what could not be read under `messages`."""

    def __init__(self, work: Work):
        self._work = work

    def setup(self) -> None:
        logging.set_verbosity(logging.ERROR)  # Orbax tells of every file
        self._segmenter = Segmenter.from_checkpoint(self._work.checkpoint, **self._work.options)


class _PredictPictures(_Predict):
    def process(self, items: list[Item], plan: dict[Size, Size]) -> Iterator[dict]:
        work = self._work
        if self._segmenter.shapes != plan:
            self._segmenter = self._segmenter.with_shapes(plan)
        sizes = {item: images.upright_size(item.path) for item in items}
        items = sorted(items, key=lambda item: plan[self._segmenter.fitted_size(sizes[item])] if sizes[item] else ())
        forms = [form for form in coco.FORMS if form in work.kinds]
        messages: list[str] = []
        with coco.Journals(Path(work.root), forms, uuid.uuid4().hex, work.video.min_area) as journals:
            batch_size = work.video.batch_size
            count = predict_images(
                self._segmenter, items, Path(work.root), work.kinds, journals, batch_size, tell=messages.append
            )
        yield {**count, "messages": messages}


class _PredictVideo(_Predict):
    def process(self, item: Item) -> Iterator[dict]:
        work = self._work
        try:
            count = predict_video(self._segmenter, item, Path(work.root), work.video, work.settings, work.resume)
            yield {**count, "messages": []}
        except DataError as error:
            yield {"failed": 1, "messages": [f"skipped: {error}"]}


def _batch_sizes(work: Work) -> tuple[int, int]:
    return work.video.batch_size, work.video.batch_size * _BATCHES_AT_ONCE


def _sum(results: Path) -> Counter:
    total: Counter = Counter()
    for line in results.read_text().splitlines():
        count = json.loads(line)
        for message in count.pop("messages"):
            say(message)
        total.update(count)
    return total
