"""Adds forearms and sleeves to cut-out hands, so that a network does not learn that every hand ends at the wrist."""

import cv2
import numpy as np

_MIN_CONTACT = 0.35  # least contact with the cutting edge, as a share of the object's shorter side


def add_arm(
    pixels: np.ndarray, opacity: np.ndarray, ids: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Extends a hand beyond the edge that cuts it off, with a bare forearm, a sleeve, or both.

    Args:
      pixels: float [h, w, 3], colors of the hand.
      opacity: float32 [h, w], in [0, 1].
      ids: uint8 [h, w], class ids; 0 outside the hand.
      rng: the only source of randomness.

    Returns:
      The three arrays, enlarged by the arm (opaque, ids 0). They are unchanged if no edge cuts the hand off.
    """
    solid = opacity > 0.5
    contacts = [np.count_nonzero(edge) for edge in (solid[-1], solid[:, 0], solid[0], solid[:, -1])]
    turns = int(np.argmax(contacts))  # quarter turns counterclockwise that move the edge to the bottom
    if contacts[turns] < max(3, _MIN_CONTACT * min(solid.shape)):
        return pixels, opacity, ids
    pixels, opacity, ids = (np.rot90(a, turns) for a in (pixels, opacity, ids))

    # ---- The arm as a surface: rows run down from the wrist, `across` is -1 and 1 at its sides.
    height, width = opacity.shape
    columns = np.flatnonzero(opacity[-1] > 0.5)
    wrist = (columns[-1] - columns[0] + 1) / 2
    length = int(height * rng.uniform(0.8, 3.0)) + 2
    overlap = int(rng.uniform(0.0, 0.15) * height) if rng.random() < 0.5 else 0  # rows of the hand under the sleeve
    # Row below the wrist at which the sleeve starts; more than a third of the arms are bare.
    sleeve_from = -overlap if rng.random() < 0.25 else length * rng.uniform(0.15, 2.0)
    margin = int(width + length / 2)
    down = np.arange(-overlap, length)[:, None].astype(np.float32)
    sideways = np.arange(-margin, width + margin)[None]
    middle = (columns[0] + columns[-1]) / 2 + rng.uniform(-0.25, 0.25) * down
    half = wrist * (1 + rng.uniform(0.0, 0.6) * np.clip(down / (4 * wrist), 0, 1))
    is_sleeve = down >= sleeve_from
    half = np.where(is_sleeve, half * rng.uniform(1.05, 1.6), half)
    across = (sideways - middle) / half
    cover = np.clip((1 - np.abs(across)) * half + 0.5, 0, 1) * (is_sleeve | (down >= 0))
    color = np.where(is_sleeve[..., None], _cloth(across, down / wrist, rng), _skin(pixels, columns, across, rng))

    # ---- The hand covers the arm, and the sleeve covers the hand.
    def extend(array: np.ndarray) -> np.ndarray:
        return np.pad(array, [(0, length), (margin, margin), *[(0, 0)] * (array.ndim - 2)])

    pixels, opacity, ids = (extend(array) for array in (pixels, opacity, ids))
    rows = slice(height - overlap, height + length)
    hand = opacity[rows] * np.where(is_sleeve, 1 - cover, 1)
    ids[rows][is_sleeve & (cover > 0.5)] = 0
    total = hand + cover * (1 - hand)
    mixed = hand[..., None] * pixels[rows] + (cover * (1 - hand))[..., None] * color
    pixels[rows] = mixed / np.maximum(total, 1e-3)[..., None]
    opacity[rows] = total
    return tuple(np.ascontiguousarray(np.rot90(a, -turns)) for a in (pixels, opacity, ids))


def _skin(pixels: np.ndarray, columns: np.ndarray, across: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns colors [h, w, 3] of a bare forearm: those along the wrist, with uneven light and some hair."""
    rows = pixels[-max(2, len(pixels) // 20) :, columns[0] : columns[-1] + 1].mean(0)
    few = cv2.resize(rows[None].astype(np.float32), (6, 1), interpolation=cv2.INTER_AREA)[0]
    places = np.linspace(-1, 1, len(few))
    color = np.stack([np.interp(across, places, few[:, channel]) for channel in range(3)], -1)
    hair = _unevenness(
        across.shape, rng.uniform(0, 0.1), rng, cells=(across.shape[0] // 2 + 1, across.shape[1] // 3 + 1)
    )
    return color * (1 + _unevenness(across.shape, 0.12, rng) + hair)


def _cloth(across: np.ndarray, down: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns colors [h, w, 3] of a sleeve: plain or striped, darker on one side, with folds."""
    first, second = rng.uniform(0, 255, (2, 1)) * (1 - 0.6 * rng.random() * rng.random((2, 3)))
    stripes = np.zeros_like(across)
    if rng.random() < 0.3:
        along, frequency = rng.random() < 0.5, rng.uniform(2, 12)
        stripes = (np.sin(frequency * (down + 0 * across if along else across)) > 0.3).astype(np.float32)
    color = first + stripes[..., None] * (second - first)
    shade = 1 - rng.uniform(0.1, 0.5) * np.clip(across - rng.uniform(-1, 1), -1, 1) ** 2
    return color * shade[..., None] * (1 + _unevenness(across.shape, 0.15, rng))


def _unevenness(
    shape: tuple[int, int], strength: float, rng: np.random.Generator, cells: tuple[int, int] = (6, 5)
) -> np.ndarray:
    """Returns noise [h, w, 1], interpolated smoothly from a grid of `cells` random values."""
    coarse = rng.normal(0, strength, cells).astype(np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)[..., None]
