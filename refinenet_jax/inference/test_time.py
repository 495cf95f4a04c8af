"""Test-time options on the command line, the same for all commands: scales, longest side, flip."""

import argparse
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --scales, --longest-side and --flip; the defaults are those stored with the network."""
    parser.add_argument("--scales", type=float, nargs="+", help="test scales to average over (default: the run's)")
    parser.add_argument(
        "--longest-side",
        type=int,
        metavar="PIXELS",
        help="resize pictures to this longer side before the scales; 0 keeps their size (default: the run's)",
    )
    flip = argparse.BooleanOptionalAction
    parser.add_argument("--flip", action=flip, help="average with the horizontally flipped image (default: the run's)")


def options(args: argparse.Namespace) -> dict[str, Any]:
    """Returns the parsed options as arguments of `Segmenter.from_checkpoint`."""
    return {"scales": args.scales, "longest_side": args.longest_side, "flip": args.flip}
