"""Attributes of an image and its truth (size, blur, light, skin tone, ...), by which slices are formed."""

from typing import Any

import cv2
import numpy as np

from refinenet_jax.data.examples import VOID

SMALLEST_HAND = 0.001  # share of the image: a smaller region is a fragment, not counted as a hand
SKIN_DISTANCE = 2.0  # Mahalanobis: 86 % of the pixels of a normal distribution in two dimensions are nearer

# Descriptions for reports; the title of an attribute is its name with spaces.
ATTRIBUTES = {
    "hand_area": "share of the labeled pixels that are hand",
    "hands": "connected regions of one class that cover at least 0.1 % of the image",
    "hand_sharpness": "variance of the Laplacian over that of the luma, within 5 % of the image's longer side around hands",
    "brightness": "mean luma, from 0 (black) to 1 (white)",
    "skin_background": "share of the background with a color like the hands",
    "skin_angle": "individual typology angle (ITA) of the hands as pictured, light included, in degrees",
    "skin_tone": "the usual group of that angle",
}

# Smallest angle of each group: Chardon, Cretois and Hourseau (1991), grouped as in Del Bino et al. (2006).
SKIN_TONES = {"very light": 55, "light": 41, "intermediate": 28, "tan": 10, "brown": -30, "dark": -90}

_LONG_SIDE = 320  # pixels; everything but the hand area is measured at this size
_LEAST_PIXELS = 32  # hand pixels at that size needed to measure color or sharpness


def of(example: dict[str, Any]) -> dict[str, float | str]:
    """Returns all ATTRIBUTES of an example, in the same order for every example.

    Args:
      example: `image` uint8 [h, w, 3] RGB, `mask` uint8 [h, w] of class ids (0 background, 255 void).

    Returns:
      Numbers as float (NaN if undefined) and words as str ('' if undefined). Without hands, `hands` and `hand_area` are 0 and
      the other attributes of hands are undefined. `hands` counts regions: in a mask that does not distinguish hands, hands
      that touch are one region, and a partly hidden hand may be two. For the same reason occlusion is not measured.
    """
    image, mask = _reduce(example["image"], example["mask"])
    hand, background = (mask > 0) & (mask != VOID), mask == 0
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    enough = np.count_nonzero(hand) >= _LEAST_PIXELS
    angle = skin_angle(image[hand]) if enough else np.nan
    return {
        "hand_area": _hand_area(example["mask"]),
        "hands": _count_hands(mask),
        "hand_sharpness": _sharpness(luma, _surroundings(hand)) if enough else np.nan,
        "brightness": float(luma.mean()),
        "skin_background": _skin_likeness(image, hand, background) if enough else np.nan,
        "skin_angle": angle,
        "skin_tone": next((name for name, least in SKIN_TONES.items() if angle >= least), ""),
    }


def skin_angle(pixels: np.ndarray) -> float:
    """Returns the individual typology angle, atan((L* - 50) / b*) in degrees, of the median L* and b* (CIELAB, D65).

    It is NOT the tone of a person's skin. Chardon et al. (1991) measured skin with an instrument under its own light; a picture
    also contains the light of the scene, shadow, exposure, white balance, gloves and sleeves. The angle says how light the
    hands look in a picture. It may group pictures to see whether a network is worse on some of them; it must not be used to
    say anything about people.

    Args:
      pixels: uint8 [n, 3] RGB (sRGB), n > 0.

    Returns:
      From -90 (dark) to 90 (light); NaN where b* is not above 0 (bluish light), where the angle has no meaning.
    """
    lab = cv2.cvtColor(pixels[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    lightness, _, yellow = np.median(lab, axis=0)
    return float(np.degrees(np.arctan2(lightness - 50, yellow))) if yellow > 0 else np.nan


def _reduce(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Resizes both to a longer side of _LONG_SIDE pixels; smaller images are enlarged."""
    scale = _LONG_SIDE / max(mask.shape)
    size = tuple(max(1, round(n * scale)) for n in mask.shape[::-1])
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return image, cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)


def _hand_area(mask: np.ndarray) -> float:
    labeled = np.count_nonzero(mask != VOID)
    return (np.count_nonzero(mask) - (mask.size - labeled)) / labeled if labeled else np.nan


def _count_hands(mask: np.ndarray) -> float:
    """Number of connected regions of one class, without those below SMALLEST_HAND."""
    count = 0
    for class_id in np.flatnonzero(np.bincount(mask.ravel(), minlength=VOID)[1:VOID]) + 1:
        _, _, regions, _ = cv2.connectedComponentsWithStats((mask == class_id).astype(np.uint8), connectivity=8)
        count += np.count_nonzero(regions[1:, cv2.CC_STAT_AREA] / mask.size >= SMALLEST_HAND)
    return float(count)


def _surroundings(hand: np.ndarray) -> np.ndarray:
    reach = 2 * round(0.05 * max(hand.shape)) + 1
    return cv2.dilate(hand.astype(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)


def _sharpness(luma: np.ndarray, region: np.ndarray) -> float:
    """Variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) divided by that of the luma, which cancels exposure and
    contrast. Noise and JPEG blocks count as sharp. NaN where the region has a single brightness."""
    variance = luma[region].var()
    return float(cv2.Laplacian(luma, cv2.CV_32F)[region].var() / variance) if variance > 1e-6 else np.nan


def _skin_likeness(image: np.ndarray, hand: np.ndarray, background: np.ndarray) -> float:
    """Share of the background within SKIN_DISTANCE of the hands' normal distribution of (Cr, Cb); NaN without background.

    Chrominance only, which shading moves less than it does brightness. The variance of rounding (1/12) and of a little sensor
    noise (1) is added, so that hands of a single color have a distribution as well.
    """
    if not background.any():
        return np.nan
    chroma = np.moveaxis(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., 1:], -1, 0).astype(np.float32, order="C")
    own = chroma[:, hand]
    (a, b), (_, c) = (np.linalg.inv(np.cov(own) + np.eye(2) * (1 + 1 / 12))).astype(np.float32)
    x, y = chroma - own.mean(1)[:, None, None]
    alike = a * x**2 + 2 * b * x * y + c * y**2 <= SKIN_DISTANCE**2
    return np.count_nonzero(alike & background) / np.count_nonzero(background)
