"""How a network is used on the command line, the same for all verbs: scales, longest side, mirrored images."""

import argparse
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --scales, --longest-side and --flip, by default what the network was stored with."""
    parser.add_argument("--scales", type=float, nargs="+", help="test scales to average over (default: the run's)")
    parser.add_argument(
        "--longest-side",
        type=int,
        metavar="PIXELS",
        help="bring pictures to this longer side before the scales; 0 leaves them as they are (default: the run's)",
    )
    flip = argparse.BooleanOptionalAction
    parser.add_argument("--flip", action=flip, help="average over the mirrored image too (default: the run's)")


def options(args: argparse.Namespace) -> dict[str, Any]:
    """What they say, for `Segmenter.from_checkpoint`."""
    return {"scales": args.scales, "longest_side": args.longest_side, "flip": args.flip}
