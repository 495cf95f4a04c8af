"""A hand as a 3-D skeleton: bone lengths, poses, forward kinematics.

The hand is a right hand in centimeters: wrist at the origin, fingers along +y, back of the hand toward +z, thumb toward -x. A
left hand is its mirror image in x. Fingers are numbered thumb, index, middle, ring, little.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

Rng = np.random.Generator

# First joint of each finger: near the wrist for the thumb, the knuckle for the others.
ROOTS = np.array([(-1.9, 1.9, -0.7), (-2.75, 8.7, 0.0), (-0.75, 9.1, 0.2), (1.2, 8.6, 0.1), (2.9, 7.6, -0.2)])
# Start points of the bones of the palm.
CARPALS = np.array([(-1.9, 1.9, -0.7), (-1.35, 1.2, -0.1), (-0.45, 1.0, 0.0), (0.5, 1.0, 0.0), (1.3, 1.2, -0.1)])
# Distance from each joint to the next; the last ends at the center of the rounded tip.
LENGTHS = np.array([(4.4, 3.3, 2.1), (4.4, 2.6, 1.7), (4.9, 3.0, 1.8), (4.5, 2.8, 1.8), (3.5, 2.1, 1.6)])
# Radius of a finger at its four joints.
RADII = np.array(
    [
        (1.5, 1.1, 0.98, 0.78),
        (0.98, 0.9, 0.79, 0.66),
        (1.0, 0.92, 0.8, 0.67),
        (0.95, 0.87, 0.76, 0.63),
        (0.85, 0.75, 0.66, 0.55),
    ]
)
THUMB_SWEEP = np.array([0.75, 0.25, -0.5])  # bending direction of the thumb: across the palm


@dataclasses.dataclass(frozen=True)
class Pose:
    """Joint angles in radians.

    Attributes:
      flexion: [5, 3], flexion of each joint.
      spread: [4], spread of the fingers.
      thumb: (out, forward), direction of the thumb.
    """

    flexion: np.ndarray
    spread: np.ndarray
    thumb: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """Joint positions and orientations.

    Attributes:
      joints: [5, 4, 3] in cm.
      backs: [5, 3, 3], unit vector out of the back (nail side) of each segment.
    """

    joints: np.ndarray
    backs: np.ndarray


def _unit(v: np.ndarray) -> np.ndarray:
    return v / np.sqrt((v * v).sum(-1, keepdims=True))


def _chain(root, along, bend_to, flexion, lengths) -> tuple[np.ndarray, np.ndarray]:
    """Returns joints and backs of a finger that starts along `along` and bends toward `bend_to`; leading axes broadcast."""
    angle = np.cumsum(flexion, -1)[..., None]
    along, bend_to = along[..., None, :], bend_to[..., None, :]
    steps = (np.cos(angle) * along + np.sin(angle) * bend_to) * lengths[..., None]
    backs = np.sin(angle) * along - np.cos(angle) * bend_to
    first = np.broadcast_to(root, steps[..., :1, :].shape)
    return np.cumsum(np.concatenate([first, steps], -2), -2), backs


def _thumb(out, forward, flexion) -> tuple[np.ndarray, np.ndarray]:
    """Returns joints and backs of the thumb; `out` turns it away from the index finger, `forward` out of the palm plane."""
    out, forward = np.asarray(out), np.asarray(forward)
    along = np.stack([-np.sin(out) * np.cos(forward), np.cos(out) * np.cos(forward), -np.sin(forward)], -1)
    bend_to = _unit(THUMB_SWEEP - (along * THUMB_SWEEP).sum(-1, keepdims=True) * along)
    return _chain(ROOTS[0], along, bend_to, flexion, LENGTHS[0])


def forward_kinematics(pose: Pose) -> Skeleton:
    """Computes joint positions from joint angles."""
    spread = pose.spread
    along = np.stack([np.sin(spread), np.cos(spread), np.zeros(4)], -1)
    bend_to = np.broadcast_to([0.0, 0.0, -1.0], (4, 3))
    joints, backs = _chain(ROOTS[1:, None], along, bend_to, pose.flexion[1:], LENGTHS[1:])
    thumb_joints, thumb_backs = _thumb(*pose.thumb, pose.flexion[0])
    return Skeleton(np.concatenate([thumb_joints[None], joints]), np.concatenate([thumb_backs[None], backs]))


def _reach(pose: Pose, target: np.ndarray) -> Pose:
    """Moves the thumb so that its tip is as close to `target` as its joints allow."""
    out, forward, bend, tip = np.meshgrid(
        np.linspace(0.0, 0.9, 7), np.linspace(0.0, 1.1, 7), np.linspace(0.0, 0.8, 5), np.linspace(-0.1, 1.0, 5)
    )
    joints, _ = _thumb(out, forward, np.stack([np.zeros_like(bend), bend, tip], -1))
    miss = ((joints[..., 3, :] - target) ** 2).sum(-1).round(6)
    best = np.unravel_index(np.argmin(miss), miss.shape)
    flexion = pose.flexion.copy()
    flexion[0] = 0.0, bend[best], tip[best]
    return Pose(flexion, pose.spread, (float(out[best]), float(forward[best])))


def _fingers(rng: Rng, low, high, fan: float) -> Pose:
    """Returns a pose with a common random flexion between `low` and `high` degrees, and small deviations per finger."""
    shared = rng.uniform(low, high)
    flexion = np.deg2rad(shared + rng.uniform(-6, 6, (4, 3)) + np.arange(4)[:, None] * rng.uniform(-2, 5))
    flexion = np.concatenate([[[0.0, *np.deg2rad(rng.uniform((0, 0), (25, 35)))]], flexion])
    spread = np.deg2rad(np.array([-9.0, -2.0, 4.0, 11.0]) * fan + rng.uniform(-2, 2, 4))
    return Pose(flexion, spread, (np.deg2rad(rng.uniform(30, 52)), np.deg2rad(rng.uniform(5, 35))))


def open_hand(rng: Rng) -> Pose:
    return _fingers(rng, (-8, 0, 0), (14, 14, 8), rng.uniform(0.5, 1.7))


def relaxed(rng: Rng) -> Pose:
    return _fingers(rng, (8, 15, 8), (35, 40, 25), rng.uniform(0.4, 1.0))


def fist(rng: Rng) -> Pose:
    pose = _fingers(rng, (60, 80, 45), (78, 95, 65), 0.35)
    joints = forward_kinematics(pose).joints
    return _reach(pose, np.add(joints[1, 1:3].mean(0), (1.0, -0.8, -1.2)))


def pointing(rng: Rng) -> Pose:
    pose = fist(rng)
    flexion = pose.flexion.copy()
    flexion[1] = np.deg2rad(rng.uniform((-4, 0, 0), (18, 18, 10)))
    pose = Pose(flexion, pose.spread, pose.thumb)
    return _reach(pose, forward_kinematics(pose).joints[2, 2] + (-0.4, -0.2, -1.4))


def pinch(rng: Rng) -> Pose:
    """Returns a pose in which thumb and index finger meet at the tips, as around a pen."""
    pose = _fingers(rng, (25, 25, 15), (45, 45, 30), 0.5)
    flexion = pose.flexion.copy()
    flexion[1] = np.deg2rad(rng.uniform((42, 38, 15), (55, 52, 30)))
    pose = Pose(flexion, pose.spread, pose.thumb)
    return _reach(pose, forward_kinematics(pose).joints[1, 3] + (0.1, -0.7, -1.0))


def flat_hold(rng: Rng) -> Pose:
    """Returns a pose with the fingers under a thin object and the thumb on top."""
    pose = _fingers(rng, (0, 3, 3), (6, 9, 8), 0.6)
    return _reach(pose, np.array([-1.4, 8.6, -4.4]))


def grip(rng: Rng, radius: float) -> Pose:
    """Returns a pose with fingers around a cylinder along x: joints are on a circle around its axis, below the knuckles."""
    pose = _fingers(rng, (0, 0, 0), (1, 1, 1), 0.15)
    chord = 2 * np.arctan(LENGTHS[1:] / (2 * (radius + RADII[1:, 1:2])))
    flexion = np.stack([chord[:, 0] / 2, (chord[:, 0] + chord[:, 1]) / 2, (chord[:, 1] + chord[:, 2]) / 2], -1)
    flexion = np.concatenate([pose.flexion[:1], flexion * rng.uniform(0.92, 1.0)])
    turned = rng.uniform(0.3, 1.0)
    around = radius + 1.1
    target = np.array([-2.6, 8.2 - around * np.sin(turned), -around * (1 + np.cos(turned)) * 0.8])
    return _reach(Pose(flexion, pose.spread, pose.thumb), target)


FREE_POSES: dict[str, tuple[float, Callable[[Rng], Pose]]] = {
    "open": (0.3, open_hand),
    "relaxed": (0.38, relaxed),
    "fist": (0.1, fist),
    "pointing": (0.12, pointing),
    "pinch": (0.1, pinch),
}
