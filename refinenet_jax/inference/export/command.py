"""`refinenet-jax export`: writes an export, compares it with the network, and renames it to its final name."""

import argparse
import importlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from refinenet_jax import checkpoint
from refinenet_jax.errors import UsageError, require_extra
from refinenet_jax.inference import network_options
from refinenet_jax.inference.export import check, pictures
from refinenet_jax.inference.export.network import Network, metadata
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.progress import say
from refinenet_jax.weights import files, flat

FORMATS = ("stablehlo", "onnx", "tflite", "savedmodel")
INT8_FORMATS = ("onnx", "tflite")
_EXAMPLES = """examples:
  refinenet-jax export --format=onnx --size=720x1280 --output=hands.onnx
  refinenet-jax export --checkpoint=runs/egohands --format=savedmodel \\
    --size=720x1280 --output=hands --dataset=egohands/hands
  refinenet-jax export --format=tflite --size=360x640 --output=hands.tflite \\
    --int8 --calibration photos/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command-line arguments of `refinenet-jax export`."""
    parser.usage = "refinenet-jax export --format FORMAT --size HxW --output FILE [options]"
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, _EXAMPLES
    result = parser.add_argument_group("result")
    result.add_argument("--format", required=True, choices=FORMATS, metavar="FORMAT", help=", ".join(FORMATS))
    result.add_argument(
        "--size", required=True, metavar="HxW", help="height x width of the input pictures in pixels, such as 720x1280"
    )
    result.add_argument("--output", required=True, metavar="FILE", help="file to write (a folder for savedmodel)")
    result.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    result.add_argument("--int8", action="store_true", help="quantize to 8 bits (onnx, tflite); needs --calibration")
    result.add_argument(
        "--calibration", nargs="+", metavar="FOLDER", help="typical pictures for --int8, about 20 to 100"
    )
    network = parser.add_argument_group("network")
    network_options.add_arguments(network)
    comparison = parser.add_argument_group("comparison of the export with the network")
    comparison.add_argument(
        "--images", nargs="+", metavar="FOLDER", help="pictures to compare on (default: --calibration, else synthetic)"
    )
    comparison.add_argument("--dataset", metavar="NAME", help="dataset to compare on, which includes its truth")
    comparison.add_argument("--split", default="test", help="split of --dataset (default: %(default)s)")
    comparison.add_argument(
        "--data-dir", metavar="DIR", help="folder of built datasets (default: TFDS_DATA_DIR or ~/tensorflow_datasets)"
    )
    comparison.add_argument(
        "--num-pictures", type=int, default=8, metavar="N", help="number of pictures to compare (default: %(default)s)"
    )


def run(args: argparse.Namespace) -> int:
    """Exports a network; returns the exit status.

    Raises:
      UsageError: the options or pictures are wrong, or the results of the export differ too much from the network's.
    """
    size = _size(args.size)
    _check_options(args)
    form = _format(args.format)
    output = Path(args.output)
    _check_output(output, form, args.overwrite)
    path = network_options.checkpoint(args)
    segmenter = Segmenter.from_checkpoint(path, **network_options.options(args))
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
            faults.append("its metadata differ from what was written")
        for line in table(about, form.BATCH, _bytes(partial), comparison, what):
            print(line)
        if faults:
            raise UsageError(
                f"The export differs from the network: {'; '.join(faults)}. {output} was not written; try another "
                f"{'--calibration or no --int8' if args.int8 else '--format'}."
            )
        _remove(output)
        partial.rename(output)
    print(f"Written: {output}")
    return 0


def table(about: dict, batch: str, size: int, found: check.Comparison, what: str) -> list[str]:
    """Returns a description of the export and its comparison, as lines of at most 80 columns.

    Args:
      about: metadata of the export, see `network.metadata`.
      batch: batch size, 'free' or '1'.
      size: size of the export in bytes.
      found: result of the comparison.
      what: description of the pictures of the comparison.
    """
    shape = about["input"].split("[")[1].split("]")[0].split(", ")
    scales = ", ".join(f"{scale:g}" for scale in about["scales"])
    side = f"longest side {about['longest_side']}" if about["longest_side"] else "own size"
    count = f"{found.pictures} picture{'s' * (found.pictures > 1)}"
    lines = [
        f"{about['format']}: {about['variant']}, {shape[1]}x{shape[2]}, batch {batch}, {size / 1e6:.1f} MB",
        f"{side}, test scales {scales}{', flip' if about['flip'] else ''}",
        f"{f'compared on {count}, {what}'[:57]:57}{'network':>10}{'export':>10}",
        f"{'ms per picture (fastest)':57}{found.milliseconds[0]:10.1f}{found.milliseconds[1]:10.1f}",
        f"{'pixels with the class of the network':67}{found.agreement:10.3%}",
        f"{'maximum difference of a score':67}{found.difference:10.2g}",
        f"{'IoU of the foreground with the network':67}{_figure(found.iou)}",
    ]
    if found.truth_iou:
        lines.append(f"{'IoU of the foreground with the truth':57}{''.join(map(_figure, found.truth_iou))}")
    return lines


def _figure(value: float | None) -> str:
    return f"{'none' if value is None else f'{value:.4f}':>10}"


def _size(text: str) -> tuple[int, int]:
    """Parses --size to height and width.

    Raises:
      UsageError: the text is no size.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if not match:
        raise UsageError(f"--size={text} is not a size. Give height x width in pixels, such as --size=720x1280.")
    return int(match[1]), int(match[2])


def _check_options(args: argparse.Namespace) -> None:
    """Raises UsageError if options contradict each other."""
    if args.int8 and args.format not in INT8_FORMATS:
        raise UsageError(
            f"--int8 does not work with {args.format}. Choose {' or '.join(INT8_FORMATS)}, or omit --int8."
        )
    if args.int8 and not args.calibration:
        raise UsageError(
            "--int8 needs --calibration. Give a folder of typical pictures, which determine the ranges of values."
        )
    if args.calibration and not args.int8:
        raise UsageError("--calibration is for --int8. For pictures of the comparison, give --images.")
    if args.images and args.dataset:
        raise UsageError("--images and --dataset exclude each other. Give one of them.")
    if args.num_pictures < 1:
        raise UsageError(f"--num-pictures is {args.num_pictures}. Give 1 or more.")


def _format(name: str) -> ModuleType:
    """Imports the module of a format.

    Raises:
      UsageError: a package that the format needs is not installed.
    """
    with require_extra("export", f"--format={name}"):
        return importlib.import_module(f"refinenet_jax.inference.export.{name}")


def _check_output(output: Path, form: ModuleType, overwrite: bool) -> None:
    """Raises UsageError if `output` cannot be written, or exists and may not be replaced."""
    if form.SUFFIX and output.suffix != form.SUFFIX:
        raise UsageError(f"--output={output} does not end in {form.SUFFIX}. Give {output.with_suffix(form.SUFFIX)}.")
    if not output.name:
        raise UsageError(f"--output={output} has no file name. Give the path of a file.")
    if not os.path.lexists(output):
        return
    is_ours = output.is_file() if form.SUFFIX else (output / "saved_model.pb").is_file()
    if not is_ours:
        raise UsageError(f"{output} exists and was not written by this command. Give another --output.")
    if not overwrite:
        raise UsageError(f"{output} exists. Give --overwrite to replace it, or another --output.")


def _pictures(args: argparse.Namespace, network: Network) -> tuple[list[pictures.Picture], str]:
    """Returns the pictures of the comparison, and their description."""
    limit, size = args.num_pictures, network.size
    if args.dataset:
        names = network.segmenter.class_names
        found = pictures.from_dataset(args.dataset, args.split, args.data_dir, names, size, limit)
        return found, f"{args.dataset} [{args.split}]"
    if folders := args.images or args.calibration:
        return pictures.from_files(folders, size, limit), ", ".join(folders)
    return pictures.made_up(size, limit), "synthetic_hands"


def _description(path: Path) -> dict:
    """Returns the description of a checkpoint, as in model.json; empty for foreign files."""
    if path.is_dir():
        return checkpoint.require_description(path)
    return flat.description_of(files.read(path)) or {}


def _source(path: Path, step: int | None) -> str:
    """Returns the checkpoint's name, without the folders above it, which are private."""
    if path.is_dir():
        return f"{path.resolve().name}, {'best step' if step is None else f'step {step}'}"
    return path.name


@contextmanager
def _place(output: Path) -> Iterator[Path]:
    """Yields a path next to `output` for the unfinished file, which is removed at the end if it is still there.

    Raises:
      UsageError: the file cannot be written, for example because the disk is full.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{output.name}.", dir=output.parent) as folder:
            yield Path(folder) / f"export{output.suffix}"
    except OSError as error:
        raise UsageError(f"{output} cannot be written ({error}). Free some space, or give another --output.") from error


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())


def _remove(path: Path) -> None:
    """Removes an earlier export; if it is a link, removes only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
