"""Predicts many pictures and videos with an Apache Beam pipeline, on any of its runners.

Workers read and write the same paths as this process, so all of them need access to the same file system. Each worker loads
the network once. After a fault of a worker Beam may repeat a part: files are then replaced by identical ones, and the last of
equal lines for COCO counts.
"""

import argparse
import json
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import apache_beam as beam
from absl import logging
from apache_beam.options.pipeline_options import PipelineOptions

from refinenet_jax.command_line.parser import use_device
from refinenet_jax.data.examples import DataError
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict.arguments import predict_options, segmenter_options
from refinenet_jax.inference.predict.items import Item
from refinenet_jax.inference.predict.pictures import predict_images
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.video.predict import predict_video
from refinenet_jax.progress import say

_GROUP = 8, 64  # minimum and maximum number of pictures per worker call: enough to fill batches of one canvas


def pipeline_options(text: str) -> PipelineOptions:
    """Parses Beam's options from the form 'runner=DirectRunner,direct_num_workers=2', as in the `tfds` command.

    Raises:
      UsageError: Beam rejects an option.
    """
    flags = [f"--{flag.strip().removeprefix('--')}" for flag in text.split(",") if flag.strip()]
    options = PipelineOptions(flags)
    try:
        options.get_all_options()
    except (ValueError, SystemExit) as error:  # SystemExit after a line on standard error
        raise UsageError(f"Beam rejects --beam-pipeline-options={text} ({error}). Correct the option.") from error
    return options


def run(args: argparse.Namespace, settings: dict, items: Sequence[Item]) -> Counter:
    """Predicts all items; returns the numbers of images, videos and frames, and of failures.

    Args:
      args: arguments of `refinenet-jax predict`, with absolute paths.
      settings: see `predict_video`.
      items: pictures and videos, with absolute paths.

    Raises:
      UsageError: Beam rejects an option, or the pipeline failed; the message contains the cause.
    """
    results = Path(args.output) / f".beam-{uuid.uuid4().hex}.jsonl"
    try:
        with beam.Pipeline(options=pipeline_options(args.beam_pipeline_options)) as pipeline:
            pictures = pipeline | "Pictures" >> beam.Create([item for item in items if item.kind == "image"])
            videos = pipeline | "Videos" >> beam.Create([item for item in items if item.kind == "video"])
            groups = pictures | "Spread pictures" >> beam.Reshuffle() | beam.BatchElements(*_GROUP)
            counts = (
                groups | beam.ParDo(_PredictPictures(args, settings)),
                videos | "Spread videos" >> beam.Reshuffle() | beam.ParDo(_PredictVideo(args, settings)),
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

    def __init__(self, args: argparse.Namespace, settings: dict):
        self._args, self._settings, self._root = args, settings, Path(args.output)

    def setup(self) -> None:
        logging.set_verbosity(logging.ERROR)  # Orbax logs every file
        use_device(self._args.device)
        self._segmenter = Segmenter.from_checkpoint(self._args.checkpoint, **segmenter_options(self._args))


class _PredictPictures(_Predict):
    def process(self, items: list[Item]) -> Iterator[dict]:
        messages: list[str] = []
        options, process = predict_options(self._args), uuid.uuid4().hex
        count = predict_images(self._segmenter, items, self._root, options, process, report=messages.append)
        yield {**count, "messages": messages}


class _PredictVideo(_Predict):
    def process(self, item: Item) -> Iterator[dict]:
        options, resume = predict_options(self._args), self._args.resume
        try:
            count = predict_video(self._segmenter, item, self._root, options, self._settings, resume)
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
