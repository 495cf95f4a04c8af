"""Command-line arguments of `refinenet-jax predict`."""

import argparse
import math
from typing import Any

from refinenet_jax.errors import UsageError
from refinenet_jax.inference import network_options
from refinenet_jax.inference.crf import parse_parameters
from refinenet_jax.inference.predict import coco, outputs
from refinenet_jax.inference.predict.items import PredictOptions
from refinenet_jax.inference.video import writer as video_writer

PICTURE_KINDS = (*outputs.KINDS, coco.KIND)
_EXAMPLES = """examples:
  refinenet-jax predict photos/ clip.mp4
  refinenet-jax predict 'photos/**/*.jpg' --checkpoint=runs/hands --output=out
  refinenet-jax predict 0 --save overlays frames --max-seconds=60
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command-line arguments of `refinenet-jax predict`."""
    parser.usage = "refinenet-jax predict SOURCE [SOURCE ...] [options]"
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, _EXAMPLES
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="pictures, videos, folders with subfolders, 'patterns/*.jpg' in quotes, @LIST (text file of sources), https:// "
        "addresses of pictures, cameras (0, /dev/video0, rtsp://...)",
    )
    results = parser.add_argument_group("results")
    results.add_argument(
        "--output", metavar="DIR", help="folder for the results (default: runs/predict, runs/predict2, ...)"
    )
    kinds = (*PICTURE_KINDS, "frames")
    results.add_argument(
        "--save",
        nargs="+",
        choices=kinds,
        default=PredictOptions.kinds,
        metavar="KIND",
        help=f"results to write: {', '.join(kinds)} (default: {' '.join(PredictOptions.kinds)}); for videos: "
        f"{', '.join(video_writer.KINDS)}",
    )
    results.add_argument("--show", action="store_true", help="open the folder of the results at the end")
    again = results.add_mutually_exclusive_group()
    again.add_argument("--overwrite", action="store_true", help="replace results in --output")
    again.add_argument("--resume", action="store_true", help="resume a stopped run in --output")
    network = parser.add_argument_group("network")
    network_options.add_arguments(network)
    network.add_argument(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="maximum side of the network's input, such as 512; saves memory (default: no limit)",
    )
    network.add_argument(
        "--crf",
        metavar="PARAMETERS",
        help="refine masks with a dense CRF (slow): default, or bilateral_weight=5,iterations=4 (default: off)",
    )
    videos = parser.add_argument_group("videos and cameras")
    videos.add_argument("--max-seconds", type=float, metavar="SECONDS", help="stop after this time (default: all)")
    devices = parser.add_argument_group("devices")
    devices.add_argument("--device", help="cpu, gpu, gpu:0, gpu:0,1 or tpu (default: the fastest available)")
    devices.add_argument(
        "--batch-size", type=int, metavar="N", help="images per batch (default: 1 on a CPU, 8 on each GPU or TPU)"
    )
    devices.add_argument(
        "--beam-pipeline-options",
        metavar="OPTIONS",
        help="distribute the work with Apache Beam, such as runner=DirectRunner,direct_num_workers=2",
    )


def check_arguments(args: argparse.Namespace) -> None:
    """Raises UsageError if a number is out of range, or options contradict each other."""
    if args.batch_size is not None and args.batch_size < 1:
        raise UsageError(f"--batch-size is {args.batch_size}. Give 1 or more.")
    if args.max_seconds is not None and not 0 < args.max_seconds < math.inf:
        raise UsageError(f"--max-seconds is {args.max_seconds}. Give more than 0 seconds.")
    if (args.resume or args.overwrite) and not args.output:
        raise UsageError(
            f"--{'resume' if args.resume else 'overwrite'} needs --output. Give the folder of the earlier run."
        )


def segmenter_options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the arguments of `Segmenter.from_checkpoint` except the path."""
    parameters = parse_parameters(args.crf) if args.crf else None
    return {**network_options.options(args), "tile": args.tile, "crf": parameters}


def predict_options(args: argparse.Namespace) -> PredictOptions:
    """Returns the options for the results of pictures and videos."""
    return PredictOptions(tuple(args.save), args.batch_size, args.max_seconds)
