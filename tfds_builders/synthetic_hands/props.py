"""Draws objects: held things, things lying around, and skin-colored distractors (faces, legs, arms without hands)."""

import dataclasses

import numpy as np

from tfds_builders.synthetic_hands import background, hand, skeleton, skin, solids

Rng = np.random.Generator
# Gripped objects, and the range of their radius in cm.
GRIPPED = {"cup": (3.2, 4.0), "bottle": (2.6, 3.4), "ball": (2.8, 4.2), "stick": (1.1, 1.7), "block": (2.2, 3.2)}
HAIR = ((30, 24, 20), (70, 46, 30), (120, 84, 50), (180, 150, 100), (150, 150, 150))
NUM_CLOTHES = 5  # the first pieces of `draw_head` are clothes
IRISES = ((60, 40, 25), (70, 100, 130))
Painted = tuple[solids.Solid, np.ndarray]  # a solid with linear RGB


@dataclasses.dataclass(frozen=True)
class Shape:
    """A solid in cm in the frame of a hand: a cone, a box, or a round block (cylinder) along x.

    Attributes:
      kind: 'cone', 'box' or 'round'.
      a: start of a cone, or center of a block.
      sizes: (radius, radius) of a cone, or half extents (x, y, z) of a block.
      b: end of a cone.
    """

    kind: str
    a: tuple[float, float, float]
    sizes: tuple[float, ...]
    b: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def reach(self) -> np.ndarray:
        """Returns two opposite ends [2, 3] in cm."""
        if self.kind == "cone":
            return np.array([self.a, self.b])
        return np.array([np.subtract(self.a, self.sizes), np.add(self.a, self.sizes)])


Held = list[tuple[Shape, np.ndarray]]  # shapes in the frame of a hand, with linear RGB


def place(shape: Shape, view: hand.View, part: int) -> solids.Solid:
    """Projects a shape from the frame of the hand to the map."""
    center, size = view.project(shape.a), view.size(shape.a, 1.0)
    if shape.kind == "cone":
        radii = shape.sizes[0] * size, shape.sizes[1] * view.size(shape.b, 1.0)
        return solids.make_cone(center, view.project(shape.b), *radii, part)
    axes = view.turn(np.eye(3)) * (1, -1, 1)
    return solids.make_block(center, axes, np.array(shape.sizes) * size, shape.kind == "round", part)


def draw_held(rng: Rng) -> tuple[skeleton.Pose, Held, bool]:
    """Returns the pose of a hand, the object that it holds, and whether it is best seen from the palm."""
    kind = ("pen", "phone", "card", *GRIPPED)[rng.integers(3 + len(GRIPPED))]
    first, second = (skin.to_linear(background.draw_color(rng)) for _ in range(2))
    if kind == "pen":
        pose = skeleton.pinch(rng)
        joints = skeleton.forward_kinematics(pose).joints
        meet = (joints[0, 3] + joints[1, 3]) / 2
        # The shaft rests on the side of the index knuckle.
        way = joints[1, 0] + (-1.5, -0.3, 0.7) + rng.uniform(-0.3, 0.3, 3) - meet
        way = way / np.sqrt((way * way).sum())
        tip, end = meet - way * 3.2, meet + way * rng.uniform(8, 12)
        neck = tip + way * 1.2
        shaft = Shape("cone", tuple(neck), (0.42, 0.42), tuple(end))
        return pose, [(shaft, first), (Shape("cone", tuple(neck), (0.4, 0.1), tuple(tip)), second)], False
    if kind in ("phone", "card"):
        pose = skeleton.flat_hold(rng)
        thick = 0.4 if kind == "phone" else 0.08
        wide, long = (3.5, 6.6) if kind == "phone" else rng.uniform((2.8, 3.6), (4.5, 6.0))
        center = -0.4, 6.4 + long, -2.75 - thick  # clear of the ball of the thumb
        body = Shape("box", center, (wide, long, thick))
        face = Shape("box", (center[0], center[1], center[2] - 0.06), (wide * 0.92, long * 0.9, thick))
        screen = second if kind == "card" else second * rng.uniform(0.05, 1.3)
        return pose, [(body, first * (0.3 if kind == "phone" else 1)), (face, screen)], True
    radius = rng.uniform(*GRIPPED[kind])
    pose = skeleton.grip(rng, radius)
    y, z = 8.7, -radius - 1.35
    if kind == "ball":
        return pose, [(Shape("cone", (0.2, y, z), (radius, radius), (0.2, y, z)), first)], False
    if kind == "block":
        return pose, [(Shape("box", (0.0, y, z), (rng.uniform(3, 6), radius * 0.88, radius * 0.88)), first)], False
    if kind == "stick":
        stick = Shape("cone", (-rng.uniform(6, 16), y, z), (radius, radius * 0.8), (rng.uniform(5, 10), y, z))
        return pose, [(stick, first)], False
    half = rng.uniform(4.5, 6) if kind == "cup" else rng.uniform(7, 9)
    body = Shape("round", (0.0, y, z), (half, radius, radius))
    if kind == "cup":
        inside = Shape("round", (-half, y, z), (0.03, radius * 0.88, radius * 0.88))
        return pose, [(body, first), (inside, second * 0.3)], False
    neck = Shape("round", (-half - 2.0, y, z), (2.0, radius * 0.4, radius * 0.4))
    label = Shape("round", (rng.uniform(-2, 2), y, z), (half * 0.4, radius * 1.01, radius * 1.01))
    return pose, [(body, first), (neck, first * 0.6), (label, second)], False


def _view(rng: Rng, size: tuple[int, int], scale: float, turn: np.ndarray) -> hand.View:
    spot = rng.uniform(0, 1, 2) * (size[1], size[0])
    return hand.View(turn, np.eye(3), tuple(spot), scale, False)


def draw_object(rng: Rng, size: tuple[int, int], scales: tuple[float, float] = (7, 13)) -> list[Painted]:
    """Returns an object on the table (book, box, mug, ball, ...), one in eight in a skin tone; `scales` is in pixels per cm."""
    tilt, spin = rng.uniform(-1.2, -0.3), rng.uniform(-3.1, 3.1)
    view = _view(rng, size, rng.uniform(*scales), hand.rotation(0, tilt) @ hand.rotation(2, spin))
    colors = [skin.to_linear(background.draw_color(rng)) for _ in range(2)]
    if rng.uniform() < 0.12:
        colors[0] = skin.draw_tone(rng).back
    kind = rng.integers(6)
    x, y = rng.uniform((2, 3), (9, 10))
    if kind == 0:
        thick = rng.uniform(0.3, 1.5)
        shapes = [Shape("box", (0, 0, 0), (x, y, thick)), Shape("box", (0, y * 0.3, 0.05), (x * 0.6, y * 0.2, thick))]
    elif kind == 1:
        shapes = [Shape("box", (0, 0, 0), tuple(rng.uniform(2, 6, 3)))]
    elif kind == 2:  # a mug: its round block is along x, so it is rotated upright
        view = dataclasses.replace(view, rotation=hand.rotation(0, tilt) @ hand.rotation(1, -np.pi / 2))
        shapes = [Shape("round", (0, 0, 0), (4.5, 4, 4)), Shape("round", (4.5, 0, 0), (0.03, 3.5, 3.5))]
    elif kind == 3:
        radius = rng.uniform(2, 6)
        shapes = [Shape("cone", (0, 0, 0), (radius, radius), (0, 0, 0))]
    elif kind == 4:
        radius = rng.uniform(1, 2)
        shapes = [Shape("cone", (-x, 0, 0), (radius, radius), (x, 0, 0))]
    else:
        shapes = [Shape("box", (0, 0, 0), (x, x * 0.7, 0.1)), Shape("box", (0, 0, 0.05), (x * 0.9, x * 0.6, 0.1))]
    return [(place(s, view, i), c) for i, (s, c) in enumerate(zip(shapes, colors, strict=False))]


def _draw_cloth(rng: Rng) -> np.ndarray:
    """Returns a color for clothes, cool or gray: warm ones would look like bare skin."""
    return skin.to_linear(np.clip(rng.uniform(30, 200) + np.sort(rng.uniform(-40, 40, 3)), 10, 240))


def draw_limb(rng: Rng, size: tuple[int, int], tone: skin.Tone) -> list[Painted]:
    """Returns a bare forearm, or legs, that cross the edge of the picture and show no hand."""
    h, w = size
    if rng.uniform() < 0.5:  # the lap of the wearer
        gap, wide = rng.uniform(0.12, 0.28) * w, rng.uniform(0.12, 0.17) * w
        knees = [(w / 2 + side * gap, h * rng.uniform(0.5, 0.8), 0) for side in (-1, 1)]
        hips = [(w / 2 + side * gap * 1.4, h * 1.2, 0) for side in (-1, 1)]
        shorts, hem = _draw_cloth(rng), rng.uniform(0.2, 0.5)
        things = []
        for hip, knee in zip(np.array(hips), np.array(knees), strict=True):
            things.append((solids.make_cone(hip, knee, wide * 1.2, wide, 0), tone.back))
            things.append((solids.make_cone(hip, hip + (knee - hip) * hem, wide * 1.35, wide * 1.15, 1), shorts))
        return things
    start = rng.uniform(0, 1, 2) * (w, 0.6 * h)
    radius = rng.uniform(16, 34)
    side = -1 if start[0] < w / 2 else 1
    outside = (w / 2 + side * w * 0.75, start[1] + rng.uniform(-0.5, 0.5) * h, 0)
    return [(solids.make_cone((start[0] + side * w * 0.3, start[1], 0), outside, radius, radius * 1.3, 0), tone.back)]


def draw_face(rng: Rng, size: tuple[int, int], tone: skin.Tone) -> list[Painted]:
    """Returns a head in the upper half, with shoulders."""
    roll, yaw, pitch = rng.uniform((-0.3, -0.7, -0.2), (0.3, 0.7, 0.3))
    turn = hand.rotation(2, roll) @ hand.rotation(1, yaw) @ hand.rotation(0, pitch)
    spot = rng.uniform((0.1, 0.02), (0.9, 0.5)) * (size[1], size[0])
    return draw_head(rng, hand.View(turn, np.eye(3), tuple(spot), rng.uniform(4, 9), False), tone)


def draw_head(rng: Rng, view: hand.View, tone: skin.Tone) -> list[Painted]:
    """Returns a head with hair, eyes, brows, nose, mouth, ears and neck, after NUM_CLOTHES pieces of chest and shoulders."""
    hair = skin.to_linear(HAIR[rng.integers(len(HAIR))])
    red = tone.back * (0.85, 0.5, 0.5)
    dark, white = np.full(3, 0.005), np.full(3, 0.75)
    iris = skin.to_linear(IRISES[rng.integers(len(IRISES))])
    clothes = _draw_cloth(rng)
    pieces: list[tuple[tuple, tuple, float, float, np.ndarray]] = [
        ((-14, -23, -3), (14, -23, -3), 6.5, 6.5, clothes),
        ((-6, -31, -8), (-5, -75, -6), 15, 14, clothes),
        ((6, -31, -8), (5, -75, -6), 15, 14, clothes),
        ((-17, -25, -4), (-21, -60, -1), 6, 5.5, clothes),
        ((17, -25, -4), (21, -60, -1), 6, 5.5, clothes),
        ((0, -8, -2), (0, -18, -2), 5, 5.5, tone.back),
        ((0, 2.5, 0), (0, -4.5, 1.2), 7.6, 5.2, tone.back),
        ((0, 4.4, -1.7), (0, 3.0, -2.5), 8.5, 8.6, hair),
        ((0, 1, 7.2), (0, -1.8, 7.4), 0.7, 1.15, tone.back),
    ]
    length = rng.uniform(-12, 2)
    for side in (-1, 1):
        pieces += [
            ((side * 7.4, 0.5, -0.5), (side * 7.2, -1.5, -0.5), 1.3, 0.9, tone.back),
            ((side * 2.8, 1.1, 5.9), (side * 3.2, 1.1, 5.75), 1.15, 1.1, white),
            ((side * 2.95, 1.1, 6.5), (side * 2.95, 1.1, 6.5), 0.75, 0.75, iris),
            ((side * 2.95, 1.1, 6.95), (side * 2.95, 1.1, 6.95), 0.38, 0.38, dark),
            ((side * 1.6, 3.1, 7.25), (side * 4.6, 3.3, 6.0), 0.42, 0.3, hair),
            ((0, -5.15, 6.1), (side * 2.2, -4.85, 5.7), 0.62, 0.4, red),
            ((0, -5.1, 6.7), (side * 1.9, -4.8, 6.1), 0.13, 0.12, red * 0.25),
            ((side * 6.4, 4, -2), (side * 6.4, length, -2.5), 3.0, 2.2, hair),
        ]
    return [(place(Shape("cone", a, (ra, rb), b), view, i), color) for i, (a, b, ra, rb, color) in enumerate(pieces)]
