"""`refinenet-jax predict`: pictures, videos and cameras -> what was found in them, on disk."""

import argparse
import dataclasses
import hashlib
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from refinenet_jax import parallel, pretrained
from refinenet_jax.data.examples import DataError, first_few
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import test_time
from refinenet_jax.inference.crf import parse_parameters
from refinenet_jax.inference.predict import coco, outputs
from refinenet_jax.inference.predict.pictures import predict_images
from refinenet_jax.inference.predict.sources import Item, find
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.video import writer as video_writer
from refinenet_jax.inference.video.predict import VideoOptions, predict_camera, predict_video
from refinenet_jax.progress import progress_bar, say

KINDS = (*outputs.ENDINGS, *coco.FORMS, "frames")
_SETTINGS = "predict.json"  # in the output folder: what its results were made with


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Command line of `refinenet-jax predict`."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="SOURCE",
        help="pictures, videos, folders (searched through), patterns in quotes, @LIST (a text file of paths), file:// URLs, "
        "or a camera: 0, /dev/video0",
    )
    parser.add_argument(
        "--checkpoint", metavar="PATH", help="folder of a run, or a file of weights (default: the one in the package)"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for NAME_mask.png and so on")
    parser.add_argument(
        "--save",
        nargs="+",
        choices=KINDS,
        default=["masks", "overlays", "frames"],
        metavar="KIND",
        help=f"what to write: {', '.join(KINDS)} (default: masks overlays frames). Of videos: {', '.join(video_writer.KINDS)}",
    )
    parser.add_argument("--step", type=int, help="checkpoint to take; the best by default")
    test_time.add_arguments(parser)
    parser.add_argument("--tile", type=int, metavar="PIXELS", help="longest side that the network sees at once, as 512")
    parser.add_argument(
        "--crf",
        metavar="PARAMETERS",
        help="refine with a dense CRF: default, or bilateral_weight=5,iterations=4 (slow)",
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="images at a time (default: 1 on a CPU, 8 on each GPU or TPU)"
    )
    parser.add_argument("--min-area", type=int, default=1, metavar="PIXELS", help="of regions in polygons, rle, frames")
    parser.add_argument(
        "--smoothing",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="in which a video's probabilities fade (default: 0)",
    )
    parser.add_argument("--max-frames", type=int, metavar="N", help="of a video or camera")
    parser.add_argument("--max-seconds", type=float, metavar="SECONDS", help="of a video or camera")
    again = parser.add_mutually_exclusive_group()
    again.add_argument("--overwrite", action="store_true", help="replace results that are there already")
    again.add_argument("--resume", action="store_true", help="go on with a run that was stopped; leave what is there")
    parser.add_argument(
        "--coordinator", metavar="HOST:PORT", help="of process 0, where several processes share the work"
    )
    parser.add_argument("--num_processes", type=int, metavar="N", help="how many they are")
    parser.add_argument("--process_id", type=int, metavar="I", help="which one this is, from 0")
    parser.add_argument(
        "--beam_pipeline_options",
        metavar="OPTIONS",
        help="run on Apache Beam, as runner=DirectRunner,direct_num_workers=2",
    )


def run(args: argparse.Namespace) -> int:
    """Predicts all there is; returns the exit status, 1 if some could not be read, 130 after Ctrl-C."""
    _check(args)
    parallel.initialize(args.coordinator, args.num_processes, args.process_id)
    root = Path(args.output)
    try:
        found = [Item(*fields) for fields in _from_main(lambda: _find(args, root))]
        segmenter = _together(lambda: Segmenter.from_checkpoint(_checkpoint(args), **_options(args)))
        settings = describe(segmenter)
        items = [Item(*fields) for fields in _from_main(lambda: _begin(args, root, found, settings))]
        begin = time.monotonic()
        work = _work if args.beam_pipeline_options is None else _work_on_beam
        counts = parallel.gather_json(_together(lambda: work(args, root, segmenter, items, settings)))
        seconds = time.monotonic() - begin
        _from_main(lambda: [*map(str, coco.assemble(root, _forms(args), segmenter.class_names))])
    except KeyboardInterrupt:
        say("Stopped. The same command with --resume goes on from here.")
        return 130
    total = sum(map(Counter, counts), Counter())
    if parallel.is_main_process():
        _tell(total, seconds, segmenter, len(found) - len(items), root)
    return 1 if total["failed"] else 0


def describe(segmenter: Segmenter) -> dict[str, Any]:
    """What results depend on: a SHA-256 sum of the weights, and how they are used."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(segmenter.variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf))
    return {
        "weights": digest.hexdigest(),
        "class_names": list(segmenter.class_names),
        "scales": list(segmenter.scales),
        "longest_side": segmenter.longest_side,
        "flip": segmenter.flip,
        "tile": segmenter.tile,
        "crf": segmenter.crf and dataclasses.asdict(segmenter.crf),
    }


def _check(args: argparse.Namespace) -> None:
    for name in ("batch_size", "min_area", "max_frames"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {value}; it must be at least 1.")
    if not 0 <= args.smoothing < math.inf:
        raise UsageError(f"--smoothing is {args.smoothing}; it must be 0 or more.")
    if args.max_seconds is not None and not 0 < args.max_seconds < math.inf:
        raise UsageError(f"--max-seconds is {args.max_seconds}; it must be more than 0.")


def _find(args: argparse.Namespace, root: Path) -> list[list[str]]:
    """The sources, once it is sure that nothing is replaced unasked."""
    found = find(args.sources, leave_out=root)
    there: list[Path] = []
    for item in found:
        if item.kind == "camera" and (args.beam_pipeline_options is not None or jax.process_count() > 1):
            raise UsageError(f"Camera {item.path} can be read by one process alone.")
        if not _kinds(item, args.save):
            raise UsageError(
                f"Of {item.path} nothing would be written by --save {' '.join(args.save)}. Of pictures there are "
                f"{', '.join(KINDS[:-1])}; of videos {', '.join(video_writer.KINDS)}."
            )
        if not args.resume or item.kind == "camera":
            there += _there(root, item, args.save).values()
    if not args.resume:
        there += [path for form in _forms(args) if (path := root / f"{form}.json").exists()]
    if there and not args.overwrite:
        raise UsageError(
            f"{first_few(there, 1)} would be replaced; give --overwrite, another --output, or --resume to leave what is there."
        )
    return [[item.path, item.relative, item.kind] for item in found]


def _begin(args: argparse.Namespace, root: Path, found: Sequence[Item], settings: dict) -> list[list[str]]:
    """Prepares the output folder; returns what there is to do."""
    outputs.prepare_folder(root, root)
    path = root / _SETTINGS
    if args.resume and path.exists():
        try:
            before = json.loads(path.read_text())
            other = sorted(key for key in settings if before[key] != settings[key])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise UsageError(f"{path} is damaged ({error!r}); give --overwrite to begin anew.") from error
        if other:
            raise UsageError(
                f"The results in {root} were made with other settings ({', '.join(other)}, see {_SETTINGS}). Give the same, "
                "or --overwrite to begin anew."
            )
    text = json.dumps(settings, indent=1) + "\n"
    outputs.write_whole(path, root, lambda partial: partial.write_text(text))
    in_coco = coco.begin(root, _forms(args), args.resume)

    def is_done(item: Item) -> bool:
        if not args.resume or set(_there(root, item, args.save)) < set(_kinds(item, args.save)) - set(coco.FORMS):
            return False
        return item.kind != "image" or not _forms(args) or item.relative in in_coco

    return [[item.path, item.relative, item.kind] for item in found if not is_done(item)]


def _work(args: argparse.Namespace, root: Path, segmenter: Segmenter, items: Sequence[Item], settings: dict) -> Counter:
    """Predicts this process's share; returns how many images, videos and frames there were, and how many failed."""
    count: Counter = Counter()
    pictures = _share(items, "image")
    if pictures:
        with (
            coco.Journals(root, _forms(args), str(jax.process_index()), args.min_area) as journals,
            progress_bar("predicting", len(pictures)) as bar,
        ):

            def advance(line: str) -> None:
                bar.update()
                if bar.disable and line:
                    say(line)

            count += predict_images(segmenter, pictures, root, args.save, journals, args.batch_size, advance)
    for item in _share(items, "video"):
        try:
            count += predict_video(segmenter, item, root, _video_options(args), settings, args.resume)
        except DataError as error:
            say(f"skipped: {error}")
            count["failed"] += 1
    for item in _share(items, "camera"):
        count += predict_camera(segmenter, item, root, _video_options(args))
    return count


def _work_on_beam(
    args: argparse.Namespace, root: Path, segmenter: Segmenter, items: Sequence[Item], settings: dict
) -> Counter:
    """The same by a pipeline, whose workers each load the network."""
    try:
        from refinenet_jax.inference.predict import beam
    except ImportError as error:
        raise UsageError("--beam_pipeline_options needs Apache Beam: pip install 'refinenet-jax[data]'.") from error
    work = beam.Work(
        checkpoint=str(_checkpoint(args).absolute()),
        options=_options(args),
        root=str(root.absolute()),
        kinds=tuple(args.save),
        settings=settings,
        resume=args.resume,
        video=_video_options(args),
    )
    items = [replace(item, path=str(Path(item.path).absolute())) for item in items]
    return beam.run(work, items, args.beam_pipeline_options)


def _checkpoint(args: argparse.Namespace) -> Path:
    return Path(args.checkpoint) if args.checkpoint else pretrained.PATH


def _options(args: argparse.Namespace) -> dict[str, Any]:
    parameters = parse_parameters(args.crf) if args.crf else None
    return {"step": args.step, **test_time.options(args), "tile": args.tile, "crf": parameters}


def _video_options(args: argparse.Namespace) -> VideoOptions:
    return VideoOptions(
        tuple(args.save), args.batch_size, args.smoothing, args.max_frames, args.max_seconds, args.min_area
    )


def _forms(args: argparse.Namespace) -> list[str]:
    return [form for form in coco.FORMS if form in args.save]


def _kinds(item: Item, kinds: Sequence[str]) -> list[str]:
    """Those kinds of results that a picture, or a video, can have."""
    possible = KINDS[:-1] if item.kind == "image" else video_writer.KINDS
    return [kind for kind in kinds if kind in possible]


def _there(root: Path, item: Item, kinds: Sequence[str]) -> dict[str, Path]:
    """The files of an item that exist."""
    if item.kind != "image":
        return video_writer.there(root, item.name, kinds)
    return {kind: path for kind, path in outputs.paths(root, item.name, kinds).items() if path.exists()}


def _share(items: Sequence[Item], kind: str) -> list[Item]:
    return [item for item in items if item.kind == kind][jax.process_index() :: jax.process_count()]


def _together(function: Callable[[], Any]) -> Any:
    """What `function` gives here; a UsageError of one process is raised on all, so that none waits for it."""
    result = error = None
    try:
        result = function()
    except UsageError as raised:
        error = raised
    parallel.agree(error)
    return result


def _from_main(function: Callable[[], Any]) -> Any:
    """What `function` gives, JSON, on the main process, on all: files that come and go meanwhile divide nobody."""
    return parallel.gather_json(_together(lambda: function() if parallel.is_main_process() else None))[0]


def _tell(total: Counter, seconds: float, segmenter: Segmenter, left: int, root: Path) -> None:
    done = [
        f"{total[what]:,} {what[:-1] if total[what] == 1 else what}"
        for what in ("images", "videos", "frames")
        if total[what]
    ]
    pictures = total["images"] + total["frames"]
    programs = segmenter.programs
    speed = f" in {seconds:.1f} s" if pictures else ""
    if pictures and programs.shapes:
        speed += f", {programs.seconds:.1f} s of them for the first of each of {len(programs.shapes)} canvas sizes"
    if pictures > programs.images:
        speed += f"; {(pictures - programs.images) / (seconds - programs.seconds):.1f}/s without those"
    earlier = f", {left} were there already" if left else ""
    failed = f"; {total['failed']} could not be read, wholly or in part" if total["failed"] else ""
    print(f"Predicted {', '.join(done) or 'nothing'}{speed}{earlier}{failed}. Results: {root}")
    print("Classes: " + ", ".join(f"{i} {name}" for i, name in enumerate(segmenter.class_names)))
