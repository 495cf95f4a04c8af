"""Draws overlays, contours and galleries. All images are uint8 [h, w, 3] RGB."""

from collections.abc import Sequence

import cv2
import numpy as np
from etils import epath
from PIL import Image

# Colors of class 1, 2, ...: distinguishable for color-blind readers, and unlike skin (after Okabe and Ito).
COLORS = ((0, 200, 120), (60, 130, 255), (255, 190, 0), (230, 80, 200), (120, 220, 255), (255, 110, 60))
VOID_COLOR = (128, 128, 128)
_BACKGROUND = 255
_INK = (40, 40, 40)


def palette() -> np.ndarray:
    """Returns the color of every mask value, uint8 [256, 3]: 0 is black, 255 (void) is gray."""
    colors = np.zeros((256, 3), np.uint8)
    colors[1:255] = [COLORS[i % len(COLORS)] for i in range(254)]
    colors[255] = VOID_COLOR
    return colors


def colored_mask(mask: np.ndarray) -> Image.Image:
    """Returns a mask, uint8 [h, w] of class ids, as a PIL image whose palette has the colors of the classes."""
    image = Image.fromarray(mask)
    image.putpalette(palette().tobytes())
    return image


def overlay(image: np.ndarray, mask: np.ndarray, opacity: float = 0.45) -> np.ndarray:
    """Tints every class but background and draws its outline.

    Args:
      image: uint8 [h, w, 3] RGB.
      mask: uint8 [h, w] class ids, 255 = void.
      opacity: of the tint, 0 to 1.
    """
    colors = palette()[mask]
    tinted = (image * (1 - opacity) + colors * opacity).astype(np.uint8)
    return outlines(np.where((mask > 0)[..., None], tinted, image), mask)


def outlines(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draws the outline of every class but background, each in its color; void has no outline.

    Args:
      image: uint8 [h, w, 3] RGB; not modified.
      mask: uint8 [h, w] class ids, 255 = void.
    """
    thickness = max(1, round(min(mask.shape) / 240))
    result = np.array(image, order="C")
    for class_id in np.setdiff1d(np.unique(mask), (0, 255)):
        lines, _ = cv2.findContours((mask == class_id).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(result, lines, -1, palette()[class_id].tolist(), thickness, cv2.LINE_AA)
    return result


def gallery(
    rows: Sequence[Sequence[np.ndarray]], captions: Sequence[str], titles: Sequence[str] = (), width: int = 320
) -> np.ndarray:
    """Draws a table of images.

    Args:
      rows: sequences of images, all of the same length.
      captions: one line of text above each row.
      titles: one line of text above each column.
      width: width of a cell in pixels; images keep their aspect ratio.
    """
    gap = 8
    columns = max(len(row) for row in rows)
    total = columns * width + (columns + 1) * gap
    bands = [_text_band(titles, total, width + gap, gap)] if titles else []
    for row, caption in zip(rows, captions, strict=True):
        cells = [_fit(image, width) for image in row]
        band = np.full((max(c.shape[0] for c in cells) + gap, total, 3), _BACKGROUND, np.uint8)
        for i, cell in enumerate(cells):
            left = gap + i * (width + gap)
            band[: cell.shape[0], left : left + width] = cell
        bands += [_text_band([caption], total, total, gap), band]
    return np.concatenate(bands)


def write(path: str, pixels: np.ndarray) -> None:
    """Writes uint8 [h, w, 3] RGB, [h, w, 4] RGBA or [h, w] in the format of the path's ending.

    Raises:
      OSError: the file cannot be written.
    """
    ending = "." + str(path).rsplit(".", 1)[-1]
    if pixels.ndim == 3:
        transparent = pixels.shape[-1] == 4
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA if transparent else cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(ending, pixels)
    if not done:
        raise OSError(f"{path}: cannot encode {list(pixels.shape)} as {ending}")
    epath.Path(path).write_bytes(encoded.tobytes())


def _fit(image: np.ndarray, width: int) -> np.ndarray:
    height = max(round(image.shape[0] * width / image.shape[1]), 1)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _text_band(texts: Sequence[str], total: int, step: int, gap: int) -> np.ndarray:
    band = np.full((24, total, 3), _BACKGROUND, np.uint8)
    for i, text in enumerate(texts):
        cv2.putText(band, text, (gap + i * step, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return band
