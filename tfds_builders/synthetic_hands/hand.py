"""Renders a skeleton in a camera view as solids: palm, fingers, forearm and held objects."""

import dataclasses

import numpy as np

from tfds_builders.synthetic_hands import skeleton, solids

# Part ids in the part map. Segment s of finger f: FINGER + 3 f + s.
NOTHING, PALM, FOREARM, SLEEVE, BAND, HELD, FINGER = -1, 0, 1, 2, 3, 4, 8
NUM_PARTS = FINGER + 15
PERSPECTIVE = 0.011  # enlargement per cm closer to the viewer


@dataclasses.dataclass(frozen=True)
class View:
    """Camera view of a hand.

    Attributes:
      rotation: rotation [3, 3] of the forearm.
      bend: rotation [3, 3] of the hand at the wrist.
      wrist: (x, y) in pixels of the map.
      scale: pixels per cm.
      is_left: whether the hand is a left hand.
    """

    rotation: np.ndarray
    bend: np.ndarray
    wrist: tuple[float, float]
    scale: float
    is_left: bool

    def project(self, points, is_arm: bool = False) -> np.ndarray:
        """Projects points in cm [..., 3] of a right hand to map coordinates [..., 3]."""
        turned = self.turn(points, is_arm)
        grow = self.scale * (1 + PERSPECTIVE * turned[..., 2:])
        flat = turned[..., :2] * grow * (1, -1) + np.asarray(self.wrist)
        return np.concatenate([flat, turned[..., 2:] * self.scale], -1)

    def turn(self, vectors, is_arm: bool = False) -> np.ndarray:
        """Rotates directions [..., 3] of a right hand to camera directions with y up."""
        vectors = np.asarray(vectors, np.float64) * ((-1, 1, 1) if self.is_left else (1, 1, 1))
        matrix = self.rotation if is_arm else self.rotation @ self.bend
        return (vectors[..., None, :] * matrix).sum(-1)

    def direct(self, vectors, is_arm: bool = False) -> np.ndarray:
        """Rotates directions to map coordinates (y down), rounded."""
        return solids.quantize(self.turn(vectors, is_arm) * (1, -1, 1))

    def size(self, point, length, is_arm: bool = False):
        """Converts a length in cm at a point [..., 3] to pixels."""
        return length * self.scale * (1 + PERSPECTIVE * self.turn(point, is_arm)[..., 2])


@dataclasses.dataclass(frozen=True)
class Build:
    """Properties of a person's arm.

    Attributes:
      stout: factor for the width of fingers and palm.
      sleeve: distance of the sleeve from the wrist in cm; None without a sleeve.
      band: whether there is a bracelet or watch.
      forearm: length in cm, to the elbow or the picture's edge.
    """

    stout: float
    sleeve: float | None
    band: bool
    forearm: float = 45.0


@dataclasses.dataclass(frozen=True)
class Surface:
    """A rendered arm.

    Attributes:
      height: float32 [h, w].
      parts: part ids, int16 [h, w].
      labeled: the hand up to the wrist, bool [h, w].
      joints: [5, 4, 3] in map coordinates.
      radii: [5, 4] in pixels.
      backs: [5, 3, 3] in map coordinates.
    """

    height: np.ndarray
    parts: np.ndarray
    labeled: np.ndarray
    joints: np.ndarray
    radii: np.ndarray
    backs: np.ndarray


def rotation(axis: int, angle: float) -> np.ndarray:
    """Returns the rotation matrix about x, y or z (0, 1, 2) by `angle` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = np.eye(3)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = cos, -sin, sin, cos
    return matrix


def _mix(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    return a + (b - a) * t


def _palm_cones(bones: skeleton.Skeleton):
    """Yields the palm as (from, to, radius, radius) in cm: bones, knuckles, webs, and the balls of thumb and little finger."""
    joints, carpals = bones.joints, skeleton.CARPALS
    knuckles = joints[1:, 0]
    down = np.array([0.0, 0.0, -0.25])
    for i in range(4):
        yield carpals[i + 1] + down, knuckles[i] + down, 1.3, skeleton.RADII[i + 1, 0] + 0.02
    for i in range(3):
        yield knuckles[i] + 1.5 * down, knuckles[i + 1] + 1.5 * down, 0.95, 0.92
        # Flesh between two bones; without it, the back of the hand looks like a skeleton.
        yield (
            _mix(carpals[i + 1], carpals[i + 2], 0.5) + down,
            _mix(knuckles[i], knuckles[i + 1], 0.5) + down,
            1.3,
            0.92,
        )
        webs = [_mix(joints[f, 0], joints[f, 1], 0.3) for f in (i + 1, i + 2)]
        yield (*webs, 0.72, 0.72)
        yield _mix(*webs, 0.5), _mix(knuckles[i], knuckles[i + 1], 0.5), 0.72, 0.9
    yield np.array([1.7, 1.4, -0.7]), np.array([2.6, 5.6, -0.5]), 1.4, 1.05
    thumb = joints[0]
    yield thumb[0], thumb[1], 1.45, 1.12
    index = carpals[1], knuckles[0]
    yield _mix(thumb[0], thumb[1], 0.25), _mix(*index, 0.4), 1.3, 1.1
    yield _mix(thumb[0], thumb[1], 0.5), _mix(*index, 0.55), 0.95, 0.95
    yield _mix(thumb[0], thumb[1], 0.72), _mix(*index, 0.7), 0.62, 0.75
    yield np.array([-0.75, 0.0, 0.0]), np.array([-0.6, 2.5, -0.3]), 1.75, 1.6
    yield np.array([0.75, 0.0, 0.0]), np.array([0.7, 2.5, -0.3]), 1.75, 1.6


def _bumps(bones: skeleton.Skeleton):
    """Yields knuckles and tendons on the back of the hand; bent knuckles stand out more than straight ones."""
    for i in range(4):
        knuckle, back = bones.joints[i + 1, 0], bones.backs[i + 1, 0]
        bent = 1 - max(back[2], 0)
        lean = np.add(back, (0, 0, 1))
        top = knuckle + (0.18 + 0.22 * bent) * lean / np.sqrt((lean * lean).sum())
        yield top, top, 0.72, 0.72
        yield skeleton.CARPALS[i + 1] * 0.7 + (0, 1, 0.55), np.add(knuckle, (0, -0.6, 0.36)), 0.3, 0.42


def _forearm_cones(length: float):
    """Yields two parallel bones, so that the wrist is wider than thick."""
    for side in (-1, 1):
        yield (side * 0.75, 0, 0), (side * 1.1, -15, 0), 1.75, 2.6
        yield (side * 1.1, -15, 0), (side * 1.4, -length, 0), 2.6, 3.3


def _sleeve_cones(start: float, length: float):
    for side in (-1, 1):
        yield (side * 0.7, -start, 0), (side * 1.6, -length - 1, 0), 2.5 + 0.05 * start, 4.8


def _finger_cones(bones: skeleton.Skeleton, radii: np.ndarray, finger: int, segment: int):
    """Yields a segment; the last one includes the pad of the fingertip, on the palm side."""
    start, end = bones.joints[finger, segment : segment + 2]
    yield start, end, radii[finger, segment], radii[finger, segment + 1]
    if segment == 2:
        pad = _mix(start, end, 0.72) - 0.2 * bones.backs[finger, 2]
        yield pad, pad, radii[finger, 3] * 0.98, radii[finger, 3] * 0.98


def _project(view: View, cones, part: int, stout: float = 1.0, is_arm: bool = False) -> list[solids.Cone]:
    a, b, radius_a, radius_b = zip(*cones, strict=True)
    ends = np.stack([np.array(a, np.float64), np.array(b, np.float64)], 1)
    radii = np.stack([radius_a, radius_b], 1) * stout
    return solids.make_cones(view.project(ends, is_arm), view.size(ends, radii, is_arm), [part] * len(a))


def _add_band(surface, parts, view: View) -> None:
    """Adds a strap (the part of the forearm within 0.9 cm of a plane across it) and a round dial on its back."""
    strap = (np.abs(_along_arm(surface, view, -2.6)) < np.float32(0.9 * view.scale)) & (parts == FOREARM)
    parts[strap] = BAND
    surface[strap] += np.float32(0.15 * view.scale)
    axes = view.turn([(0, 0, 1), (1, 0, 0), (0, 1, 0)], True) * (1, -1, 1)
    dial = view.project((0.0, -2.6, 1.9), True)
    solids.merge(surface, parts, solids.make_block(dial, axes, np.array([0.4, 1.7, 1.7]) * view.scale, True, BAND))


def _along_arm(surface: np.ndarray, view: View, start: float) -> np.ndarray:
    """Returns the distance in pixels of each pixel along the forearm from `start` cm past the wrist: float32 [h, w]."""
    x, y = solids.grid((slice(0, surface.shape[0]), slice(0, surface.shape[1])))
    axis, center = view.direct((0, 1, 0), True), solids.quantize(view.project((0.0, start, 0.0), True))
    return (x - center[0]) * axis[0] + (y - center[1]) * axis[1] + (surface - center[2]) * axis[2]


def build_surface(
    bones: skeleton.Skeleton, view: View, build: Build, held: list[solids.Solid], shape: tuple[int, int]
) -> Surface:
    """Renders one arm into new maps.

    Args:
      bones: skeleton in cm.
      view: camera view.
      build: properties of the person's arm.
      held: solids, in map coordinates, that the hand holds.
      shape: (h, w) of the maps.
    """
    surface = np.full(shape, solids.FAR)
    parts = np.full(shape, NOTHING, np.int16)
    for cone in _project(view, _palm_cones(bones), PALM, build.stout):
        solids.merge(surface, parts, cone, 0.7 * view.scale)
    for cone in _project(view, _bumps(bones), PALM, build.stout):
        solids.merge(surface, parts, cone, 0.9 * view.scale)
    palm = surface.copy()
    radii = skeleton.RADII * build.stout
    for finger in range(5):
        first = 1 if finger == 0 else 0  # the thumb's first segment lies in the palm
        for segment in range(first, 3):
            # The first segment melts into the palm; the others only touch it.
            width = 0.55 * view.scale if segment == first else 0.0
            for cone in _project(view, _finger_cones(bones, radii, finger, segment), FINGER + 3 * finger + segment):
                solids.merge(surface, parts, cone, width, palm)
    is_hand = surface > solids.FAR
    for cone in _project(view, _forearm_cones(build.forearm), FOREARM, build.stout, is_arm=True):
        solids.merge(surface, parts, cone, 0.5 * view.scale)
    if build.band:
        _add_band(surface, parts, view)
    if build.sleeve is not None:
        parts[(parts == FOREARM) & (_along_arm(surface, view, -build.sleeve - 0.5) < 0)] = SLEEVE
        for cone in _project(view, _sleeve_cones(build.sleeve, build.forearm), SLEEVE, build.stout, is_arm=True):
            solids.merge(surface, parts, cone)
    for solid in held:
        solids.merge(surface, parts, solid)
    # The wrist is a plane across the forearm: palm and forearm belong to the hand only beyond it.
    beyond = (_along_arm(surface, view, 0.0) > 0) & is_hand & ((parts == PALM) | (parts == FOREARM))
    joints = view.project(bones.joints)
    return Surface(
        surface,
        parts,
        (parts >= FINGER) | beyond,
        joints,
        view.size(bones.joints, radii),
        view.turn(bones.backs) * (1, -1, 1),
    )
