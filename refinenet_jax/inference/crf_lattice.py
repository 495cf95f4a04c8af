"""Gaussian filtering in many dimensions on the permutohedral lattice (Adams, Baek and Davis, Eurographics 2010).

A filter sums, for every point, the values of all points, weighted by exp(-|f_i - f_j|^2 / 2) of their features f. The lattice
divides the feature space into simplices. A value is distributed over the d + 1 vertices of the simplex around its point
(splat), the vertices are blurred with 1/2 1 1/2 along the d + 1 directions of the lattice, and every point interpolates its
vertices (slice). Only vertices of simplices with points exist; what the blur would carry through others is lost, as in the
authors' code.

The lattice is built once per image in NumPy; the filter, which runs many times, is JAX. Its shapes depend only on the number of
points, so that one compilation works for every set of them; loops over vertices stop after the last vertex.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_CHUNK = 1 << 17  # vertices processed at a time
# A linear hash of a vertex's coordinates: a neighbor's hash differs by a constant. A picture of 1280x720 has at most 5.5
# million vertices; a collision of 64 bits is expected once in a million pictures.
_FACTORS = np.random.default_rng(2010).integers(0, 2**64, 16, dtype=np.uint64) | np.uint64(1)


class Lattice(NamedTuple):
    """The vertices of the simplices around n points with d features: at most n (d + 1), numbered in order of first use.

    Attributes:
      vertices: int32 [d + 1, n], the vertices of each point's simplex.
      weights: float32 [d + 1, n], barycentric coordinates of each point; they sum to 1.
      before: int32 [d + 1, capacity], the previous vertex in each direction; capacity if there is none.
      after: int32 [d + 1, capacity], the next vertex in each direction; capacity if there is none.
      count: int32 [], the number of vertices.
    """

    vertices: jax.Array | np.ndarray
    weights: jax.Array | np.ndarray
    before: jax.Array | np.ndarray
    after: jax.Array | np.ndarray
    count: jax.Array | np.ndarray


def build(features: np.ndarray) -> Lattice:
    """Builds the lattice of n points.

    Args:
      features: float32 [d, n], in units of the Gaussian's standard deviation, at most about 1e5; d from 1 to 15.
    """
    hashes, weights = _enclosing_simplex(features)
    known, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    number = np.empty(len(known), np.int32)  # of each hash: vertices of neighboring pixels are close in memory
    number[np.argsort(first)] = np.arange(len(known))
    chunk = min(_CHUNK, hashes.size)
    capacity = -(-hashes.size // chunk) * chunk
    before, after = np.full((2, len(weights), capacity), capacity, np.int32)
    for direction, step in enumerate(_steps(len(features))):
        there = known + step
        places = np.minimum(np.searchsorted(known, there), len(known) - 1)
        found = known[places] == there
        here, there = number[found], number[places[found]]
        after[direction, here], before[direction, there] = there, here
    vertices = number[inverse].reshape(hashes.shape)
    return Lattice(vertices, weights, before, after, np.int32(len(known)))


def gaussian_filter(lattice: Lattice, values: jax.Array) -> jax.Array:
    """Sums over all points with Gaussian weights, up to one constant factor; float32 [n] -> float32 [n]."""
    capacity = lattice.before.shape[1]
    chunk = min(_CHUNK, capacity)
    chunks = -(-lattice.count // chunk)

    def blur(old: jax.Array, direction: int, into: jax.Array) -> jax.Array:
        def work(i: jax.Array, new: jax.Array) -> jax.Array:
            start = i * chunk
            total = lax.dynamic_slice(old, (start,), (chunk,))
            for neighbors in (lattice.before, lattice.after):
                indices = lax.dynamic_slice(neighbors, (direction, start), (1, chunk))[0]
                total += 0.5 * old.at[indices].get(mode="fill", fill_value=0)
            return lax.dynamic_update_slice(new, total, (start,))

        return lax.fori_loop(0, chunks, work, into)

    spread, scratch = jnp.zeros((2, capacity))
    spread = spread.at[lattice.vertices].add(lattice.weights * values, mode="promise_in_bounds")
    for direction in range(len(lattice.before)):
        spread, scratch = blur(spread, direction, scratch), spread
    return (lattice.weights * spread.at[lattice.vertices].get(mode="promise_in_bounds")).sum(0)


def _enclosing_simplex(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns hashes, uint64 [d + 1, n], and barycentric weights, float32 [d + 1, n], of the simplex around each point.

    Vertices have d + 1 integer coordinates that sum to 0 and are congruent modulo d + 1; vertex k of a simplex has remainder
    k.
    """
    d = len(features)
    # Projection to the hyperplane of sum 0, scaled so that splat, blur and slice together have a standard deviation of 1.
    axis = np.arange(1, d + 1)
    onto = np.tril(np.ones((d, d + 1))).T - np.eye(d + 1, d, -1) * axis
    onto *= np.sqrt(2 / 3) * (d + 1) / np.sqrt(axis * (axis + 1))
    position = onto.astype(np.float32) @ features

    # The nearest vertex with remainder 0: round, then correct the sum at the largest rounding errors.
    origin = np.round(position / (d + 1)).astype(np.int32)
    error = position - (d + 1) * origin
    rank = np.argsort(np.argsort(-error, 0, kind="stable"), 0).astype(np.int32) + origin.sum(0, dtype=np.int32)
    wrap = (rank < 0).astype(np.int32) - (rank > d)
    rank += (d + 1) * wrap
    origin += wrap

    rest = position / np.float32(d + 1) - origin
    by_rank = np.take_along_axis(rest, np.argsort(rank, 0), 0)[::-1].astype(np.float32)
    weights = by_rank - np.roll(by_rank, 1, 0)
    weights[0] += 1

    factors = _FACTORS[:d, None]
    base = (factors * ((d + 1) * origin[:d].astype(np.int64)).astype(np.uint64)).sum(0)
    # Coordinate i of vertex k is the origin's plus k, or minus d + 1 - k.
    falls = [np.where(rank[:d] > d - k, factors, np.uint64(0)).sum(0) for k in range(d + 1)]
    grows = factors.sum() * np.arange(d + 1, dtype=np.uint64)[:, None]
    return base + grows - np.uint64(d + 1) * np.stack(falls), weights


def _steps(dimensions: int) -> np.ndarray:
    """Returns what one step in each direction adds to a hash, uint64 [d + 1]: d coordinates +1, one -d."""
    factors = _FACTORS[:dimensions]
    return factors.sum() - np.uint64(dimensions + 1) * np.append(factors, np.uint64(0))  # the last is not hashed
