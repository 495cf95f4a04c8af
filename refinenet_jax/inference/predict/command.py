"""`refinenet-jax predict`: segments pictures, videos and cameras and writes the results to files."""

import argparse
import json
import os
import time
import webbrowser
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any

from refinenet_jax.command_line.parser import use_device
from refinenet_jax.data.examples import DataError, first_few
from refinenet_jax.errors import UsageError, require_extra
from refinenet_jax.inference import network_options
from refinenet_jax.inference.predict import coco, outputs
from refinenet_jax.inference.predict.arguments import (
    PICTURE_KINDS,
    add_arguments,
    check_arguments,
    predict_options,
    segmenter_options,
)
from refinenet_jax.inference.predict.items import Item
from refinenet_jax.inference.predict.pictures import predict_images
from refinenet_jax.inference.predict.sources import SETTINGS, find
from refinenet_jax.inference.reading import is_address
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.video import writer as video_writer
from refinenet_jax.inference.video.predict import predict_camera, predict_video
from refinenet_jax.progress import progress_bar, say

__all__ = ["add_arguments", "run"]


def run(args: argparse.Namespace) -> int:
    """Predicts all sources; returns the exit status: 1 if some could not be read, 130 after Ctrl-C."""
    check_arguments(args)
    use_device(args.device)
    root = Path(args.output) if args.output else _next_output()
    try:
        sources = _find(args, root)
        segmenter = Segmenter.from_checkpoint(network_options.checkpoint(args), **segmenter_options(args))
        settings = describe(segmenter)
        items = _begin(args, root, sources, settings)
        begin = time.monotonic()
        work = _work if args.beam_pipeline_options is None else _work_on_beam
        total = work(args, root, segmenter, items, settings)
        seconds = time.monotonic() - begin
        coco.assemble(root, args.save, segmenter.class_names)
    except KeyboardInterrupt:
        say(f"Stopped. Resume with the same command and --output={root} --resume.")
        return 130
    _report(total, seconds, segmenter, len(sources) - len(items), root)
    if args.show and not webbrowser.open(root.absolute().as_uri()):
        say(f"--show: no program can open folders. Open {root}.")
    return 1 if total["failed"] else 0


def describe(segmenter: Segmenter) -> dict[str, Any]:
    """Returns the settings that results depend on, with a SHA-256 of the weights."""
    return {
        "weights": segmenter.fingerprint(),
        "class_names": list(segmenter.class_names),
        "scales": list(segmenter.scales),
        "longest_side": segmenter.longest_side,
        "flip": segmenter.flip,
        "tile": segmenter.tile,
        "crf": segmenter.crf and asdict(segmenter.crf),
    }


def _next_output() -> Path:
    """Returns the first of runs/predict, runs/predict2, ... that does not exist."""
    names = (Path("runs", f"predict{number if number > 1 else ''}") for number in count(1))
    return next(path for path in names if not os.path.lexists(path))


def _find(args: argparse.Namespace, root: Path) -> list[Item]:
    """Finds the sources, and checks that no result would be replaced unintentionally."""
    items = find(args.sources, leave_out=root)
    earlier: list[Path] = []
    for item in items:
        if item.kind == "camera" and args.beam_pipeline_options is not None:
            raise UsageError(f"Camera {item.name} does not work with Beam. Omit --beam-pipeline-options.")
        if not set(args.save) & set(PICTURE_KINDS if item.kind == "image" else video_writer.KINDS):
            raise UsageError(
                f"{item.path} has no results of the kind --save {' '.join(args.save)}. For pictures, choose "
                f"{', '.join(PICTURE_KINDS)}; for videos, {', '.join(video_writer.KINDS)}."
            )
        if not args.resume or item.kind == "camera":
            earlier += _existing(root, item, args.save).values()
    if not args.resume and coco.KIND in args.save and coco.path(root).exists():
        earlier.append(coco.path(root))
    if earlier and not args.overwrite:
        raise UsageError(
            f"{first_few(earlier, 1)} would be replaced. Give --overwrite, another --output, or --resume to keep results."
        )
    return items


def _begin(args: argparse.Namespace, root: Path, found: Sequence[Item], settings: dict) -> list[Item]:
    """Prepares the output folder; returns the items that remain to be predicted."""
    outputs.prepare_folder(root, root)
    path = root / SETTINGS
    if args.resume and path.exists():
        try:
            before = json.loads(path.read_text())
            other = sorted(key for key in settings if before[key] != settings[key])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UsageError(f"{path} is damaged ({error!r}). Give --overwrite to start from scratch.") from error
        if other:
            raise UsageError(
                f"The results in {root} were made with other settings ({', '.join(other)}; see {SETTINGS}). Give the same "
                "settings, or --overwrite to start from scratch."
            )
    text = json.dumps(settings, indent=1) + "\n"
    outputs.write_whole(path, root, lambda partial: partial.write_text(text))
    in_coco = coco.begin(root, args.save, args.resume)

    def is_done(item: Item) -> bool:
        kinds = outputs.KINDS if item.kind == "image" else video_writer.KINDS
        if not args.resume or _existing(root, item, args.save).keys() < set(args.save) & set(kinds):
            return False
        return item.kind != "image" or coco.KIND not in args.save or item.relative in in_coco

    return [item for item in found if not is_done(item)]


def _work(args: argparse.Namespace, root: Path, segmenter: Segmenter, items: Sequence[Item], settings: dict) -> Counter:
    """Predicts the items; returns the numbers of images, videos and frames, and of failures."""
    total, options = Counter(), predict_options(args)
    pictures = [item for item in items if item.kind == "image"]
    if pictures:
        with progress_bar("predicting", len(pictures)) as bar:

            def advance(line: str) -> None:
                bar.update()
                if bar.disable and line:
                    say(line)

            total += predict_images(segmenter, pictures, root, options, advance=advance)
    for item in items:
        try:
            if item.kind == "video":
                total += predict_video(segmenter, item, root, options, settings, args.resume)
            elif item.kind == "camera":
                total += predict_camera(segmenter, item, root, options)
        except DataError as error:
            say(f"skipped: {error}")
            total["failed"] += 1
    return total


def _work_on_beam(
    args: argparse.Namespace, root: Path, segmenter: Segmenter, items: Sequence[Item], settings: dict
) -> Counter:
    """Does the same with a Beam pipeline, whose workers each load the network."""
    with require_extra("train", "--beam-pipeline-options"):
        from refinenet_jax.inference.predict import beam
    # Workers may have another working directory.
    paths = {"checkpoint": str(network_options.checkpoint(args).absolute()), "output": str(root.absolute())}
    items = [item if is_address(item.path) else replace(item, path=str(Path(item.path).absolute())) for item in items]
    return beam.run(argparse.Namespace(**{**vars(args), **paths}), settings, items)


def _existing(root: Path, item: Item, kinds: Sequence[str]) -> dict[str, Path]:
    """Returns the existing result files of an item."""
    if item.kind != "image":
        return video_writer.existing(root, item.name, kinds)
    return {kind: path for kind, path in outputs.paths(root, item.name, kinds).items() if os.path.lexists(path)}


def _report(total: Counter, seconds: float, segmenter: Segmenter, left: int, root: Path) -> None:
    kinds = [kind for kind in ("images", "videos", "frames") if total[kind]]
    done = [f"{total[kind]:,} {kind[:-1] if total[kind] == 1 else kind}" for kind in kinds]
    speed = f" in {seconds:.1f} s" if done else ""
    if done and (preparing := segmenter.programs.seconds):
        speed += f", of which {preparing:.1f} s to prepare the network"
    earlier = f", {left} done earlier" if left else ""
    failed = f"; {total['failed']} could not be read completely" if total["failed"] else ""
    print(f"Predicted {', '.join(done) or 'nothing'}{speed}{earlier}{failed}. Results: {root}")
    print("Classes: " + ", ".join(f"{i} {name}" for i, name in enumerate(segmenter.class_names)))
