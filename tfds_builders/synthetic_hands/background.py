"""Draws backgrounds: tables, cloths, tiles, boards, rooms, shelves, clutter. sRGB float32 [h, w, 3] in [0, 255]."""

import cv2
import numpy as np

from tfds_builders.synthetic_hands.shading import noise

Rng = np.random.Generator
WOODS = np.array(
    [(196, 150, 104), (160, 110, 70), (120, 78, 50), (214, 180, 140), (90, 60, 44), (226, 200, 168)], np.float32
)


def draw_color(rng: Rng) -> np.ndarray:
    """Returns a color of painted or woven things: mostly muted, sometimes strong, one in twelve similar to skin."""
    kind = rng.uniform()
    if kind < 0.08:
        return WOODS[rng.integers(len(WOODS))] * np.float32(rng.uniform(0.85, 1.15))
    gray = rng.uniform(30, 235)
    return np.clip(gray + rng.uniform(-1, 1, 3) * (25 if kind < 0.65 else 90), 8, 248).astype(np.float32)


def _coordinates(shape: tuple[int, int], angle: float) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return x * cos + y * sin, y * cos - x * sin


def wood(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Draws planks with grain along x and dark joints."""
    plank = int(rng.integers(35, 140))
    offset = int(rng.integers(plank))
    grain = noise(rng, shape, (rng.uniform(2, 4), 90), 2) * 0.5 + noise(rng, shape, (1.5, 30)) * 0.25
    wave = noise(rng, shape, (30, 140)) * rng.uniform(3, 10)
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    rings = np.abs((((rows + 3 * wave) / rng.uniform(8, 16)) % 2) - 1) - 0.5
    index = (np.arange(shape[0]) + offset) // plank
    shade = rng.uniform(0.86, 1.1, index.max() + 1)[index].astype(np.float32)
    joint = ((np.arange(shape[0]) + offset) % plank) < 2
    value = (
        (1 + 0.12 * grain + 0.1 * rings) * shade[:, None] * np.where(joint, np.float32(0.55), np.float32(1))[:, None]
    )
    return WOODS[rng.integers(len(WOODS))] * rng.uniform(0.8, 1.1) * value[..., None]


def cloth(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Draws a weave, plain or with stripes or checks, with soft folds."""
    u, v = _coordinates(shape, rng.uniform(0, 3.1))
    period = rng.uniform(2.5, 5)
    weave = np.abs(u / period % 2 - 1) * np.abs(v / period % 2 - 1)
    first, second = draw_color(rng), draw_color(rng)
    stripe = rng.uniform(12, 45)
    pattern = rng.integers(3)
    share = np.zeros(shape, np.float32)
    if pattern:
        share = ((u % stripe) < stripe / 2).astype(np.float32)
    if pattern == 2:
        share = (share + ((v % stripe) < stripe / 2)) / 2
    folds = noise(rng, shape, (40, 60), 2)
    value = 0.86 + 0.2 * weave + 0.14 * folds
    return (first + (second - first) * share[..., None]) * value[..., None]


def tiles(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Draws tiles, bricks or a checkerboard."""
    size = int(rng.integers(18, 60))
    long = size * int(rng.integers(1, 3))
    y, x = np.mgrid[: shape[0], : shape[1]]
    row = y // size
    x = x + (row % 2) * (long // 2) * int(rng.integers(2))
    column = x // long
    if rng.uniform() < 0.4:
        first, second = draw_color(rng), draw_color(rng)
        picture = np.where(((row + column) % 2)[..., None] == 0, first, second)
    else:
        shades = rng.uniform(0.85, 1.1, (row.max() + 1, column.max() + 1))
        picture = draw_color(rng) * shades[row, column][..., None]
        gap = (y % size < 2) | (x % long < 2)
        picture = np.where(gap[..., None], draw_color(rng) * 0.8, picture)
    return picture * (1 + 0.05 * noise(rng, shape, 8, 2))[..., None]


def plain(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Draws plaster, paper, laminate, stone or carpet: a color with noise of random grain size."""
    strength = rng.uniform(0.03, 0.17)
    spots = noise(rng, shape, rng.uniform(3, 50), 3)
    other = noise(rng, shape, 60, 2)
    tint = rng.uniform(-12, 12, 3).astype(np.float32)
    return draw_color(rng) * (1 + strength * spots)[..., None] + tint * other[..., None]


SURFACES = (wood, wood, cloth, tiles, plain, plain)


def surface(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Draws a random material, flat or tilted away."""
    draw = SURFACES[rng.integers(len(SURFACES))]
    if rng.uniform() < 0.3:
        return draw(rng, shape)
    h, w = shape
    large = draw(rng, (int(h * 1.5), int(w * 1.5))).astype(np.float32)
    big_h, big_w = large.shape[:2]
    # The far edge is narrow and shifted, the near edge is wide.
    shift, slant, near = rng.uniform((-0.08, -7, 1.1), (0.08, 7, 1.2)) * (w, 1, h)
    narrow, wide = rng.uniform((-0.15, 0.4), (-0.05, 0.7)) * w
    source = np.float32([(0, 0), (big_w, 0), (big_w, big_h), (0, big_h)])
    target = np.float32(
        [(shift + narrow, -8 - slant), (shift + w - narrow, -8 + slant), (w + wide, near), (-wide, near)]
    )
    warp = cv2.getPerspectiveTransform(source, target)
    return cv2.warpPerspective(large, warp, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _shelf(rng: Rng, picture: np.ndarray) -> None:
    """Draws boards with books and boxes on them, in place."""
    h, w = picture.shape[:2]
    picture[:] = draw_color(rng) * 0.5
    board = draw_color(rng)
    bottom = int(rng.integers(20, 60))
    while bottom < h + 40:
        x = int(rng.integers(-8, 10))
        while x < w:
            wide, tall = int(rng.integers(4, 26)), int(rng.integers(18, 46))
            color = draw_color(rng)
            area = picture[max(bottom - tall, 0) : max(bottom, 0), max(x, 0) : max(x + wide, 0)]
            across = 1 - 0.5 * np.abs(np.linspace(-1, 1, max(area.shape[1], 1)))[: area.shape[1]] ** 2
            area[:] = color * across[None, :, None]
            label = slice(tall // 4, tall // 3 + 2)
            area[label] = area[label] * 0.5 + draw_color(rng) * 0.5
            x += wide + int(rng.integers(0, 3)) + (20 if rng.uniform() < 0.1 else 0)
        picture[max(bottom, 0) : max(bottom + 4, 0)] = board
        bottom += int(rng.integers(50, 70))


def room(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Draws a wall with doors, frames and furniture or a shelf, over a floor or table top, out of focus."""
    h, w = shape
    picture = plain(rng, shape).astype(np.float32)
    if rng.uniform() < 0.35:
        _shelf(rng, picture)
    else:
        for _ in range(int(rng.integers(2, 7))):
            x, y = int(rng.integers(-30, w)), int(rng.integers(-30, h // 2))
            wide, tall = int(rng.integers(15, 110)), int(rng.integers(20, 120))
            color = draw_color(rng)
            cv2.rectangle(picture, (x, y), (x + wide, y + tall), (color * 0.6).tolist(), -1)
            cv2.rectangle(picture, (x + 3, y + 3), (x + wide - 3, y + tall - 3), color.tolist(), -1)
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.6, 3.5))
    edge = int(h * rng.uniform(0.3, 0.75))
    floor = surface(rng, (h, w))
    lean = rng.uniform(-0.15, 0.15)
    line = edge + lean * (np.arange(w) - w / 2)
    below = np.clip(np.arange(h)[:, None] - line[None], 0, 1).astype(np.float32)[..., None]
    return picture * (1 - below) + floor * below


def draw(rng: Rng, shape: tuple[int, int]) -> np.ndarray:
    """Draws a background, float32 [h, w, 3] in [0, 255]."""
    picture = room(rng, shape) if rng.uniform() < 0.35 else surface(rng, shape)
    picture = np.clip(picture, 0, 255).astype(np.float32)
    return cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.6))
