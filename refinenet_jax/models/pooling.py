"""Maxima over windows as running maxima, held to the plain forms by `tests/models/pooling_test.py`. Arrays are [b, h, w, c]."""

from functools import partial

import jax
import jax.numpy as jnp

from refinenet_jax.models.primitives import each_example, pad


@jax.custom_vjp
def max_pool_5x5(x: jax.Array) -> jax.Array:
    """5x5 maximum at stride 1, padding 2: the pool of chained residual pooling, as two one-dimensional running maxima.

    Windows of 2, then 4, then 5 need three maxima an axis instead of 24 in all. For the gradient, which needs no scatter,
    an int8 an axis is kept that says which of five inputs it belongs to: the first of those that tie, as in PyTorch.
    """
    return each_example(_pool, x)


def _pool(x: jax.Array) -> jax.Array:
    return _running_max(_running_max(x, axis=1), axis=0)


def _pool_forward(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    def pool(x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        in_rows = _running_max(x, axis=1)
        return _running_max(in_rows, axis=0), (_first_maximum(x, axis=1), _first_maximum(in_rows, axis=0))

    return each_example(pool, x)


def _pool_backward(winners: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array]:
    def of_inputs(in_rows: jax.Array, in_columns: jax.Array, gradient: jax.Array) -> jax.Array:
        return _to_winners(in_rows, _to_winners(in_columns, gradient, axis=0), axis=1)

    return (each_example(of_inputs, *winners, gradient),)


max_pool_5x5.defvjp(_pool_forward, _pool_backward)


def _running_max(x: jax.Array, axis: int) -> jax.Array:
    n = x.shape[axis]
    x = pad(x, 2, 2, -jnp.inf, axes=(axis,))
    cut = partial(jax.lax.slice_in_dim, axis=axis)
    two = jnp.maximum(cut(x, 0, n + 3), cut(x, 1, n + 4))
    four = jnp.maximum(cut(two, 0, n + 1), cut(two, 2, n + 3))
    return jnp.maximum(cut(four, 0, n), cut(x, 4, n + 4))


def _first_maximum(x: jax.Array, axis: int) -> jax.Array:
    """int8, which of the five inputs around each place (0 to 4) is the first to equal their maximum."""
    highest, *others = _five(x, -jnp.inf, axis)
    winner = jnp.zeros(highest.shape, jnp.int8)
    for i, other in enumerate(others, 1):
        winner = jnp.where(other > highest, jnp.int8(i), winner)
        highest = jnp.maximum(highest, other)
    return jax.lax.slice_in_dim(winner, 0, x.shape[axis], axis=axis)


def _to_winners(winner: jax.Array, gradient: jax.Array, axis: int) -> jax.Array:
    """Sum, at each input, of the gradients of the outputs that it was the winner of: it is number 4 of the first of them."""
    pairs = zip(_five(winner, -1, axis), _five(gradient, 0, axis), strict=True)
    taken = sum(jnp.where(winner == 4 - i, gradient, 0) for i, (winner, gradient) in enumerate(pairs))
    return jax.lax.slice_in_dim(taken, 0, gradient.shape[axis], axis=axis)


def _five(x: jax.Array, outside: float, axis: int) -> list[jax.Array]:
    """The array moved by -2 to 2 places, each with one place more behind its end.

    Without that place XLA would see that the middle one is the array before padding, and compute that anew wherever it is used.
    """
    n = x.shape[axis]
    x = pad(x, 2, 3, outside, axes=(axis,))
    return [jax.lax.slice_in_dim(x, i, i + n + 1, axis=axis) for i in range(5)]


def max_pool_3x3_stride_2(x: jax.Array) -> jax.Array:
    """3x3 maximum at stride 2, padding 1: the pool behind the first convolution of a ResNet."""
    for axis in (1, 2):
        n = -(-x.shape[axis] // 2)
        x = pad(x, 1, 2 * n - x.shape[axis], -jnp.inf, axes=(axis,))
        cut = partial(jax.lax.slice_in_dim, x, stride=2, axis=axis)
        x = jnp.maximum(jnp.maximum(cut(0, 2 * n - 1), cut(1, 2 * n)), cut(2, 2 * n + 1))
    return x
