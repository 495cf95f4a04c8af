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

from refinenet_jax.command_line import use_device
from refinenet_jax.data.examples import DataError
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict import coco
from refinenet_jax.inference.predict.items import Item
from refinenet_jax.inference.predict.pictures import predict_images
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.video.predict import VideoOptions, predict_video
from refinenet_jax.progress import say

_GROUP = 8, 64  # pictures that a worker gets together, at least and at most: enough to fill batches of one canvas


@dataclasses.dataclass(frozen=True)
class Work:
    """What every worker has to know.

    Attributes:
      checkpoint: path of the network.
      device: of `use_device`.
      options: of `Segmenter.from_checkpoint`.
      root: folder of the results.
      kinds: what to save.
      settings: of `predict_video`.
      resume: of `predict_video`.
      video: of `predict_video`; its batch_size and min_area count for pictures, too.
    """

    checkpoint: str
    device: str | None
    options: dict[str, Any]
    root: str
    kinds: tuple[str, ...]
    settings: dict[str, Any]
    resume: bool
    video: VideoOptions


def pipeline_options(text: str) -> PipelineOptions:
    """Beam's options from 'runner=DirectRunner,direct_num_workers=2', as the `tfds` command takes them.

    Raises:
      UsageError: one that Beam refuses.
    """
    flags = [f"--{flag.strip().removeprefix('--')}" for flag in text.split(",") if flag.strip()]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            options = PipelineOptions(flags)
            options.get_all_options()
    except (ValueError, SystemExit) as error:
        reason = (errors.getvalue().strip().splitlines() or [str(error)])[-1]
        raise UsageError(f"Beam refuses --beam-pipeline-options={text}: {reason}") from error
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
            groups = pictures | "Spread pictures" >> beam.Reshuffle() | beam.BatchElements(*_GROUP)
            counts = (
                groups | beam.ParDo(_PredictPictures(work)),
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
        logging.set_verbosity(logging.ERROR)  # Orbax logs every file
        use_device(self._work.device)
        self._segmenter = Segmenter.from_checkpoint(self._work.checkpoint, **self._work.options)


class _PredictPictures(_Predict):
    def process(self, items: list[Item]) -> Iterator[dict]:
        work = self._work
        forms = [form for form in coco.FORMS if form in work.kinds]
        messages: list[str] = []
        with coco.Journals(Path(work.root), forms, uuid.uuid4().hex, work.video.min_area) as journals:
            batch_size = work.video.batch_size
            count = predict_images(
                self._segmenter, items, Path(work.root), work.kinds, journals, batch_size, report=messages.append
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


def _sum(results: Path) -> Counter:
    total: Counter = Counter()
    for line in results.read_text().splitlines():
        count = json.loads(line)
        for message in count.pop("messages"):
            say(message)
        total.update(count)
    return total
