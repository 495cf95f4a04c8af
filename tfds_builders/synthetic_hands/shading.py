"""Computes light on height maps: normals, self-shadowing, ambient occlusion, color."""

import dataclasses

import cv2
import numpy as np

from tfds_builders.synthetic_hands import solids


@dataclasses.dataclass(frozen=True)
class Light:
    """Light of a scene, float32.

    Attributes:
      direction: unit vector [3] toward the lamp, in map coordinates.
      key: linear RGB [3] of the lamp.
      ambient: linear RGB [3] of the sky.
    """

    direction: np.ndarray
    key: np.ndarray
    ambient: np.ndarray


def smooth_step(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """Returns 0 below `low`, 1 above `high`, and a smooth transition between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def noise(
    rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float] | float, octaves: int = 1
) -> np.ndarray:
    """Returns smooth noise, float32 [h, w] in about [-1, 1], with blobs of `cell` pixels (or (height, width))."""
    high, wide = cell if isinstance(cell, tuple) else (cell, cell)
    total, weight = np.zeros(shape, np.float32), 1.0
    for _ in range(octaves):
        size = max(int(shape[0] / high) + 2, 2), max(int(shape[1] / wide) + 2, 2)
        values = rng.uniform(-1, 1, size).astype(np.float32)
        total += weight * cv2.resize(values, shape[::-1], interpolation=cv2.INTER_CUBIC)
        high, wide, weight = max(high / 2, 1), max(wide / 2, 1), weight / 2
    return total


def filled(surface: np.ndarray, drop: float) -> np.ndarray:
    """Returns the height map with its empty surroundings `drop` below the nearest rim, for finite slopes."""
    rim = cv2.dilate(surface, np.ones((3, 3), np.uint8)) - drop
    return np.where(surface > solids.FAR, surface, np.where(rim > solids.FAR / 2, rim, 0)).astype(np.float32)


def normals(surface: np.ndarray, drop: float) -> np.ndarray:
    """Returns unit normals, float32 [3, h, w], of a height map."""
    smooth = cv2.GaussianBlur(filled(surface, drop), (0, 0), 1.0)
    slope_x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8)
    slope_y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    length = np.sqrt(slope_x * slope_x + slope_y * slope_y + 1)
    return np.stack([-slope_x / length, -slope_y / length, 1 / length])


def occlusion(surface: np.ndarray, upright: np.ndarray, scale: float) -> np.ndarray:
    """Returns the openness of each pixel to the sky, float32 [h, w] in [0, 1]; creases between fingers are dark.

    `upright` is the z component of the normals: a surface that turns away at its outline is low but not occluded.
    """
    inside = (surface > solids.FAR).astype(np.float32)
    height = np.where(surface > solids.FAR, surface, 0)
    result = np.ones(surface.shape, np.float32)
    for sigma, strength in ((0.12, 1.1), (0.5, 0.75)):
        sunk = blur(height, sigma * scale) / (blur(inside, sigma * scale) + np.float32(1e-3)) - surface
        sunk *= 0.3 + 0.7 * upright
        result /= 1 + np.float32(strength / (sigma * scale)) * np.maximum(sunk, 0)
    return result


def blur(x: np.ndarray, sigma: float) -> np.ndarray:
    """Approximates a Gaussian by two box filters, whose cost does not depend on `sigma`."""
    size = 2 * round(sigma * 1.22) + 1
    return cv2.blur(cv2.blur(x, (size, size)), (size, size))


def self_shadow(surface: np.ndarray, light: Light, scale: float) -> np.ndarray:
    """Returns the soft shadow of the surface on itself, float32 [h, w], 1 where lit."""
    x, y, z = light.direction.tolist()
    coarse = np.ascontiguousarray(surface[::2, ::2])  # shadows are soft: half the resolution is enough
    blocked = np.zeros(coarse.shape, np.float32)
    for reach in (0.5, 1.0, 1.7, 2.6, 3.8):
        steps = reach * scale
        shift = np.float32([[1, 0, -round(x * steps / 2)], [0, 1, -round(y * steps / 2)]])
        towards = cv2.warpAffine(
            coarse, shift, coarse.shape[::-1], flags=cv2.INTER_NEAREST, borderValue=float(solids.FAR)
        )
        over = (towards - coarse - (z * steps + 0.15 * scale)) * (1 / (0.35 * scale))
        np.maximum(blocked, over, out=blocked)
    lit = 1 - cv2.GaussianBlur(np.minimum(blocked, 1), (0, 0), 0.06 * scale)
    return cv2.resize(lit, surface.shape[::-1], interpolation=cv2.INTER_LINEAR)


def shade(
    albedo: np.ndarray,
    surface: np.ndarray,
    normal: np.ndarray,
    light: Light,
    scale: float,
    gloss: np.ndarray,
    bleed: np.ndarray,
) -> np.ndarray:
    """Returns the linear RGB, float32 [h, w, 3], of a lit surface; 0 where it is empty.

    Args:
      albedo: linear RGB float32 [h, w, 3].
      surface: height map float32 [h, w].
      normal: normals float32 [3, h, w].
      light: light of the scene.
      scale: pixels per cm.
      gloss: strength of the highlight, float32 [h, w].
      bleed: amount by which red light wraps around, as under skin, float32 [h, w].
    """
    cover = np.flatnonzero(surface > solids.FAR)
    albedo = np.ascontiguousarray(albedo.reshape(-1, 3)[cover].T)
    lit, open_sky = self_shadow(surface, light, scale), occlusion(surface, normal[2], scale)
    lit, open_sky, gloss, bleed, *normal = (plane.ravel()[cover] for plane in (lit, open_sky, gloss, bleed, *normal))
    facing = _dot(normal, light.direction)
    sky = 0.62 + 0.38 * normal[2] - 0.18 * normal[1]
    half = light.direction + np.float32([0, 0, 1])
    shine = np.maximum(_dot(normal, half / np.sqrt((half * half).sum())), 0) ** 2
    shine = shine * shine * shine * shine * shine * shine * gloss * lit * open_sky
    out = np.zeros((*surface.shape, 3), np.float32)
    color = np.empty_like(albedo)
    for channel, wrap in enumerate((0.32, 0.14, 0.1)):
        wrap = wrap * bleed
        diffuse = np.maximum((facing + wrap) / (1 + wrap), 0) * (lit + (1 - lit) * wrap * 0.6)
        # Light reflected between fingers is tinted by the skin, so that creases are red, not gray.
        crease = open_sky + (1 - open_sky) * albedo[channel] * 0.35
        received = light.key[channel] * diffuse * (0.4 + 0.6 * crease) + light.ambient[channel] * sky * crease
        color[channel] = albedo[channel] * received + light.key[channel] * shine
    out.reshape(-1, 3)[cover] = color.T
    return out


def _dot(planes: list[np.ndarray], vector: np.ndarray) -> np.ndarray:
    return planes[0] * vector[0] + planes[1] * vector[1] + planes[2] * vector[2]
