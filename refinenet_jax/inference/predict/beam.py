"""Predicts many pictures and videos with an Apache Beam pipeline, on any of its runners.

Workers read and write the same paths as this process, so all of them need access to the same file system. Each worker loads
the network once. After a fault of a worker Beam may repeat a part: files are then replaced by identical ones, and the last of
equal lines for COCO counts.
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

_GROUP = 8, 64  # minimum and maximum number of pictures per worker call: enough to fill batches of one canvas


@dataclasses.dataclass(frozen=True)
class Work:
    """Settings that every worker needs.

    Attributes:
      checkpoint: path of the network.
      device: device, as for `use_device`.
      options: arguments of `Segmenter.from_checkpoint`.
      root: folder for the results.
      kinds: kinds of results to write.
      settings: see `predict_video`.
      resume: see `predict_video`.
      video: see `predict_video`; its batch_size and min_area also apply to pictures.
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
    """Parses Beam's options from the form 'runner=DirectRunner,direct_num_workers=2', as in the `tfds` command.

    Raises:
      UsageError: Beam rejects an option.
    """
    flags = [f"--{flag.strip().removeprefix('--')}" for flag in text.split(",") if flag.strip()]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            options = PipelineOptions(flags)
            options.get_all_options()
    except (ValueError, SystemExit) as error:
        reason = (errors.getvalue().strip().splitlines() or [str(error)])[-1]
        raise UsageError(f"Beam rejects --beam-pipeline-options={text} ({reason}). Correct the option.") from error
    return options


def run(work: Work, items: Sequence[Item], options: str) -> Counter:
    """Predicts all items; returns the numbers of images, videos and frames, and of failures.

    Raises:
      UsageError: Beam rejects an option, or the pipeline failed; the message contains the cause.
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
    except Exception as error:  # of types that Beam defines
        cause = str(error).strip().splitlines()
        raise UsageError(
            f"The Beam pipeline failed ({cause[0] if cause else repr(error)}). Fix it and use --resume."
        ) from error
    finally:
        results.unlink(missing_ok=True)


class _Predict(beam.DoFn):
    """Loads the network once in each worker; yields counts, and `messages` about files that could not be read."""

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
