"""Few padded sizes for pictures of many: the network is compiled once for each."""

from collections.abc import Mapping, Sequence

import numpy as np

from refinenet_jax.errors import UsageError

Size = tuple[int, int]

_MOST_CELLS = 300  # sizes told apart while shapes are chosen; the work grows with their cube


def plan(sizes: Sequence[Size], multiple: int = 32, limit: int = 6) -> dict[Size, Size]:
    """Chooses at most `limit` shapes that cover all sizes with little padding.

    Starting from all sizes, rounded up, the pair whose union wastes the fewest pixels is merged until `limit` shapes are left.
    Then sides are moved, one at a time, as long as that saves pixels. Every image goes into the smallest shape that holds it.

    Args:
      sizes: (h, w) of all images; a size that occurs n times counts n times.
      multiple: sides of a shape are multiples of this.
      limit: how many shapes there may be. With no more different sizes than that, after rounding up, nothing is merged.

    Returns:
      The padded size (h, w) for each different size.

    Raises:
      UsageError: no limit, multiple or size below 1 makes sense.
    """
    if limit < 1 or multiple < 1 or (len(sizes) and np.min(sizes) < 1):
        raise UsageError(f"limit ({limit}), multiple ({multiple}) and all sizes must be at least 1.")
    if not len(sizes):
        return {}
    different, counts = np.unique(np.asarray(sizes, np.int64), axis=0, return_counts=True)
    rounded = _round_up(different, multiple)
    shapes = np.unique(rounded, axis=0)
    if len(shapes) > limit:
        step = multiple
        while len(shapes) > _MOST_CELLS:
            step *= 2
            shapes = np.unique(_round_up(different, step), axis=0)
        cells = _round_up(different, step)
        weights = np.array([counts[(cells == cell).all(-1)].sum() for cell in shapes])
        shapes = _move_sides(shapes, weights, _merge(shapes, weights, limit))
    place = _smallest_that_holds(rounded, shapes)
    # A shape need not be larger than what it holds.
    tight = {i: rounded[place == i].max(0) for i in np.unique(place)}
    return {tuple(size): tuple(tight[i].tolist()) for size, i in zip(different.tolist(), place.tolist(), strict=True)}


def describe(plan: Mapping[Size, Size], sizes: Sequence[Size]) -> str:
    """A line such as '300 images of 212 sizes in 6 shapes, 14 % padding': the share of the pixels to be computed."""
    sizes = [tuple(size) for size in sizes]
    if not sizes:
        return "no images"
    padded = [plan[size] for size in sizes]
    share = 1 - sum(h * w for h, w in sizes) / sum(h * w for h, w in padded)
    images, kinds, shapes = (
        f"{n} {word}{'' if n == 1 else 's'}"
        for n, word in ((len(sizes), "image"), (len(set(sizes)), "size"), (len(set(padded)), "shape"))
    )
    return f"{images} of {kinds} in {shapes}, {share:.0%} padding".replace("%", " %")


def _round_up(sizes: np.ndarray, multiple: int) -> np.ndarray:
    return -(-sizes // multiple) * multiple


def _merge(shapes: np.ndarray, weights: np.ndarray, limit: int) -> np.ndarray:
    """Merges the pair that costs the fewest pixels until `limit` shapes are left."""
    while len(shapes) > limit:
        union = np.maximum(shapes[:, None], shapes[None]).prod(-1)
        own = weights * shapes.prod(-1)
        cost = ((weights[:, None] + weights[None]) * union - own[:, None] - own[None]).astype(float)
        cost[np.tril_indices(len(shapes))] = np.inf
        i, j = np.unravel_index(cost.argmin(), cost.shape)
        shapes, weights = shapes.copy(), weights.copy()
        shapes[i] = np.maximum(shapes[i], shapes[j])
        weights[i] += weights[j]
        shapes, weights = np.delete(shapes, j, 0), np.delete(weights, j)
    return shapes


def _move_sides(sizes: np.ndarray, weights: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Moves one side of one shape at a time to where fewer pixels are padding, until none can be."""
    sides = [np.unique(sizes[:, axis]) for axis in (0, 1)]
    best, before = _pixels(sizes, weights, shapes), np.inf
    while best < before:
        before = best
        for i, axis in np.ndindex(shapes.shape):
            for side in sides[axis]:
                moved = shapes.copy()
                moved[i, axis] = side
                pixels = _pixels(sizes, weights, moved)
                if pixels < best:
                    best, shapes = pixels, moved
    return shapes


def _pixels(sizes: np.ndarray, weights: np.ndarray, shapes: np.ndarray) -> float:
    """Of all images in the smallest shapes that hold them; infinite where one fits in none."""
    return float((weights * _areas(sizes, shapes).min(1)).sum())


def _smallest_that_holds(sizes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Index of a shape for each size."""
    return _areas(sizes, shapes).argmin(1)


def _areas(sizes: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Area of each shape for each size, [sizes, shapes]; infinite where it does not hold it."""
    holds = (shapes[None] >= sizes[:, None]).all(-1)
    return np.where(holds, shapes.prod(-1, dtype=float), np.inf)
