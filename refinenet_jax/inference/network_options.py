"""Options on the command line for the network and its test-time settings, the same for all commands."""

import argparse
from typing import Any

from etils import epath

from refinenet_jax import pretrained


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --checkpoint, --step, --scales, --longest-side and --flip; the default settings are stored with the network."""
    parser.add_argument(
        "--checkpoint", metavar="PATH", help="run folder or weight file (default: the network in the package)"
    )
    parser.add_argument("--step", type=int, help="step of the run's checkpoint (default: the best)")
    parser.add_argument("--scales", type=float, nargs="+", help="test scales to average over (default: the run's)")
    parser.add_argument(
        "--longest-side",
        type=int,
        metavar="PIXELS",
        help="resize pictures to this longer side before the scales; 0 keeps their size (default: the run's)",
    )
    flip = argparse.BooleanOptionalAction
    parser.add_argument("--flip", action=flip, help="average with the horizontally flipped image (default: the run's)")


def checkpoint(args: argparse.Namespace) -> epath.Path:
    """Returns the path of the network."""
    return epath.Path(args.checkpoint or pretrained.PATH)


def options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the other options as arguments of `Segmenter.from_checkpoint`."""
    return {"step": args.step, "scales": args.scales, "longest_side": args.longest_side, "flip": args.flip}
