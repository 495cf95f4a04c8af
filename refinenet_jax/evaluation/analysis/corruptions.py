"""Corruptions of images (blur, low light, noise, JPEG, occlusion), to measure robustness.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions" (ICLR 2019): the kinds that
occur in egocentric video, in five strengths, and objects in front of the hands. Lengths of blur are in units of 1/480 of the
image's shorter side, and grain and JPEG blocks are those of an image of at most 480 lines, so that a strength means the same
for small and large images. The random part (direction, grain, shape) depends only on the kind and the example's id: results
are reproducible, and strengths of one example differ only in their amount.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from refinenet_jax.data.examples import Source
from refinenet_jax.evaluation.analysis.attributes import SMALLEST_HAND
from refinenet_jax.evaluation.analysis.slices import FIGURES, figures
from refinenet_jax.evaluation.scores import Scores

STRENGTHS = (1, 2, 3, 4, 5)

Pair = tuple[np.ndarray, np.ndarray]  # image and mask
Corruption = Callable[[np.ndarray, np.ndarray, int, np.random.Generator], Pair]

_SHORT_SIDE = 480
_LEVELS = 1 << 14


def corrupt(example: dict[str, Any], kind: str, strength: int) -> dict[str, Any]:
    """Corrupts the image of an example; other entries stay unchanged.

    Args:
      example: `image` uint8 [h, w, 3] RGB, `mask` uint8 [h, w] of class ids (255 void), `id`.
      kind: one of CORRUPTIONS.
      strength: one of STRENGTHS.

    Returns:
      An example of the same sizes and types. Only `occlusion` changes the mask: what the object hides is background.
    """
    digest = hashlib.sha256(f"{kind}/{example['id']}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(digest, np.uint32))
    image, mask = CORRUPTIONS[kind](example["image"], example["mask"], strength, rng)
    return {**example, "image": image, "mask": mask}


class Corrupted:
    """A source that corrupts images as they are read; ids and videos stay."""

    def __init__(self, source: Source, kind: str, strength: int):
        """See `corrupt` for `kind` and `strength`."""
        self.info = dataclasses.replace(source.info, name=f"{source.info.name} ({kind.replace('_', ' ')} {strength})")
        self._source, self._kind, self._strength = source, kind, strength

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return corrupt(self._source[index], self._kind, self._strength)


def curves(source: Source, clean: Scores, score: Callable[[Source], Scores]) -> dict[str, dict[int, dict[str, float]]]:
    """Evaluates a source under every kind and strength.

    Args:
      source: images and truth.
      clean: scores of the source without corruption.
      score: evaluates a corrupted source.

    Returns:
      kind -> strength -> slices.FIGURES; strength 0 is the clean source. The last kind, 'mean', has the means over the kinds.
    """
    first = figures(clean)
    table = {
        kind: {0: first, **{s: figures(score(Corrupted(source, kind, s))) for s in STRENGTHS}} for kind in CORRUPTIONS
    }
    rows = {s: [by_strength[s] for by_strength in table.values()] for s in (0, *STRENGTHS)}
    mean = {s: {key: float(np.mean([row[key] for row in rows[s]])) for key in FIGURES} for s in rows}
    return {**table, "mean": mean}


def _motion_blur(image: np.ndarray, mask: np.ndarray, strength: int, rng: np.random.Generator) -> Pair:
    """Camera motion during the exposure: light summed along a line centered on the true position."""
    length = (6, 12, 20, 30, 42)[strength - 1] * _unit(image)
    angle = rng.uniform(0, np.pi)
    radius = int(np.ceil(length / 2)) + 1
    steps = np.linspace(-length / 2, length / 2, 8 * int(np.ceil(length)) + 1)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    x, y = radius + steps * np.cos(angle), radius + steps * np.sin(angle)
    for dx in (0, 1):  # each step is shared by the four pixels around it
        for dy in (0, 1):
            column, row = np.floor(x).astype(int) + dx, np.floor(y).astype(int) + dy
            np.add.at(kernel, (row, column), (1 - abs(x - column)) * (1 - abs(y - row)))
    return _filter_light(image, kernel), mask


def _defocus(image: np.ndarray, mask: np.ndarray, strength: int, rng: np.random.Generator) -> Pair:
    """A lens focused at another distance: every point becomes a disk."""
    reach = (1.5, 3, 5, 7.5, 10.5)[strength - 1] * _unit(image)
    radius = int(np.ceil(reach)) + 1
    away = np.hypot(*np.mgrid[-radius : radius + 1, -radius : radius + 1])
    return _filter_light(image, np.clip(reach - away + 0.5, 0, 1).astype(np.float32)), mask


def _low_light(image: np.ndarray, mask: np.ndarray, strength: int, rng: np.random.Generator) -> Pair:
    """Less light, half of it compensated by gain: a darker image with visible sensor noise.

    Shot noise of a full well of 2,000 electrons and read noise of 3, of a small sensor.
    """
    stops = (1.5, 2.75, 4, 5.25, 6.5)[strength - 1]
    well, read = 2000.0, 3.0
    electrons = _light(image) * (well * 2.0**-stops)
    noisy = electrons + np.sqrt(electrons + read**2) * _grain(image.shape, rng)
    return _picture(noisy * (2.0 ** (stops / 2) / well)), mask


def _noise(image: np.ndarray, mask: np.ndarray, strength: int, rng: np.random.Generator) -> Pair:
    """Additive Gaussian noise, independent for each color channel."""
    deviation = (10, 20, 32, 46, 64)[strength - 1]
    return np.clip(np.rint(image + deviation * _grain(image.shape, rng)), 0, 255).astype(np.uint8), mask


def _jpeg(image: np.ndarray, mask: np.ndarray, strength: int, rng: np.random.Generator) -> Pair:
    """Compression at no more than 480 lines, as in low-bandwidth video; blocks are 1/60 of the height."""
    quality = (28, 17, 12, 8, 6)[strength - 1]
    size = image.shape[1::-1]
    reduced = cv2.resize(image, _at_most_480(image.shape), interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".jpg", reduced, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return cv2.resize(cv2.imdecode(encoded, cv2.IMREAD_COLOR), size, interpolation=cv2.INTER_LINEAR), mask


def _occlusion(image: np.ndarray, mask: np.ndarray, strength: int, rng: np.random.Generator) -> Pair:
    """An object over every hand, which hides at least 10, 20, 30, 40 or 50 % of it. All that it covers is background.

    Hands are the connected regions of one class that cover at least SMALLEST_HAND of the image. The object is a rounded shape
    about a random pixel of the hand, of one color, shaded from a random side. Without hands the image stays.
    """
    image, hidden = image.copy(), np.zeros(mask.shape, bool)
    for hand in _hands(mask):
        rows, columns = np.nonzero(hand)
        center = rng.integers(len(rows))
        row, column = int(rows[center]), int(columns[center])
        waves, phases = rng.uniform(0, (0.25, 0.12, 0.06)), rng.uniform(0, 2 * np.pi, 3)
        color, side = rng.integers(30, 226, 3).astype(np.float32), rng.uniform(0, 2 * np.pi)
        # From the center to the farthest pixel hidden; other strengths differ in that alone.
        radii = _radii(rows - row, columns - column, waves, phases)
        reach = max(np.quantile(radii, strength / 10, method="higher"), 1)
        radius = int(reach * (1 + waves.sum())) + 1
        top, left = max(row - radius, 0), max(column - radius, 0)
        window = np.s_[top : row + radius + 1, left : column + radius + 1]
        y, x = np.indices(image[window].shape[:2]) + np.array([top - row, left - column])[:, None, None]
        distance = _radii(y, x, waves, phases) / reach
        inside = distance <= 1
        shade = 1 + 0.35 * (x * np.cos(side) + y * np.sin(side)) / reach - 0.25 * distance**2
        image[window][inside] = np.clip(color * shade[inside, None], 0, 255).astype(np.uint8)
        hidden[window] |= inside
    return image, np.where(hidden, 0, mask).astype(np.uint8)


CORRUPTIONS: dict[str, Corruption] = {
    "motion_blur": _motion_blur,
    "defocus": _defocus,
    "low_light": _low_light,
    "noise": _noise,
    "jpeg": _jpeg,
    "occlusion": _occlusion,
}


def _unit(image: np.ndarray) -> float:
    return min(image.shape[:2]) / _SHORT_SIDE


def _at_most_480(shape: Sequence[int]) -> tuple[int, int]:
    """Size (w, h) of at most _SHORT_SIDE along the shorter side."""
    scale = min(1, _SHORT_SIDE / min(shape[:2]))
    return round(shape[1] * scale), round(shape[0] * scale)


def _light(image: np.ndarray) -> np.ndarray:
    """uint8 sRGB -> light, float32 in [0, 1]; blur and exposure act on that, not on the numbers of a file."""
    code = np.arange(256) / 255
    table = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)[image]


def _picture(light: np.ndarray) -> np.ndarray:
    """The reverse of _light, to the nearest of _LEVELS levels of light, which are finer than those of uint8."""
    level = np.arange(_LEVELS) / (_LEVELS - 1)
    table = np.where(level <= 0.0031308, level * 12.92, 1.055 * level ** (1 / 2.4) - 0.055)
    table = np.rint(table * 255).astype(np.uint8)
    return table[np.rint(np.clip(light, 0, 1) * (_LEVELS - 1)).astype(np.int32)]


def _filter_light(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    return _picture(cv2.filter2D(_light(image), -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101))


def _grain(shape: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Standard normal noise, float32 [h, w, 3], of grains no finer than 1/480 of the shorter side."""
    width, height = _at_most_480(shape)
    grain = cv2.resize(rng.standard_normal((height, width, 3), np.float32), shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return grain / grain.std()


def _radii(y: np.ndarray, x: np.ndarray, waves: np.ndarray, phases: np.ndarray) -> np.ndarray:
    """Distance of each point from (0, 0) in radii of a shape with waves of 2, 3 and 4 turns around; float64, shape of y."""
    turns = np.arctan2(y, x)[..., None] * np.arange(2, 5) + phases
    return np.hypot(y, x) / (1 + (waves * np.cos(turns)).sum(-1))


def _hands(mask: np.ndarray) -> list[np.ndarray]:
    """Connected regions of one class, bool [h, w] each, that are not too small for a hand."""
    regions = []
    for class_id in np.setdiff1d(np.unique(mask), (0, 255)):
        count, labels = cv2.connectedComponents((mask == class_id).astype(np.uint8), connectivity=8)
        regions += [labels == i for i in range(1, count)]
    return [region for region in regions if np.count_nonzero(region) >= SMALLEST_HAND * mask.size]
