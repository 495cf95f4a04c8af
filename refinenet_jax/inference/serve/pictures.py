"""An uploaded picture -> what was found in it, as JSON, a mask or an overlay."""

import base64
import io
import time
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image
from starlette.exceptions import HTTPException

from refinenet_jax import visualize
from refinenet_jax.data import images
from refinenet_jax.inference.fitting import fitted_size
from refinenet_jax.inference.segmentation import Segmentation
from refinenet_jax.inference.segmenter import Segmenter

_MOST_BOXES = 100
_KINDS = "PNG, JPEG, WebP, GIF, BMP and TIFF"


def decode(encoded: bytes, megapixels: float) -> np.ndarray:
    """The picture, uint8 [h, w, 3] RGB, upright as its EXIF data says; its size is looked at before its pixels are.

    Raises:
      HTTPException: 413, too many pixels; 415, of a kind not known.
      DataError: it is damaged.
    """
    found = images.sniff(encoded)
    if found is None:
        raise HTTPException(415, f"This is no picture that can be read: {_KINDS} are.")
    pixels = _pixels(encoded, found)
    if pixels > megapixels * 1e6:
        raise HTTPException(413, f"The picture has too many pixels; at most {megapixels:g} million are taken.")
    image = images.decode_rgb(encoded, "The picture", fix="It is damaged: save it again.")
    return images.turn_upright(image, images.orientation(encoded))


def classes(class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Id, name and colour (#rrggbb) of every class."""
    colours = visualize.palette()
    return [
        {"id": i, "name": name, "colour": f"#{bytes(colours[i].tolist()).hex()}"} for i, name in enumerate(class_names)
    ]


def answer(segmenter: Segmenter, image: np.ndarray) -> dict[str, Any]:
    """What was found in an image uint8 [h, w, 3] RGB: sizes, areas, boxes, and the mask as a PNG in base64."""
    begin = time.monotonic()
    result = segmenter(image)
    height, width = image.shape[:2]
    inference = fitted_size((height, width), segmenter.longest_side)
    regions = sorted(result.regions(), key=lambda region: -region.area)
    counts = np.bincount(result.mask.ravel(), minlength=len(result.class_names)).tolist()
    return {
        "width": width,
        "height": height,
        "classes": classes(result.class_names),
        "areas": [
            {
                "class_id": i,
                "class_name": name,
                "pixels": counts[i],
                "share": counts[i] / (width * height),
                "regions": sum(region.class_id == i for region in regions),
            }
            for i, name in enumerate(result.class_names)
            if i
        ],
        "boxes": [
            {
                "class_id": region.class_id,
                "class_name": region.class_name,
                "box": list(region.box),
                "pixels": region.area,
                "score": round(region.score, 4),
            }
            for region in regions[:_MOST_BOXES]
        ],
        "boxes_left_out": max(len(regions) - _MOST_BOXES, 0),
        "inference": {"width": inference[1], "height": inference[0]},
        "mask": base64.b64encode(mask_png(result)).decode(),
        "seconds": round(time.monotonic() - begin, 3),
    }


def mask_png(result: Segmentation) -> bytes:
    """Class ids, one channel of 8 bits."""
    return cv2.imencode(".png", result.mask)[1].tobytes()


def overlay_jpeg(result: Segmentation) -> bytes:
    """The picture with the classes tinted and outlined."""
    return cv2.imencode(".jpg", cv2.cvtColor(result.overlay(), cv2.COLOR_RGB2BGR))[1].tobytes()


def _pixels(encoded: bytes, found: str) -> float:
    """How many the header tells of; infinite where that alarms PIL, 0 where it cannot be read, of which decoding will tell."""
    try:
        with Image.open(io.BytesIO(encoded), formats=[found]) as image:
            return image.width * image.height
    except Image.DecompressionBombError:
        return float("inf")
    except Exception:
        return 0
