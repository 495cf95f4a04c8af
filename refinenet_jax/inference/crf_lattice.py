"""Gaussian filtering in many dimensions on the permutohedral lattice (Adams, Baek and Davis, Eurographics 2010), in JAX.

A filter sums, for every point, the values of all points, weighted by exp(-|f_i - f_j|^2 / 2) of their features f. The lattice
divides the feature space into simplices. A value is distributed over the d + 1 vertices of the simplex around its point
(splat), the vertices are blurred with 1/2 1 1/2 along the d + 1 directions of the lattice, and every point interpolates its
vertices (slice). Only vertices of simplices with points exist; what the blur would carry through others is lost, as in the
authors' code.

All shapes are static, so that one compilation works for every set of n points; loops over vertices stop after the last vertex.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_CHUNK = 1 << 17  # vertices processed at a time
# Two linear hashes of a vertex's coordinates with 32 bits each: a neighbor's hash differs by a constant. A picture of 1280x720
# has at most 5.5 million vertices; a collision of all 64 bits is expected once in a million pictures.
_HASHES = np.random.default_rng(2010).integers(0, 2**32, (2, 16), dtype=np.uint32) | 1


class Lattice(NamedTuple):
    """The vertices of the simplices around n points with d features: at most n (d + 1), numbered in order of first use.

    Attributes:
      vertices: int32 [d + 1, n], the vertices of each point's simplex.
      weights: float32 [d + 1, n], barycentric coordinates of each point; they sum to 1.
      before: int32 [d + 1, capacity], the previous vertex in each direction; capacity if there is none.
      after: int32 [d + 1, capacity], the next vertex in each direction; capacity if there is none.
      count: int32 [], the number of vertices.
    """

    vertices: jax.Array
    weights: jax.Array
    before: jax.Array
    after: jax.Array
    count: jax.Array


def build(features: jax.Array) -> Lattice:
    """Builds the lattice of n points.

    Args:
      features: float32 [d, n], in units of the Gaussian's standard deviation, at most about 1e5; d from 1 to 15.
    """
    dimensions = features.shape[0]
    hashes, weights = _enclosing_simplex(features)
    table, owner = _insert(hashes.reshape(2, -1))

    entries = owner.size
    chunk = min(_CHUNK, entries)
    capacity = -(-entries // chunk) * chunk
    first = owner == jnp.arange(entries)
    number = jnp.cumsum(first) - 1
    count = number[-1] + 1
    vertex_hashes = jnp.zeros((2, capacity), jnp.uint32)
    vertex_hashes = vertex_hashes.at[:, jnp.where(first, number, capacity)].set(hashes.reshape(2, -1), mode="drop")
    table = number.astype(jnp.int32).at[table].get(mode="fill", fill_value=capacity)

    steps = jnp.asarray(_steps(dimensions))
    chunks = -(-count // chunk)
    absent = jnp.full((dimensions + 1, capacity), capacity, jnp.int32)

    def link(i: jax.Array, neighbors: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        before, after = neighbors
        direction, start = i // chunks, i % chunks * chunk
        here = start + jnp.arange(chunk, dtype=jnp.int32)
        hashes_there = lax.dynamic_slice(vertex_hashes, (0, start), (2, chunk)) + steps[direction][:, None]
        there = _find(table, vertex_hashes, hashes_there, here < count)
        after = lax.dynamic_update_slice(after, there[None], (direction, start))
        return before.at[direction, there].set(here, mode="drop"), after

    before, after = lax.fori_loop(0, len(steps) * chunks, link, (absent, absent))
    return Lattice(number[owner].astype(jnp.int32).reshape(weights.shape), weights, before, after, count)


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


def _enclosing_simplex(features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns hashes, uint32 [2, d + 1, n], and barycentric weights, float32 [d + 1, n], of the simplex around each point.

    Vertices have d + 1 integer coordinates that sum to 0 and are congruent modulo d + 1; vertex k of a simplex has remainder
    k.
    """
    d = len(features)
    # Projection to the hyperplane of sum 0, scaled so that splat, blur and slice together have a standard deviation of 1.
    axis = np.arange(1, d + 1)
    onto = np.tril(np.ones((d, d + 1))).T - np.eye(d + 1, d, -1) * axis
    onto *= np.sqrt(2 / 3) * (d + 1) / np.sqrt(axis * (axis + 1))
    position = jnp.dot(onto.astype(np.float32), features, precision=lax.Precision.HIGHEST)

    # The nearest vertex with remainder 0: round, then correct the sum at the largest rounding errors.
    origin = jnp.round(position / (d + 1)).astype(jnp.int32)
    error = position - (d + 1) * origin
    earlier = np.tril(np.ones((d + 1, d + 1), bool), -1)[..., None]
    larger = (error[None] > error[:, None]) | (earlier & (error[None] == error[:, None]))  # [i, j]: j is before i
    rank = larger.sum(1, dtype=jnp.int32) + origin.sum(0)
    wrap = (rank < 0).astype(jnp.int32) - (rank > d).astype(jnp.int32)
    rank += (d + 1) * wrap
    origin += wrap

    places = np.arange(d + 1)[:, None, None]
    rest = position / (d + 1) - origin
    by_rank = jnp.where(rank == places, rest, 0).sum(1)[::-1]
    weights = by_rank - jnp.roll(by_rank, 1, 0) + (places[:, 0] == 0)

    factors = jnp.asarray(_HASHES[:, :d, None])
    base = (factors * ((d + 1) * origin[:d]).astype(jnp.uint32)).sum(1)
    # Coordinate i of vertex k is the origin's plus k, or minus d + 1 - k.
    grows = _HASHES[:, :d].sum(1, dtype=np.uint32)[:, None, None] * places[..., 0].astype(np.uint32)
    falls = jnp.where(rank[:d] > d - places, factors[:, None], 0).sum(2)
    return base[:, None] + grows - np.uint32(d + 1) * falls, weights


def _steps(dimensions: int) -> np.ndarray:
    """Returns what one step in each direction adds to the hashes, uint32 [d + 1, 2]: d coordinates +1, one -d."""
    factors = _HASHES[:, :dimensions]
    falls = np.concatenate([factors, np.zeros((2, 1), np.uint32)], 1).T  # the last coordinate is not hashed
    return factors.sum(1, dtype=np.uint32) - np.uint32(dimensions + 1) * falls


def _insert(hashes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Finds equal hashes, uint32 [2, m], by open addressing, with all entries in parallel.

    Returns:
      table: int32 [power of two, at least 1.5 m], entries at the positions of their hashes; m if a position is empty.
      owner: int32 [m], for each entry the first one with the same hashes.
    """
    entries = hashes.shape[1]
    table = jnp.full(1 << (3 * entries // 2 - 1).bit_length(), entries, jnp.int32)
    own = jnp.arange(entries, dtype=jnp.int32)

    def probe(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        table, owner, place, seeking = state
        place = jnp.where(seeking, place, len(table))
        free = jnp.where(table.at[place].get(mode="fill", fill_value=0) == entries, place, len(table))
        table = table.at[free].min(own, mode="drop")
        found = table.at[place].get(mode="fill", fill_value=0)
        equal = seeking & (hashes[:, found] == hashes).all(0)
        owner = jnp.where(equal, found, owner)
        return table, owner, _next_place(place, hashes, len(table)), seeking & ~equal

    state = (table, own, _first_place(hashes, len(table)), jnp.ones(entries, bool))
    table, owner, _, _ = lax.while_loop(lambda state: state[-1].any(), probe, state)
    return table, owner


def _find(table: jax.Array, stored: jax.Array, hashes: jax.Array, wanted: jax.Array) -> jax.Array:
    """Looks up hashes, uint32 [2, m], where `wanted`, bool [m].

    Args:
      table: table of `_insert` with entries replaced by column numbers of `stored`; len(stored) if a position is empty.
      stored: uint32 [2, capacity].

    Returns:
      int32 [m], columns of `stored`; capacity if a hash is not found.
    """
    capacity = stored.shape[1]

    def probe(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        result, place, seeking = state
        found = table.at[jnp.where(seeking, place, len(table))].get(mode="fill", fill_value=capacity)
        equal = seeking & (stored.at[:, found].get(mode="fill", fill_value=0) == hashes).all(0) & (found < capacity)
        result = jnp.where(equal, found, result)
        return result, _next_place(place, hashes, len(table)), seeking & ~equal & (found < capacity)

    state = (jnp.full(wanted.shape, capacity, jnp.int32), _first_place(hashes, len(table)), wanted)
    return lax.while_loop(lambda state: state[-1].any(), probe, state)[0]


def _first_place(hashes: jax.Array, size: int) -> jax.Array:
    """Mixes the bits as in the last step of MurmurHash3: the linear hashes of neighbors would fill the table in runs."""
    mixed = hashes[0] ^ (hashes[1] >> 15)
    mixed = (mixed ^ (mixed >> 16)) * jnp.uint32(0x85EBCA6B)
    mixed = (mixed ^ (mixed >> 13)) * jnp.uint32(0xC2B2AE35)
    return ((mixed ^ (mixed >> 16)) & jnp.uint32(size - 1)).astype(jnp.int32)


def _next_place(place: jax.Array, hashes: jax.Array, size: int) -> jax.Array:
    step = (hashes[1] >> 4 | 1).astype(jnp.int32)  # odd, so that it visits all positions of a power of two
    return (place + step) & (size - 1)
