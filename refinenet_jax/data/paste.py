"""Copy-paste augmentation (Ghiasi et al., CVPR 2021): pastes objects cut out of other examples."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np

from refinenet_jax.data.arms import add_arm
from refinenet_jax.data.augment import exchange_sides
from refinenet_jax.data.examples import VOID
from refinenet_jax.data.mix import Mix
from refinenet_jax.errors import UsageError

_MAX_ENLARGEMENT = 1.5  # larger factors would make a cut-out look blurred
_BEYOND = 0.2  # how far outside the crop the center of an object may lie, as a share of the crop size
_MIN_AREA = 64  # pixels of a cut-out


@dataclasses.dataclass(frozen=True)
class CopyPaste:
    """Pastes random objects of other examples and their labels onto a training crop.

    An object is a connected component of the classes above 0 in a source's mask. Void at its rim stays void; its background
    is not copied.

    Attributes:
      sources: (source, weight) pairs that objects are cut from; an empty sequence disables pasting.
      probability: share of the crops that get objects.
      count: largest number of objects per crop; the number is drawn from 1 to `count`.
      size: (smallest, largest) length of an object's longest side, in crop pixels, drawn log-uniformly.
      rotation: largest rotation of an object, in degrees, in both directions.
      light: brightness of an object is multiplied by up to 1 +- this value, and each color channel by up to 1 +- half of it.
      arm: probability that an object cut off by the edge of its picture is extended by a forearm or a sleeve, labeled
        background. For hands only.
    """

    sources: Mix
    probability: float = 0.5
    count: int = 3
    size: tuple[float, float] = (24, 200)
    rotation: float = 180.0
    light: float = 0.3
    arm: float = 0.0

    def __post_init__(self):
        if not all(0 <= value <= 1 for value in (self.probability, self.light, self.arm)):
            raise UsageError(
                f"paste: probability={self.probability}, light={self.light} and arm={self.arm} must be from 0 to 1"
            )
        if self.count < 1:
            raise UsageError(f"paste: count={self.count} must be at least 1")
        if len(self.size) != 2 or not 1 <= self.size[0] <= self.size[1]:
            raise UsageError(f"paste: size={self.size} must be (smallest, largest) in pixels, at least 1")

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, flip_pairs: Sequence[tuple[int, int]] = ()
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns a copy of the crop with objects pasted onto it, or the crop itself.

        Args:
          image: uint8 [h, w, 3] RGB.
          mask: uint8 [h, w], class ids; 255 is void.
          rng: the only source of randomness.
          flip_pairs: pairs of class ids that are exchanged when an object is mirrored.

        Raises:
          DataError: an example of a source cannot be read.
        """
        if not self.sources or rng.random() >= self.probability:
            return image, mask
        image, mask = image.copy(), mask.copy()
        weights = np.array([weight for _, weight in self.sources])
        for _ in range(rng.integers(1, self.count + 1)):
            source = self.sources[rng.choice(len(weights), p=weights / weights.sum())][0]
            example = source[int(rng.integers(len(source)))]
            cut = cut_out(example["image"], example["mask"], rng)
            angle, softness = rng.uniform(-self.rotation, self.rotation), rng.uniform(0.3, 1.0)
            center = rng.uniform(-_BEYOND, 1 + _BEYOND, 2) * mask.shape[::-1]
            if cut is not None:
                _put(image, mask, *self._vary(*cut, rng, flip_pairs), angle, center, softness)
        return image, mask

    def _vary(
        self, pixels: np.ndarray, ids: np.ndarray, rng: np.random.Generator, flip_pairs: Sequence[tuple[int, int]]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Resizes a cut-out, mirrors it, changes its light and adds an arm, each at random.

        Returns:
          Colors float32 [h, w, 3], opacity float32 [h, w] in [0, 1], and ids uint8 [h, w].
        """
        longest = max(ids.shape)
        wanted = np.exp(rng.uniform(*np.log(self.size)))
        factor = min(wanted / longest, _MAX_ENLARGEMENT)
        width, height = (max(1, round(factor * n)) for n in ids.shape[::-1])
        opacity = ((ids != 0) & (ids != VOID)).astype(np.float32)
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        # Weighted by opacity, so that no background color enters.
        pixels = cv2.resize(pixels * opacity[..., None], (width, height), interpolation=how)
        opacity = cv2.resize(opacity, (width, height), interpolation=how)
        pixels /= np.maximum(opacity, 1e-3)[..., None]
        ids = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        if rng.random() < 0.5:
            pixels, opacity, ids = pixels[:, ::-1], opacity[:, ::-1], exchange_sides(ids[:, ::-1], flip_pairs)
        pixels = pixels * (1 + self.light * rng.uniform(-1, 1) + self.light / 2 * rng.uniform(-1, 1, 3))
        if rng.random() < self.arm:
            pixels, opacity, ids = add_arm(pixels, opacity, ids, rng)
        return pixels.astype(np.float32), opacity, ids


def cut_out(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray] | None:
    """Cuts a random object out of an example.

    Args:
      image: uint8 [h, w, 3].
      mask: uint8 [h, w], class ids; 255 is void.
      rng: random generator; chooses among the objects with at least a quarter of the largest one's area.

    Returns:
      Pixels float32 [a, b, 3] of its bounding box with a margin, and ids uint8 [a, b]: class ids of the object, 255 where
      void touches it, and 0 elsewhere. The object reaches the edge only where the edge of the picture cuts it off. None if
      the example has no object.
    """
    is_object = ((mask != 0) & (mask != VOID)).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(is_object)
    areas = stats[1:, cv2.CC_STAT_AREA]
    if count < 2 or areas.max() < _MIN_AREA:
        return None
    choices = np.flatnonzero(areas >= max(_MIN_AREA, areas.max() / 4))
    label = 1 + int(choices[int(rng.integers(len(choices)))])
    left, top, width, height = stats[label, :4]
    rim = max(1, max(width, height) // 50)
    box = np.s_[max(top - rim, 0) : top + height + rim, max(left - rim, 0) : left + width + rim]
    own = labels[box] == label
    near = cv2.dilate(own.astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8)).astype(bool)
    ids = np.where(own, mask[box], np.where(near & (mask[box] == VOID), VOID, 0)).astype(np.uint8)
    return image[box].astype(np.float32), ids


def _put(
    image: np.ndarray,
    mask: np.ndarray,
    pixels: np.ndarray,
    opacity: np.ndarray,
    ids: np.ndarray,
    angle: float,
    center: np.ndarray,
    softness: float,
) -> None:
    """Writes a cut-out into image and mask in place, rotated, centered at `center` (x, y), its edge blurred by `softness`."""
    height, width = mask.shape
    rows, columns = np.nonzero(ids)
    own_center = (float(columns.mean()), float(rows.mean())) if len(rows) else (0.0, 0.0)
    turn = cv2.getRotationMatrix2D(own_center, angle, 1.0)
    turn[:, 2] += center - own_center
    size = (width, height)
    opacity = cv2.warpAffine(opacity, turn, size)
    ids = cv2.warpAffine(ids, turn, size, flags=cv2.INTER_NEAREST)
    pixels = cv2.warpAffine(pixels, turn, size, borderMode=cv2.BORDER_REPLICATE)
    covered = opacity > 0.5
    mask[covered] = ids[covered]
    mask[(ids == VOID) & ~covered] = VOID
    soft = cv2.GaussianBlur(opacity, (0, 0), softness)[..., None]
    soft = np.minimum(soft, cv2.dilate(opacity, np.ones((3, 3)))[..., None])
    image[:] = np.clip(image + soft * (np.clip(pixels, 0, 255) - image) + 0.5, 0, 255)
