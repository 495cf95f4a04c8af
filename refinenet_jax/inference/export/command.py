"""`refinenet-jax export`: writes, compares, and only then gives the file its name."""

import argparse
import importlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from refinenet_jax import checkpoint, pretrained
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import test_time
from refinenet_jax.inference.export import check, pictures
from refinenet_jax.inference.export.network import Network, metadata
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.progress import say
from refinenet_jax.weights import files, flat

FORMATS = ("stablehlo", "onnx", "tflite", "savedmodel")
INT8_FORMATS = ("onnx", "tflite")
REJECTED = ".rejected"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `refinenet-jax export`."""
    parser.add_argument(
        "--checkpoint", metavar="PATH", help="folder of a run, or a file of weights (default: the one in the package)"
    )
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument("--size", required=True, metavar="HxW", help="of the pictures it will get, as in 720x1280")
    parser.add_argument("--output", required=True, metavar="FILE", help="to write (a folder for savedmodel)")
    parser.add_argument("--step", type=int, help="checkpoint to take; the best by default")
    test_time.add_arguments(parser)
    parser.add_argument(
        "--int8", action="store_true", help="quantised to 8 bits (onnx and tflite); needs --calibration"
    )
    parser.add_argument("--calibration", nargs="+", metavar="FOLDER", help="typical pictures; 20 to 100 are enough")
    parser.add_argument("--images", nargs="+", metavar="FOLDER", help="pictures to compare on (default: made up)")
    parser.add_argument("--dataset", metavar="NAME", help="compare on this dataset and its truth")
    parser.add_argument("--split", default="test", help="of --dataset (default: %(default)s)")
    parser.add_argument("--data-dir", metavar="DIR", help="where datasets are built (default: TFDS's)")
    parser.add_argument("--num-pictures", type=int, default=8, help="to compare on (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace what is there already")


def run(args: argparse.Namespace) -> int:
    """Exports a network; returns the exit status, 1 if what was written computes something else."""
    size = _size(args.size)
    _check_options(args)
    form = _format(args.format)
    output = Path(args.output)
    _check_output(output, form, args.overwrite)
    path = Path(args.checkpoint or pretrained.PATH)
    segmenter = Segmenter.from_checkpoint(path, step=args.step, **test_time.options(args))
    network = Network.of(segmenter, size, form.PRECISION)
    calibration = pictures.from_files(args.calibration, size, limit=100) if args.int8 else []
    compared, what = _pictures(args, network)
    name = f"{args.format}{' int8' if args.int8 else ''}"
    about = metadata(network, _description(path), _source(path, args.step), name)
    with _place(output) as partial:
        say(f"Writing {name} ...")
        form.write(partial, network, about, [image for image, _ in calibration])
        say(f"Comparing with the network on {len(compared)} pictures ...")
        about_read, call = form.load(partial)
        comparison = check.compare(call, network, compared)
        faults = comparison.faults(check.INT8 if args.int8 else check.FLOAT32)
        if about_read != about:
            faults.append("it does not tell of itself what it should")
        for line in table(about, form.BATCH, _bytes(partial), comparison, what):
            print(line)
        final = output.with_name(f"{output.name}{REJECTED}") if faults else output
        _remove(final)
        partial.rename(final)
    if faults:
        print(
            f"error: what was written is not the network: {'; '.join(faults)}. To look into, it is {final}.",
            file=sys.stderr,
        )
        return 1
    print(f"Written: {output}")
    return 0


def table(about: dict, batch: str, size: int, found: check.Comparison, what: str) -> list[str]:
    """What was written and how it compares, in at most 80 columns.

    Args:
      about: as in `network.metadata`.
      batch: 'free' or '1'.
      size: bytes.
      found: the comparison.
      what: the pictures it was made on.
    """
    shape = about["input"].split("[")[1].split("]")[0].split(", ")
    scales = ", ".join(f"{scale:g}" for scale in about["scales"])
    side = f"longest side {about['longest_side']}" if about["longest_side"] else "own size"
    count = f"{found.pictures} picture{'s' * (found.pictures > 1)}"
    lines = [
        f"{about['format']}: {about['variant']}, {shape[1]}x{shape[2]}, batch {batch}, {size / 1e6:.1f} MB",
        f"{side}, test scales {scales}{', flip' if about['flip'] else ''}",
        f"{f'compared on {count}, {what}'[:57]:57}{'network':>10}{'export':>10}",
        f"{'ms for a picture, the fastest':57}{found.milliseconds[0]:10.1f}{found.milliseconds[1]:10.1f}",
        f"{'pixels with the class that the network gives':67}{found.agreement:10.3%}",
        f"{'largest difference of a score':67}{found.difference:10.2g}",
        f"{'IoU of the foreground with that of the network':67}{_figure(found.iou)}",
    ]
    if found.truth_iou:
        lines.append(f"{'IoU of the foreground with the truth':57}{''.join(map(_figure, found.truth_iou))}")
    return lines


def _figure(value: float | None) -> str:
    return f"{'none' if value is None else f'{value:.4f}':>10}"


def _size(text: str) -> tuple[int, int]:
    """Height and width out of --size.

    Raises:
      UsageError: it says something else.
    """
    if text == "dynamic":
        raise UsageError(
            "--size=dynamic cannot be: how the network resizes is computed in advance for one size. Export a file for each "
            "size you need, as in --size=720x1280, or resize pictures to one. The batch is free, but for tflite."
        )
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if not match:
        raise UsageError(f"--size={text} is no size; give height x width in pixels, as in --size=720x1280.")
    return int(match[1]), int(match[2])


def _check_options(args: argparse.Namespace) -> None:
    """Raises UsageError where options do not go together."""
    if args.int8 and args.format not in INT8_FORMATS:
        raise UsageError(f"--int8 is for {' and '.join(INT8_FORMATS)}; {args.format} holds float32 only.")
    if args.int8 and not args.calibration:
        raise UsageError(
            "--int8 needs --calibration=FOLDER: typical pictures, by which the ranges of numbers are chosen."
        )
    if args.calibration and not args.int8:
        raise UsageError("--calibration is for --int8; for pictures to compare on, give --images.")
    if args.images and args.dataset:
        raise UsageError("Give --images or --dataset, not both.")
    if args.num_pictures < 1:
        raise UsageError(f"--num-pictures={args.num_pictures} leaves nothing to compare on; give 1 or more.")


def _format(name: str) -> ModuleType:
    """The format's module.

    Raises:
      UsageError: a package that it stands on is not installed.
    """
    try:
        return importlib.import_module(f"refinenet_jax.inference.export.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("refinenet_jax"):
            raise
        raise UsageError(
            f"--format={name} needs the package {error.name}, which is not installed: pip install 'refinenet-jax[export]', or "
            "in a checkout pip install -e .[export]."
        ) from error


def _check_output(output: Path, form: ModuleType, overwrite: bool) -> None:
    """Raises UsageError where `output` cannot be written, or holds what nobody asked to replace."""
    if form.SUFFIX and output.suffix != form.SUFFIX:
        raise UsageError(f"--output={output} should end in {form.SUFFIX}: {output.with_suffix(form.SUFFIX)}.")
    if not output.name:
        raise UsageError(f"--output={output} names no file.")
    if not os.path.lexists(output):
        return
    is_ours = output.is_file() if form.SUFFIX else (output / "saved_model.pb").is_file()
    if not is_ours:
        raise UsageError(f"{output} is there and was not written by this export; give another --output.")
    if not overwrite:
        raise UsageError(f"{output} would be replaced; give --overwrite, or another --output.")


def _pictures(args: argparse.Namespace, network: Network) -> tuple[list[pictures.Picture], str]:
    """What to compare on, and what that is in words."""
    limit, size = args.num_pictures, network.size
    if args.dataset:
        names = network.segmenter.class_names
        found = pictures.from_dataset(args.dataset, args.split, args.data_dir, names, size, limit)
        return found, f"{args.dataset} [{args.split}]"
    if args.images or args.calibration:
        return pictures.from_files(args.images or args.calibration, size, limit), ", ".join(
            args.images or args.calibration
        )
    return pictures.made_up(size, limit), "synthetic_hands"


def _description(path: Path) -> dict:
    """What the checkpoint tells of itself; a foreign file tells nothing."""
    if path.is_dir():
        return checkpoint.require_description(path)
    return flat.description_of(files.read(path)) or {}


def _source(path: Path, step: int | None) -> str:
    """The checkpoint's name; no folder above it, which is nobody else's business."""
    if path.is_dir():
        return f"{path.resolve().name}, {'best step' if step is None else f'step {step}'}"
    return path.name


@contextmanager
def _place(output: Path) -> Iterator[Path]:
    """A path beside `output` for what is not finished; whatever is left there at the end is removed.

    Raises:
      UsageError: nothing can be written there, as where the disk is full.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
            yield Path(folder) / f"export{output.suffix}"
    except OSError as error:
        raise UsageError(f"{output} cannot be written: {error}. Make room there, or give another --output.") from error


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _remove(path: Path) -> None:
    """What an export was before; a link is removed, not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
