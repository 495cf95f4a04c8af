"""Uploaded pictures and clips -> files to show and figures, within limits."""

import io
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

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
_MOST_ROOM = 3  # results of a clip, times the largest upload: few bytes can decode to much noise
_TICK = 0.5  # seconds between two reports of progress, at each of which Gradio can stop the work


@dataclass(frozen=True)
class Limits:
    """What is refused.

    Attributes:
      upload_megabytes: largest upload, in 10^6 bytes.
      picture_megapixels: most pixels of a picture, in 10^6.
      clip_megapixels: most pixels of a clip's frame, in 10^6.
      clip_length: longest clip, in seconds.
      clip_frames: most frames of a clip.
      clip_seconds: longest time to work on a clip.
      upload_seconds: longest time for an upload to arrive.
      waiting: most requests in the queue.

    Raises:
      UsageError: one of them is not positive.
    """

    upload_megabytes: float = 200.0
    picture_megapixels: float = 25.0
    clip_megapixels: float = 9.0  # 4096 x 2160
    clip_length: float = 60.0
    clip_frames: int = 3600
    clip_seconds: float = 1800.0
    upload_seconds: float = 120.0
    waiting: int = 20

    def __post_init__(self):
        for name, value in asdict(self).items():
            if not value > 0:
                raise UsageError(f"--{name.replace('_', '-')} is {value:g}; it must be above 0.")


def read_picture(encoded: bytes, limits: Limits) -> np.ndarray:
    """Decodes a picture, uint8 [h, w, 3] RGB, upright; its size is checked before it is decoded.

    Raises:
      UsageError: it has too many pixels, is damaged, or of an unknown format.
    """
    if kind := images.sniff(encoded):
        try:
            with Image.open(io.BytesIO(encoded), formats=[kind]) as header:
                _check_pixels("The picture has", header.size, limits.picture_megapixels)
        except Image.DecompressionBombError as error:
            raise UsageError(f"The picture has more than {limits.picture_megapixels:g} million pixels.") from error
        except OSError:  # damaged, which decoding reports
            pass
    image = images.decode_rgb(encoded, "The picture")
    return images.turn_upright(image, images.orientation(encoded))


def write_views(result: Segmentation, folder: Path) -> list[str]:
    """Writes overlay.jpg, mask.png (values are class ids, shown in the classes' colors) and cutout.png (RGBA)."""
    folder = Path(tempfile.mkdtemp(dir=folder))
    visualize.write(str(folder / "overlay.jpg"), result.overlay())
    visualize.colored_mask(result.mask).save(folder / "mask.png")
    visualize.write(str(folder / "cutout.png"), result.cutout())
    return [str(folder / name) for name in ("overlay.jpg", "mask.png", "cutout.png")]


def figures(result: Segmentation) -> dict[str, Any]:
    """Width and height, pixels and regions of every class but background, and the 100 largest regions; JSON."""
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
    """Color of a class, #rrggbb."""
    return f"#{visualize.palette()[class_id].tobytes().hex()}"


def predict_clip(
    segmenter: Segmenter, path: Path, parent: Path, limits: Limits
) -> Iterator[tuple[dict[str, int], list[str]]]:
    """Predicts a clip in a new folder below `parent`.

    The limits are also checked frame by frame, because a file may hold more than its header says.

    Yields:
      `frames` so far and `of` how many (0 where the file does not say), every half second and at the end; and the files, none
      before the end: overlay (MP4, or Matroska where the sound needs it), masks (lossless, class ids), table of frames (CSV).

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
        _check_pixels("The clip's frames have", video.size[::-1], limits.clip_megapixels)
        if video.length > limits.clip_length * video.rate:
            raise UsageError(f"The clip is longer than {limits.clip_length:g} seconds. Cut it.")
        writer = VideoWriter(
            folder,
            "clip",
            _CLIP_KINDS,
            size=video.size,
            time_base=video.time_base,
            rate=video.rate,
            aspect=video.aspect,
            matrix=video.matrix,
            class_names=segmenter.class_names,
            settings={},
            resume=False,
        )
        with closing(writer):
            count = 0
            for index, pts, result in segment_frames(segmenter, video.frames(), batch_size=1):
                count = index + 1
                if max(count, video.length) > limits.clip_frames:
                    raise UsageError(f"The clip has more than {limits.clip_frames:,} frames. Cut it.")
                if time.monotonic() > end:
                    raise UsageError(f"The clip takes longer than {limits.clip_seconds:g} seconds. Cut it.")
                if sum(file.stat().st_size for file in folder.rglob("*")) > _MOST_ROOM * limits.upload_megabytes * 1e6:
                    raise UsageError("The results of this clip need too much room. Cut it, or make it smaller.")
                writer.add(index, pts, result)
                if time.monotonic() > shown + _TICK:
                    shown = time.monotonic()
                    yield {"frames": count, "of": video.length}, []
            masks, overlay, table = map(str, writer.finish(path, cut=False, start=video.start))
    yield {"frames": count, "of": count}, [overlay, masks, table]


def _check_pixels(what: str, size: tuple[int, int], megapixels: float) -> None:
    width, height = size
    if width * height > megapixels * 1e6:
        raise UsageError(f"{what} {width} x {height} pixels; at most {megapixels:g} million are accepted.")
