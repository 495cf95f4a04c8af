"""Predicts uploaded pictures and clips within limits, and writes the files to show."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from refinenet_jax import visualize
from refinenet_jax.data import images
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.video.predict import segment_frames
from refinenet_jax.inference.video.reader import VideoReader
from refinenet_jax.inference.video.writer import VideoWriter

_MOST_REGIONS = 100
_CLIP_KINDS = ("overlays", "masks", "frames")
_CLIP_MEGAPIXELS = 9.0  # of a clip's frame; 4096 x 2160 pixels
_CLIP_FRAMES = 3600
_MOST_ROOM = 3  # limit of a clip's results, in largest uploads: small files can be decoded to much noise
_TICK = 0.5  # seconds between reports of progress, at which Gradio can cancel the work


def _limit(default: float, what: str) -> Any:
    return field(default=default, metadata={"help": what})


@dataclass(frozen=True)
class Limits:
    """Limits beyond which requests are refused; each is an option of the command, with the description in its metadata.

    Raises:
      UsageError: one of them is not positive.
    """

    picture_megapixels: float = _limit(25.0, "largest picture, in millions of pixels")
    upload_megabytes: float = _limit(200.0, "largest upload, in MB")
    clip_length: float = _limit(60.0, "longest clip, in seconds")
    clip_seconds: float = _limit(1800.0, "longest time to process a clip, in seconds")
    upload_seconds: float = _limit(120.0, "longest time for an upload to arrive, in seconds")
    waiting: int = _limit(20, "maximum number of requests in the queue")

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not value > 0:
                raise UsageError(f"--{name.replace('_', '-')} is {value:g}. Give a number above 0.")


def read_picture(encoded: bytes, limits: Limits) -> np.ndarray:
    """Decodes a picture, uint8 [h, w, 3] RGB, upright; its size is checked before it is decoded.

    Raises:
      UsageError: it has too many pixels, is damaged, or of an unknown format.
    """
    picture = images.Picture(encoded, "The picture", orientation=images.orientation(encoded))
    _check_pixels("The picture has", picture.size, limits.picture_megapixels)
    return picture.decode()


def write_views(result: Segmentation, folder: Path) -> list[str]:
    """Writes overlay.jpg, mask.png (values are class ids, shown in the classes' colors) and cutout.png (RGBA)."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    visualize.write(str(folder / "overlay.jpg"), result.overlay())
    visualize.colored_mask(result.mask).save(folder / "mask.png")
    visualize.write(str(folder / "cutout.png"), result.cutout())
    return [str(folder / name) for name in ("overlay.jpg", "mask.png", "cutout.png")]


def figures(result: Segmentation) -> dict[str, Any]:
    """Returns the size, the pixels and regions of every foreground class, and the 100 largest regions, for JSON."""
    height, width = result.mask.shape
    regions = sorted(result.regions(), key=lambda region: -region.area)
    pixels = np.bincount(result.mask.ravel(), minlength=len(result.class_names)).tolist()
    return {
        "width": width,
        "height": height,
        "classes": [
            {
                "id": i,
                "name": name,
                "color": color(i),
                "pixels": pixels[i],
                "share": pixels[i] / (width * height),
                "regions": sum(region.class_id == i for region in regions),
            }
            for i, name in enumerate(result.class_names)
            if i
        ],
        "regions": [asdict(region) | {"score": round(region.score, 4)} for region in regions[:_MOST_REGIONS]],
    }


def color(class_id: int) -> str:
    """Returns the color of a class, #rrggbb."""
    return f"#{visualize.palette()[class_id].tobytes().hex()}"


def predict_clip(
    segmenter: Segmenter, path: Path, parent: Path, limits: Limits
) -> Iterator[tuple[dict[str, int], list[str]]]:
    """Predicts a clip in a new folder below `parent`.

    The limits are also checked for every frame, because a file may have more frames than its header states.

    Yields:
      The progress, `frames` of the expected number `of` (0 if unknown), every half second and at the end; and the files, none
      before the end: overlay (MP4, or Matroska if the sound needs it), masks (lossless, class ids), table of frames (CSV).

    Raises:
      UsageError: the clip is too long, too large or damaged, or takes too long.
    """
    folder = Path(tempfile.mkdtemp(dir=parent))
    try:
        yield from _predict_clip(segmenter, path, folder, limits)
    except BaseException as error:  # also GeneratorExit, when the work is canceled
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, UsageError):
            text = str(error).replace(str(path), "The clip").replace(str(folder), "The server's folder")
            raise UsageError(text) from error
        raise


def _predict_clip(
    segmenter: Segmenter, path: Path, folder: Path, limits: Limits
) -> Iterator[tuple[dict[str, int], list[str]]]:
    end, shown = time.monotonic() + limits.clip_seconds, 0.0
    with VideoReader(path) as video:
        _check_pixels("The clip's frames have", video.format.size, _CLIP_MEGAPIXELS)
        if video.length > limits.clip_length * video.format.rate:
            raise UsageError(f"The clip is longer than {limits.clip_length:g} seconds. Cut it.")
        writer = VideoWriter(folder, "clip", video.format, segmenter.class_names, _CLIP_KINDS)
        with closing(writer):
            count = 0
            for index, pts, result in segment_frames(segmenter, video.frames(), batch_size=1):
                count = index + 1
                if max(count, video.length) > _CLIP_FRAMES:
                    raise UsageError(f"The clip has more than {_CLIP_FRAMES:,} frames. Cut it.")
                if time.monotonic() > end:
                    raise UsageError(f"The clip takes longer than {limits.clip_seconds:g} seconds. Cut it.")
                if sum(file.stat().st_size for file in folder.rglob("*")) > _MOST_ROOM * limits.upload_megabytes * 1e6:
                    raise UsageError("The results of this clip need too much space. Cut it, or make it smaller.")
                writer.add(index, pts, result)
                if time.monotonic() > shown + _TICK:
                    shown = time.monotonic()
                    yield {"frames": count, "of": video.length}, []
            masks, overlay, table = map(str, writer.finish(path, cut=False, start=video.start))
    yield {"frames": count, "of": count}, [overlay, masks, table]


def _check_pixels(what: str, size: tuple[int, int], megapixels: float) -> None:
    height, width = size
    if width * height > megapixels * 1e6:
        raise UsageError(f"{what} {width} x {height} pixels; at most {megapixels:g} million are accepted.")
