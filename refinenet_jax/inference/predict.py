"""Images and folders -> masks and overlays on disk."""

import argparse
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from refinenet_jax import visualize
from refinenet_jax.data import read_ahead
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmenter import Segmentation, Segmenter
from refinenet_jax.progress import progress_bar, say

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `refinenet-jax predict`."""
    parser.add_argument("sources", nargs="+", metavar="IMAGE_OR_FOLDER", help="images; folders are searched through")
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="folder of a training run (its --workdir)")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for NAME_mask.png and NAME_overlay.jpg")
    parser.add_argument("--step", type=int, help="checkpoint to take; the best by default")
    parser.add_argument("--scales", type=float, nargs="+", help="test scales to average over (default: the run's)")
    flip = argparse.BooleanOptionalAction
    parser.add_argument("--flip", action=flip, help="average over the mirrored image too (default: the run's)")
    parser.add_argument("--batch-size", type=int, default=8, help="images of one size at a time (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace results that are there already")


def run(args: argparse.Namespace) -> int:
    """Predicts all images; returns the exit status, 1 if some could not be read."""
    images = find_images(args.sources)
    output = Path(args.output)
    names = output_names(images)
    there = [output / f"{name}{end}" for name in names.values() for end in ("_mask.png", "_overlay.jpg")]
    there = [path for path in there if path.exists()]
    if there and not args.overwrite:
        raise UsageError(
            f"{there[0]}{f' and {len(there) - 1} more' if len(there) > 1 else ''} would be replaced; "
            "give --overwrite, or another --output."
        )
    segmenter = Segmenter.from_checkpoint(args.checkpoint, step=args.step, scales=args.scales, flip=args.flip)
    unreadable: list[Path] = []
    readable: list[Path] = []

    def readable_images() -> Iterator[np.ndarray]:
        for path, image in zip(images, read_ahead(_read, images), strict=True):
            if isinstance(image, Exception):
                unreadable.append(path)
                say(f"skipped: {image}")
            else:
                readable.append(path)
                yield image

    with progress_bar("predicting", len(images)) as bar, ThreadPoolExecutor(1) as writer:
        results = segmenter.stream(readable_images(), args.batch_size)
        previous = None
        for result, path in zip(results, readable, strict=False):  # `readable` grows as results come
            if previous:
                previous.result()  # writes beside the next prediction, never more than one behind
            previous = writer.submit(save, result, output / names[path])
            bar.update()
        if previous:
            previous.result()
    print(f"{len(readable)} images predicted, {len(unreadable)} skipped; masks and overlays are in {output}")
    print("Classes: " + ", ".join(f"{i} {name}" for i, name in enumerate(segmenter.class_names)))
    return 1 if unreadable else 0


def find_images(sources: Sequence[str | os.PathLike]) -> dict[Path, Path]:
    """The image files among files and folders, each with the path, relative to its folder, that names its results.

    Raises:
      UsageError: a source does not exist, or there is no image at all.
    """
    found: dict[Path, Path] = {}
    for source in map(Path, sources):
        if source.is_dir():
            files = sorted(path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
            found |= {path: path.relative_to(source) for path in files}
        elif source.exists():
            found[source] = Path(source.name)
        else:
            raise UsageError(f"{source} does not exist.")
    if not found:
        raise UsageError(f"No images in {', '.join(map(str, sources))}; looked for {' '.join(SUFFIXES)}.")
    return found


def output_names(images: dict[Path, Path]) -> dict[Path, Path]:
    """Result path without ending for each image: its relative path less the suffix.

    Raises:
      UsageError: two images would write the same file.
    """
    names: dict[Path, Path] = {}
    owner: dict[Path, Path] = {}
    for path, relative in images.items():
        name = relative.with_suffix("")
        if name in owner:
            raise UsageError(f"{owner[name]} and {path} would both be written as {name}_mask.png; predict them apart.")
        names[path], owner[name] = name, path
    return names


def save(result: Segmentation, stem: Path) -> None:
    """Writes STEM_mask.png (class ids, one channel) and STEM_overlay.jpg."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    visualize.write(f"{stem}_mask.png", result.mask)
    visualize.write(f"{stem}_overlay.jpg", result.overlay())


def _read(path: Path) -> np.ndarray | Exception:
    """The decoded image, or the reason why there is none."""
    try:
        return visualize.read(str(path))
    except (OSError, UsageError) as error:
        return error
