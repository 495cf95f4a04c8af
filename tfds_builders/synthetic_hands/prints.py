"""What is printed or woven on things: zigzags, checks, dots, blotches, letters, pips. Else only skin would have detail."""

import cv2
import numpy as np

from tfds_builders.synthetic_hands import background, scene, shading

Rng = np.random.Generator


def _two_colours(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Any two, or, half of the time, a light and a dark one."""
    first, second = background.draw_colour(rng), background.draw_colour(rng)
    if rng.uniform() < 0.5:
        first, second = first * 0.35 + 160, second * 0.4
    return first, second


def draw_print(rng: Rng, shape: tuple[int, int], grain: float) -> np.ndarray:
    """A pattern with much detail, sRGB float32 [h, w, 3], 0..255; `grain` pixels are its smallest parts."""
    y, x = (axis.astype(np.float32) for axis in np.mgrid[: shape[0], : shape[1]])
    angle = rng.uniform(0, np.pi)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    period = grain * rng.uniform(1.5, 8)
    first, second = _two_colours(rng)
    kind = rng.integers(6)
    if kind == 0:  # zigzags and stripes
        wave = np.abs((u / period) % 2 - 1) * period * rng.choice([0.0, 1.0, 2.0])
        share = ((v + wave) % period) < period * rng.uniform(0.3, 0.7)
    elif kind == 1:  # checks and lattices
        wide = period * rng.uniform(0.2, 0.6)
        share = ((u % period) < wide) ^ ((v % period) < wide)
    elif kind == 2:  # dots
        share = (u % period - period / 2) ** 2 + (v % period - period / 2) ** 2 < (period * rng.uniform(0.2, 0.45)) ** 2
    elif kind < 5:  # blotches, leaves, camouflage
        share = shading.noise(rng, shape, period, 2) > rng.uniform(-0.3, 0.3)
    else:  # letters and figures on paper
        picture = np.tile(first.astype(np.uint8), (*shape, 1))
        step = int(max(period, 6))
        for row in range(step, shape[0] + step, step + int(rng.integers(1, 4))):
            text = "".join(chr(c) for c in rng.integers(33, 91, 40))
            cv2.putText(picture, text, (int(rng.integers(-9, 3)), row), 0, step / 30, second.tolist(), 1, cv2.LINE_AA)
        return picture.astype(np.float32)
    return np.where(share[..., None], first, second).astype(np.float32)


def paste_prints(rng: Rng, picture: np.ndarray) -> np.ndarray:
    """Puts up to five patches of prints on an sRGB picture: cushions, curtains, posters, rugs; float32 [h, w, 3]."""
    h, w = picture.shape[:2]
    if rng.uniform() < 0.2:
        picture = draw_print(rng, (h, w), rng.uniform(1.5, 6))
    for _ in range(int(rng.integers(0, 6))):
        centre, size = rng.uniform(0, 1, 2) * (w, h), rng.uniform(10, 80)
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 8))))
        corners = centre + size * np.stack([np.cos(angles), np.sin(angles)], 1)
        inside = cv2.fillPoly(np.zeros((h, w), np.uint8), [corners.astype(np.int32)], 1)[..., None]
        picture = np.where(inside == 1, draw_print(rng, (h, w), rng.uniform(1, 5)), picture)
    return picture.astype(np.float32)


def print_on(rng: Rng, layer: scene.Layer) -> None:
    """Prints a pattern over a whole layer, in place; its light and shade stay."""
    if layer.cover.size:
        pattern = draw_print(rng, layer.cover.shape, rng.uniform(2, 8)) / 255
        layer.colour[:] = layer.colour * (0.15 + 1.1 * pattern * pattern)


def soften(layer: scene.Layer, sigma: float) -> None:
    """Blurs a layer within its outline, in place: skin as poor cameras see it, without creases."""
    if layer.cover.size:
        cover = layer.cover.astype(np.float32)
        colour = cv2.GaussianBlur(layer.colour * cover[..., None], (0, 0), sigma)
        colour /= cv2.GaussianBlur(cover, (0, 0), sigma)[..., None] + np.float32(1e-3)
        layer.colour[:] = colour * cover[..., None]
