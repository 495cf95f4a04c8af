"""Paints skin: tones across the human range, lighter palms, redness, nails, creases."""

import dataclasses

import numpy as np

from tfds_builders.synthetic_hands import hand, shading

# sRGB tones from very light to very dark, as in indoor photographs.
TONES = np.array(
    [
        (244, 214, 196),
        (236, 196, 172),
        (226, 178, 148),
        (212, 160, 126),
        (192, 138, 104),
        (166, 114, 82),
        (138, 91, 64),
        (108, 70, 50),
        (80, 52, 40),
        (60, 41, 34),
    ],
    np.float64,
)


@dataclasses.dataclass(frozen=True)
class Tone:
    """Colors of skin, linear RGB float32 [3].

    Attributes:
      back: color of the back of the hand.
      palm: color of the palm.
      nail: color of the nails.
      depth: 0 (light) to 1 (dark).
    """

    back: np.ndarray
    palm: np.ndarray
    nail: np.ndarray
    depth: float


def to_linear(rgb) -> np.ndarray:
    """Converts sRGB [0, 255] to linear [0, 1] with gamma 2: squares are exact on every machine, powers are not."""
    return (np.asarray(rgb, np.float64) / 255) ** 2


def make_tone(depth: float, tint: np.ndarray) -> Tone:
    """Returns the tone at `depth` in [0, 1], multiplied by `tint` [3], close to 1."""
    place = depth * (len(TONES) - 1)
    back = np.array([np.interp(place, np.arange(len(TONES)), TONES[:, c]) for c in range(3)]) * tint
    rosy = np.array([222, 164, 140.0])
    palm = back + (rosy - back) * (0.2 + 0.35 * depth)
    nail = back + (np.array([236, 190, 176.0]) - back) * (0.45 - 0.1 * depth)
    return Tone(*(to_linear(rgb).astype(np.float32) for rgb in (back, palm, nail)), depth)


def draw_tone(rng: np.random.Generator) -> Tone:
    return make_tone(float(rng.uniform(0, 1)), 1 + rng.uniform(-0.05, 0.05, 3) * (0.6, 0.8, 1.2))


def paint(
    albedo: np.ndarray,
    gloss: np.ndarray,
    surface: hand.Surface,
    normal: np.ndarray,
    view: hand.View,
    tone: Tone,
    rng: np.random.Generator,
) -> None:
    """Paints the skin of an arm into `albedo` [h, w, 3] and `gloss` [h, w], in place; `normal` is [3, h, w]."""
    table = np.zeros((hand.NUM_PARTS, 3), np.float32)
    table[hand.PALM] = view.turn((0, 0, 1)) * (1, -1, 1)
    table[hand.FOREARM] = view.turn((0, 0, 1), True) * (1, -1, 1)
    table[hand.FINGER :] = surface.backs.reshape(15, 3)
    is_skin = (surface.parts == hand.PALM) | (surface.parts == hand.FOREARM) | (surface.parts >= hand.FINGER)
    skin = np.flatnonzero(is_skin)
    # How much each pixel faces the palm side; blurred, because segments have discrete orientations.
    outward = table[surface.parts.ravel()[skin]].T
    inner = np.zeros(surface.parts.shape, np.float32)
    inner.ravel()[skin] = -sum(plane.ravel()[skin] * axis for plane, axis in zip(normal, outward, strict=True))
    weight = shading.blur(is_skin.astype(np.float32), 0.35 * view.scale) + np.float32(1e-3)
    inner = shading.smooth_step(shading.blur(inner, 0.35 * view.scale) / weight, -0.2, 0.6)
    shape = surface.parts.shape
    blotches = shading.noise(rng, shape, 0.9 * view.scale) * 0.06 + shading.noise(rng, shape, 2.5) * 0.025
    blotches, share = (plane.ravel()[skin, None] for plane in (blotches, inner))
    color = tone.back + (tone.palm - tone.back) * share
    albedo.reshape(-1, 3)[skin] = color * (1 + blotches * np.float32([0.7, 1.0, 1.1]))
    gloss.ravel()[skin] = 0.035 + 0.03 * tone.depth
    _palm_lines(albedo, surface, view, inner)
    for finger in range(5):
        for joint in range(1, 4):
            _joint(albedo, gloss, surface, finger, joint, tone)


def _palm_lines(albedo: np.ndarray, surface: hand.Surface, view: hand.View, inner: np.ndarray) -> None:
    """Draws the three long creases of the palm, as arcs in its own coordinates."""
    rows, columns = np.nonzero((surface.parts == hand.PALM) & (inner > 0.1))
    origin = view.project((0.0, 0.0, 0.0))
    offset = columns + 0.5 - origin[0], rows + 0.5 - origin[1], surface.height[rows, columns] - origin[2]
    x, y = (_along(offset, view.turn(v) * (1, -1, 1) / view.scale) for v in ((1, 0, 0), (0, 1, 0)))
    if view.is_left:
        x = -x
    dark = np.zeros(len(x))
    # (center x, center y, radius, x from, x to, y from, y to): life line (around the ball of the thumb), head line, heart line.
    for cx, cy, radius, x0, x1, y0, y1 in (
        (-3.3, 2.6, 3.6, -2.9, 1.0, 0.6, 6.4),
        (-2.2, -1.5, 7.6, -2.9, 2.2, 3.0, 7.0),
        (1.4, 13.0, 6.0, -1.2, 3.4, 6.0, 8.6),
    ):
        away = np.abs(np.sqrt((x - cx) ** 2 + (y - cy) ** 2) - radius)
        ends = shading.smooth_step(x, x0, x0 + 0.6) * shading.smooth_step(-x, -x1, 0.6 - x1) * (y > y0) * (y < y1)
        dark = np.maximum(dark, ends * np.maximum(1 - away / 0.16, 0))
    dark = dark * inner[rows, columns]
    albedo[rows, columns] *= 1 - dark[:, None] * (0.3, 0.42, 0.45)


def _along(offset, axis) -> np.ndarray:
    return offset[0] * axis[0] + offset[1] * axis[1] + offset[2] * axis[2]


def _joint(albedo: np.ndarray, gloss: np.ndarray, surface: hand.Surface, finger: int, joint: int, tone: Tone) -> None:
    """Draws wrinkles and redness at a joint; at the fourth (the fingertip), the nail."""
    center, radius = surface.joints[finger, joint], surface.radii[finger, joint]
    row, column, reach = int(center[1]), int(center[0]), int(1.8 * radius) + 2
    area = slice(max(row - reach, 0), max(row + reach, 0)), slice(max(column - reach, 0), max(column + reach, 0))
    first = hand.FINGER + 3 * finger
    parts = surface.parts[area]
    rows, columns = np.nonzero((parts >= first) & (parts < first + 3))
    if not len(rows):
        return
    rows, columns = rows + area[0].start, columns + area[1].start
    spots = np.stack([columns + 0.5, rows + 0.5, surface.height[rows, columns]])
    offset = ((spots - center[:, None]) / radius).astype(np.float32)
    bone = surface.joints[finger, joint] - surface.joints[finger, joint - 1]
    bone = bone / np.sqrt((bone * bone).sum())
    back = surface.backs[finger, joint - 1]
    if joint < 3:  # wrinkles are on the bisector of the two segments
        back = back + surface.backs[finger, joint]
        after = surface.joints[finger, joint + 1] - center
        bone = bone + after / np.sqrt((after * after).sum())
        back, bone = (v / np.sqrt((v * v).sum()) for v in (back, bone))
    along, above = (_along(offset, v.astype(np.float32)) for v in (bone, back))
    square = _along(offset, offset)
    across = np.maximum(square - along * along - above * above, 0)  # squared
    red = np.maximum(1 - square / 3.2, 0) * (1 - 0.6 * tone.depth)
    color = albedo[rows, columns] * (1 - red[:, None] * np.float32([0.0, 0.17, 0.15]))
    if joint == 3:
        shape = ((along - 0.28) / 0.86) ** 2 + across / 0.6
        nail = (1 - shading.smooth_step(shape, 0.82, 1.05)) * shading.smooth_step(above, 0.15, 0.35)
        rim = shading.smooth_step(shape, 0.75, 1.0) * (1 - shading.smooth_step(shape, 1.1, 1.5)) * (above > 0.2)
        white = nail * shading.smooth_step(along, 0.78, 0.92)
        color = color * (1 - 0.3 * rim[:, None])
        color = color + (tone.nail - color) * (0.85 * nail[:, None])
        color = color + (0.75 - color) * (0.45 * white[:, None])
        gloss[rows, columns] += 0.16 * nail
    else:
        wrinkles = ((-0.38, 0.5), (-0.12, 0.9), (0.14, 1.0), (0.42, 0.5))
        lines = sum(np.maximum(1 - np.abs(along - at + 0.12 * across) / 0.1, 0) * deep for at, deep in wrinkles)
        folds = np.maximum(1 - np.abs(along) / 0.14, 0) + 0.6 * np.maximum(1 - np.abs(along - 0.35) / 0.1, 0)
        fade = np.maximum(1 - across * 1.3, 0)
        dark = lines * shading.smooth_step(above, 0.3, 0.7) * fade * 0.8 + folds * shading.smooth_step(-above, 0.2, 0.5)
        color = color * (1 - np.minimum(dark, 1)[:, None] * np.float32([0.2, 0.28, 0.3]))
    albedo[rows, columns] = color
