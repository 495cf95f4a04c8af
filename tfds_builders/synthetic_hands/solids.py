"""Solids seen along z, with exact height maps.

All computations are +, -, *, / and sqrt on float32 arrays, which IEEE 754 rounds identically on every machine, of vertices
rounded by `quantize`. Masks from these maps are therefore bitwise equal everywhere. x points right, y down, z toward the
viewer; the unit is a pixel of the map.
"""

import dataclasses
import math

import numpy as np

FAR = np.float32(-1e4)  # height of empty pixels


def quantize(v) -> np.ndarray:
    """Rounds coordinates to 1/64 pixel, which removes differences of sin and cos between machines."""
    return (np.round(np.asarray(v, np.float64) * 64) / 64).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Cone:
    """Convex hull of two balls, with quantized values; a ball if `a` equals `b`.

    Attributes:
      a: center of the first ball, [3].
      b: center of the second ball, [3].
      radius_a: radius of the first ball.
      radius_b: radius of the second ball.
      part: part id.
    """

    a: np.ndarray
    b: np.ndarray
    radius_a: float
    radius_b: float
    part: int


@dataclasses.dataclass(frozen=True)
class Block:
    """A box or cylinder.

    Attributes:
      center: center, [3].
      axes: unit vectors in rows, [3, 3].
      extents: half extents, [3].
      is_round: whether it is a cylinder along its first axis with radius `extents[1]`.
      part: part id.
    """

    center: np.ndarray
    axes: np.ndarray
    extents: np.ndarray
    is_round: bool
    part: int


Solid = Cone | Block


def make_cone(a, b, radius_a: float, radius_b: float, part: int) -> Cone:
    radius_a, radius_b = quantize((radius_a, radius_b)).tolist()
    return Cone(quantize(a), quantize(b), radius_a, radius_b, part)


def make_cones(ends: np.ndarray, radii: np.ndarray, parts: list[int]) -> list[Cone]:
    """Returns many cones from `ends` [n, 2, 3] and `radii` [n, 2]."""
    ends, radii = quantize(ends), quantize(radii).tolist()
    return [Cone(a, b, *sizes, part) for (a, b), sizes, part in zip(ends, radii, parts, strict=True)]


def make_block(center, axes, extents, is_round: bool, part: int) -> Block:
    # No axis may be exactly in the picture plane: its slab would have no front. 1/4096 is far below a pixel.
    axes = np.round(np.asarray(axes, np.float64) * 4096) / 4096
    axes[:, 2] = np.where(axes[:, 2] == 0, 1 / 4096, axes[:, 2])
    return Block(quantize(center), axes.astype(np.float32), quantize(extents), is_round, part)


def window(solid: Solid, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Returns rows and columns of a map of `shape` that the solid can cover."""
    if isinstance(solid, Cone):
        (ax, ay, _), (bx, by, _) = solid.a.tolist(), solid.b.tolist()
        ra, rb = solid.radius_a, solid.radius_b
        left, right, top, bottom = (
            min(ax - ra, bx - rb),
            max(ax + ra, bx + rb),
            min(ay - ra, by - rb),
            max(ay + ra, by + rb),
        )
    else:
        reach = np.abs(solid.axes * solid.extents[:, None]).sum(0)
        (left, top), (right, bottom) = (solid.center - reach)[:2].tolist(), (solid.center + reach)[:2].tolist()
    rows, columns = (
        slice(min(max(math.floor(low), 0), n), min(max(math.ceil(high) + 1, 0), n))
        for low, high, n in ((top, bottom, shape[0]), (left, right, shape[1]))
    )
    return rows, columns


def grid(area: tuple[slice, slice]) -> tuple[np.ndarray, np.ndarray]:
    """Returns pixel centers of an area: x float32 [1, w], y float32 [h, 1]."""
    rows, columns = area
    x = np.arange(columns.start, columns.stop, dtype=np.float32)[None] + np.float32(0.5)
    y = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] + np.float32(0.5)
    return x, y


def _cone_height(cone: Cone, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    # The surface is the highest point of all balls between a and b. At parameter t from a to b it is
    #   z(t) = a_z + t dz + sqrt(r(t)^2 - |q - t e|^2),
    # concave with a closed-form maximum; beyond the ends, the ball at that end is used.
    ex, ey, dz = cone.b - cone.a
    dr = np.float32(cone.radius_b - cone.radius_a)
    radius = np.float32(cone.radius_a)
    qx, qy = x - cone.a[0], y - cone.a[1]
    curve = ex * ex + ey * ey - dr * dr
    if curve < 0.25:  # seen from its end: one ball hides the other
        t = np.float32(cone.b[2] + cone.radius_b > cone.a[2] + cone.radius_a)
    else:
        middle = (ex * qx + ey * qy + radius * dr) / curve
        peak = radius * radius - qx * qx - qy * qy + curve * middle * middle
        slope = dz / np.sqrt(curve * (curve + dz * dz))
        t = np.clip(middle + slope * np.sqrt(np.maximum(peak, 0)), 0, 1)
    dx, dy, r = qx - t * ex, qy - t * ey, radius + t * dr
    square = r * r - dx * dx - dy * dy
    return np.where(square > 0, cone.a[2] + t * dz + np.sqrt(np.maximum(square, 0)), FAR)


def _block_height(block: Block, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    qx, qy = x - block.center[0], y - block.center[1]
    front, back = np.float32(1e4), np.float32(-1e4)
    for i, ((ux, uy, uz), extent) in enumerate(zip(block.axes, block.extents, strict=True)):
        if block.is_round and i > 0:
            continue
        shift = ux * qx + uy * qy
        edge = extent * np.sign(uz)
        front = np.minimum(front, (edge - shift) / uz)
        back = np.maximum(back, (-edge - shift) / uz)
    if block.is_round:  # |q|^2 - (u.q)^2 = r^2, a quadratic in z
        ux, uy, uz = block.axes[0]
        shift = ux * qx + uy * qy
        square = np.maximum(np.float32(1) - uz * uz, np.float32(1e-3))
        half = shift * uz / square
        root = half * half - (qx * qx + qy * qy - shift * shift - block.extents[1] * block.extents[1]) / square
        spread = np.sqrt(np.maximum(root, 0))
        front = np.where(root > 0, np.minimum(front, half + spread), FAR)
        back = np.maximum(back, half - spread)
    return np.where(front > back, block.center[2] + front, FAR)


def height(solid: Solid, area: tuple[slice, slice]) -> np.ndarray:
    """Returns the height of the solid's front over an area: float32 [h, w], FAR outside the solid."""
    x, y = grid(area)
    return _cone_height(solid, x, y) if isinstance(solid, Cone) else _block_height(solid, x, y)


def soft_max(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Returns the maximum of two surfaces, with a fillet where they differ by less than `width`."""
    width = np.float32(max(width, 1e-3))
    near = np.maximum(width - np.abs(a - b), 0)
    return np.maximum(a, b) + near * near / (4 * width)


def merge(
    surface: np.ndarray, parts: np.ndarray, solid: Solid, width: float = 0.0, base: np.ndarray | None = None
) -> None:
    """Adds a solid to a height map and its part map, in place.

    Args:
      surface: float32 [h, w]; FAR where empty.
      parts: int16 [h, w], part id in front; -1 where empty.
      solid: solid to add.
      width: width of the fillet between the solid and `base`.
      base: surface to blend with; None for `surface` itself. Adjacent fingers blend with the palm only.
    """
    area = window(solid, surface.shape)
    if area[0].start >= area[0].stop or area[1].start >= area[1].stop:
        return
    new, old = height(solid, area), surface[area]
    in_front = new > old
    parts[area][in_front] = solid.part
    if width:
        blended = soft_max(new, old if base is None else base[area], width)
        new = np.where(new > FAR, blended, FAR)
    np.maximum(old, new, out=old)
