"""Writes pictures of the dataset to files, for viewing or prediction.

python -m tfds_builders.synthetic_hands --split=test --count=12 --output=DIR
"""

import argparse
from pathlib import Path

import cv2

from tfds_builders.synthetic_hands import scene


def main() -> None:
    parser = argparse.ArgumentParser("python -m tfds_builders.synthetic_hands", description=__doc__.splitlines()[0])
    parser.add_argument("--split", choices=list(scene.NUM_EXAMPLES), default="test")
    parser.add_argument("--count", type=int, default=12, help="number of pictures (default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for SPLIT_NUMBER.png")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    for index in range(args.count):
        image, _ = scene.generate(args.split, index)
        cv2.imwrite(str(args.output / f"{args.split}_{index:04d}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    main()
