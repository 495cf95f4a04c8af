"""Composes a picture and its mask: `generate(split, index)` is a pure function with the same masks on every machine."""

import dataclasses

import cv2
import numpy as np

from tfds_builders.synthetic_hands import background, hand, props, shading, skeleton, skin, solids

Rng = np.random.Generator
HEIGHT, WIDTH = 192, 256
SUPERSAMPLING = 2  # factor by which the maps of solids are finer than the picture
NUM_EXAMPLES = {"train": 512, "validation": 64, "test": 128}
BACKGROUND, LEFT, RIGHT = 0, 1, 2
SEED = 20180618


@dataclasses.dataclass(frozen=True)
class Layer:
    """A lit cutout on the fine grid.

    Attributes:
      color: linear RGB float32 [h, w, 3].
      cover: pixels of the cutout, bool [h, w].
      labeled: pixels of a hand, bool [h, w].
      corner: (x, y) of its window.
      drop: distance of its shadow in pixels of the fine grid.
    """

    color: np.ndarray
    cover: np.ndarray
    labeled: np.ndarray
    corner: tuple[int, int]
    drop: float


@dataclasses.dataclass(frozen=True)
class Person:
    """Properties common to both arms of a person."""

    tone: skin.Tone
    build: hand.Build
    sleeve: np.ndarray
    band: np.ndarray


def make_rng(split: str, index: int, seed: int = SEED) -> Rng:
    """Returns the random generator of one example; splits and seeds never share one."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, list(NUM_EXAMPLES).index(split), index])))


def draw_light(rng: Rng) -> shading.Light:
    """Returns a lamp from above, warm to cool, hard to soft."""
    direction = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.9, 0.15), rng.uniform(0.5, 1.0)])
    direction /= np.sqrt((direction * direction).sum())
    warmth = rng.uniform(-1, 1)
    key = np.array([1 + 0.1 * warmth, 1.0, 1 - 0.16 * warmth]) * rng.uniform(0.6, 1.1)
    ambient = np.array([1 - 0.03 * warmth, 1.0, 1 + 0.06 * warmth]) * rng.uniform(0.26, 0.44)
    return shading.Light(*(v.astype(np.float32) for v in (direction, key, ambient)))


def draw_person(rng: Rng, tone: skin.Tone | None = None) -> Person:
    sleeve = rng.uniform(1.0, 9.0) if rng.uniform() < 0.85 else None
    band = (sleeve is None or sleeve > 5) and rng.uniform() < 0.2
    colors = [skin.to_linear(background.draw_color(rng)) for _ in range(2)]
    return Person(tone or skin.draw_tone(rng), hand.Build(rng.uniform(0.92, 1.1), sleeve, band), *colors)


def _fit(
    view: hand.View, bones: skeleton.Skeleton, extra: list[props.Shape], forearm: float
) -> tuple[hand.View, tuple[int, int], tuple[int, int]]:
    """Returns the view in the smallest window of the fine grid around the arm, and the corner and shape of the window."""
    spots = [view.project(bones.joints.reshape(-1, 3)), *(view.project(shape.reach()) for shape in extra)]
    spots.append(view.project([(0, 0, 0), (0, -forearm, 0)], True))
    margin = 5.0 * view.scale
    spots = np.concatenate(spots)[:, :2]
    limit = np.array([WIDTH, HEIGHT]) * SUPERSAMPLING
    low = np.clip(np.floor((spots.min(0) - margin) / 2).astype(int) * 2, 0, limit - 2)
    high = np.clip(np.ceil((spots.max(0) + margin) / 2).astype(int) * 2, low + 2, limit)
    wrist = view.wrist[0] - int(low[0]), view.wrist[1] - int(low[1])
    shape = int(high[1] - low[1]), int(high[0] - low[0])
    return dataclasses.replace(view, wrist=wrist), (int(low[0]), int(low[1])), shape


def draw_arm(
    rng: Rng, person: Person, view: hand.View, pose: skeleton.Pose, held: props.Held, light: shading.Light
) -> Layer:
    """Draws one arm and what it holds."""
    bones = skeleton.forward_kinematics(pose)
    view, corner, shape = _fit(view, bones, [s for s, _ in held], person.build.forearm)
    things = [props.place(s, view, hand.HELD + i) for i, (s, _) in enumerate(held)]
    surface = hand.build_surface(bones, view, person.build, things, shape)
    normal = shading.normals(surface.height, 0.2 * view.scale)
    colors = np.zeros((hand.NUM_PARTS, 3), np.float32)
    colors[hand.SLEEVE], colors[hand.BAND] = person.sleeve, person.band
    for i, (_, color) in enumerate(held):
        colors[hand.HELD + i] = color
    albedo = np.zeros((*shape, 3), np.float32)
    things_only = (surface.parts >= hand.SLEEVE) & (surface.parts < hand.FINGER)
    albedo[things_only] = colors[surface.parts[things_only]]
    sleeve = surface.parts == hand.SLEEVE
    if sleeve.any():
        folds = 1 + 0.12 * shading.noise(rng, shape, 1.2 * view.scale, 2)
        albedo[sleeve] *= folds[sleeve][:, None]
    gloss = np.where(things_only & ~sleeve, np.float32(0.12), np.float32(0))
    bleed = np.where(things_only, np.float32(0.4), np.float32(1))
    skin.paint(albedo, gloss, surface, normal, view, person.tone, rng)
    color = shading.shade(albedo, surface.height, normal, light, view.scale, gloss, bleed)
    return Layer(color, surface.parts >= 0, surface.labeled, corner, rng.uniform(0.5, 3.0) * view.scale)


def draw_props(things: list[props.Painted], light: shading.Light, drop: float) -> Layer:
    """Draws a list of solids with their colors."""
    full = HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING
    areas = [solids.window(solid, full) for solid, _ in things]
    y0, x0 = (min(a[i].start for a in areas) // 2 * 2 for i in (0, 1))
    y1, x1 = (-(-max(a[i].stop for a in areas) // 2) * 2 for i in (0, 1))
    surface, parts = np.full(full, solids.FAR), np.full(full, hand.NOTHING, np.int16)
    previous = None
    for solid, color in things:  # consecutive pieces of the same color are blended
        solids.merge(surface, parts, solid, 9.0 if color is previous else 0.0)
        previous = color
    surface, parts = surface[y0:y1, x0:x1], parts[y0:y1, x0:x1]
    if surface.size == 0:
        empty = np.zeros((0, 0), bool)
        return Layer(np.zeros((0, 0, 3), np.float32), empty, empty, (0, 0), 0.0)
    colors = np.stack([color for _, color in things]).astype(np.float32)
    flat = np.full(surface.shape, 1, np.float32)
    normal = shading.normals(surface, 2.0)
    lit = shading.shade(colors[np.maximum(parts, 0)], surface, normal, light, 9.0, 0.06 * flat, 0.7 * flat)
    return Layer(lit, parts >= 0, np.zeros(parts.shape, bool), (x0, y0), drop)


def _count(inside: np.ndarray) -> np.ndarray:
    """Counts the set fine pixels in each pixel (2x2): uint8 [h/2, w/2]."""
    fine = inside.view(np.uint8)
    return fine[::2, ::2] + fine[1::2, ::2] + fine[::2, 1::2] + fine[1::2, 1::2]


def motion_kernel(rng: Rng, reach: float) -> np.ndarray:
    """Returns a line-shaped blur kernel."""
    angle, length = rng.uniform(0, np.pi), rng.uniform(2, reach)
    kernel = np.zeros((15, 15), np.float32)
    step = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    ends = [np.round((7 + s * step) * 16).astype(int).tolist() for s in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_8, 4)
    return kernel / kernel.sum()


def composite(
    picture: np.ndarray,
    mask: np.ndarray,
    layer: Layer,
    label: int,
    light: shading.Light,
    kernel: np.ndarray | None = None,
) -> None:
    """Draws a layer with its shadow over `picture` (linear), and its label into `mask`, in place."""
    if layer.cover.size == 0:
        return
    count, hand_count = _count(layer.cover), _count(layer.labeled)
    x, y = layer.corner[0] // 2, layer.corner[1] // 2
    area = slice(y, y + count.shape[0]), slice(x, x + count.shape[1])
    target = mask[area]
    target[count >= 2] = BACKGROUND
    target[hand_count >= 2] = label
    size = count.shape[::-1]
    color = cv2.resize(layer.color * layer.cover[..., None], size, interpolation=cv2.INTER_AREA)
    alpha = count.astype(np.float32)[..., None] / 4
    if kernel is not None:
        color = cv2.filter2D(color, -1, kernel, borderType=cv2.BORDER_REPLICATE)
        alpha = cv2.filter2D(alpha, -1, kernel, borderType=cv2.BORDER_REPLICATE)[..., None]
    shadow = np.zeros(mask.shape, np.float32)
    shadow[area] = alpha[..., 0]
    shift = -light.direction[:2] / light.direction[2] * layer.drop / SUPERSAMPLING
    move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    shadow = cv2.warpAffine(shadow, move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    shadow = cv2.GaussianBlur(shadow, (0, 0), 1.5 + layer.drop / SUPERSAMPLING * 0.35)
    strength = light.key.mean() / (light.key.mean() + light.ambient.mean())
    picture *= 1 - (strength * 0.75 * shadow)[..., None]
    picture[area] = picture[area] * (1 - alpha) + color


def _own_view(rng: Rng, is_left: bool, scale: float, from_palm: bool) -> hand.View:
    """Returns the view of a wearer's hand: the arm comes from below, and the back of the hand mostly faces the camera."""
    entry = (
        np.array([rng.uniform(0.5, 1.1), 1.08]) if rng.uniform() < 0.75 else np.array([1.06, rng.uniform(0.65, 1.0)])
    )
    target = rng.uniform((0.5, 0.3), (0.86, 0.72))
    roll = np.pi + rng.uniform(-0.5, 0.5) if from_palm else rng.uniform(-0.5, 1.2)
    return aim(rng, entry, target, roll, rng.uniform(-0.75, 0.15), scale, is_left, mirror=is_left)


def _other_view(rng: Rng, is_left: bool, scale: float, from_palm: bool) -> hand.View:
    """Returns the view of another person's hand, from above or from the sides."""
    entry = np.array([rng.uniform(0, 1), -0.08]) if rng.uniform() < 0.6 else np.array([1.06, rng.uniform(0.05, 0.6)])
    target = rng.uniform((0.25, 0.2), (0.75, 0.5))
    roll = np.pi + rng.uniform(-0.5, 0.5) if from_palm else rng.uniform(-0.7, 1.2)
    return aim(rng, entry, target, roll, rng.uniform(-0.3, 0.5), scale, is_left, mirror=rng.uniform() < 0.5)


def aim(rng: Rng, entry, target, roll: float, pitch: float, scale: float, is_left: bool, mirror: bool) -> hand.View:
    """Returns a view whose forearm runs from `entry` to `target` (fractions of the picture; optionally mirrored in x)."""
    full = np.array([WIDTH, HEIGHT]) * SUPERSAMPLING
    if mirror:
        entry, target = (np.array([1 - x, y]) for x, y in (entry, target))
    way = (target - entry) * full
    way = way / np.sqrt((way * way).sum())
    turn = hand.rotation(2, np.arctan2(-way[0], -way[1])) @ hand.rotation(0, pitch)
    turn = turn @ hand.rotation(1, -roll if is_left else roll)
    bend = hand.rotation(0, rng.uniform(-0.45, 0.45)) @ hand.rotation(2, rng.uniform(-0.3, 0.3))
    return hand.View(turn, bend, tuple(target * full - way * 6.0 * scale), scale, is_left)


def draw_pose(rng: Rng, held_share: float = 0.2) -> tuple[skeleton.Pose, props.Held, bool]:
    """Returns a pose, what it holds, and whether the palm faces the camera."""
    if rng.uniform() < held_share:
        pose, held, from_palm = props.draw_held(rng)
        return pose, held, from_palm and rng.uniform() < 0.75
    weights = np.array([w for w, _ in skeleton.FREE_POSES.values()])
    choice = int(np.searchsorted(np.cumsum(weights), rng.uniform() * weights.sum()))
    draw = list(skeleton.FREE_POSES.values())[choice][1]
    return draw(rng), [], rng.uniform() < 0.15


def photograph(rng: Rng, picture: np.ndarray) -> np.ndarray:
    """Simulates lens and sensor (falloff, exposure, shake, blur, noise): linear float32 to sRGB uint8 [h, w, 3]."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    u, v = x / WIDTH - 0.5, y / HEIGHT - 0.5
    slope = rng.uniform(-0.5, 0.5, 2).tolist()
    falloff = (1 + slope[0] * u + slope[1] * v) * (1 - rng.uniform(0, 0.7) * (u * u + v * v))
    picture = picture * (falloff * rng.uniform(0.75, 1.25))[..., None]
    if rng.uniform() < 0.1:
        picture = cv2.filter2D(picture.astype(np.float32), -1, motion_kernel(rng, 9))
    picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), rng.uniform(0.2, 0.5))
    srgb = np.sqrt(np.clip(picture / (0.88 + 0.25 * picture), 0, 1)) * 255  # highlights roll off
    grain = rng.standard_normal((HEIGHT, WIDTH, 3), np.float32) * rng.uniform(0.5, 3)
    if rng.uniform() < 0.5:  # compressed grain is blotchy
        grain = cv2.GaussianBlur(grain, (0, 0), 0.8) * 1.8
    return np.clip(np.round(srgb + grain), 0, 255).astype(np.uint8)


def generate(split: str, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Generates one example.

    Args:
      split: a key of NUM_EXAMPLES.
      index: number of the example in the split.

    Returns:
      image uint8 [192, 256, 3] RGB and mask uint8 [192, 256] of BACKGROUND, LEFT, RIGHT.
    """
    rng = make_rng(split, index)
    light = draw_light(rng)
    level = 0.35 * light.ambient + 0.75 * light.key * light.direction[2] + 0.2
    picture = (skin.to_linear(background.draw(rng, (HEIGHT, WIDTH))) * level).astype(np.float32)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    wearer = draw_person(rng)
    full = HEIGHT * SUPERSAMPLING, WIDTH * SUPERSAMPLING
    for _ in range(int(rng.integers(0, 3))):
        composite(picture, mask, draw_props(props.draw_object(rng, full), light, rng.uniform(4, 16)), BACKGROUND, light)
    kind = rng.uniform()
    if kind < 0.15:  # skin other than hands
        draw = props.draw_face if kind < 0.1 else props.draw_limb
        tone = wearer.tone if rng.uniform() < 0.4 else skin.draw_tone(rng)
        composite(picture, mask, draw_props(draw(rng, full, tone), light, 12.0), BACKGROUND, light)
    for is_left, is_own in _draw_cast(rng):
        person = wearer if is_own else draw_person(rng)
        scale = rng.uniform(13, 20) if is_own else rng.uniform(11, 15)
        pose, held, from_palm = draw_pose(rng)
        view = (_own_view if is_own else _other_view)(rng, is_left, scale, from_palm)
        kernel = motion_kernel(rng, 11) if rng.uniform() < 0.08 else None
        layer = draw_arm(rng, person, view, pose, held, light)
        composite(picture, mask, layer, LEFT if is_left else RIGHT, light, kernel)
    return photograph(rng, picture), mask


def _draw_cast(rng: Rng) -> list[tuple[bool, bool]]:
    """Returns the hands of the picture, farthest first, as (is left, is the wearer's)."""
    kind = rng.uniform()
    if kind < 0.04:
        return []
    others = [(bool(rng.integers(2)), False)] if kind > 0.83 else []
    if kind > 0.95:
        return others
    own = [(True, True), (False, True)]
    if rng.uniform() < 0.5:
        own.reverse()
    return others + (own if rng.uniform() < 0.5 else own[:1])
