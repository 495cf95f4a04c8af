"""What the fast forms of the operations are made of."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


@jax.custom_vjp
def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., i] times [i, o].

    The kernel's gradient is a product of two matrices that sums over the first dimension of both: the only form for which
    XLA on a CPU copies neither of them to turn it around.
    """
    return x @ kernel


def _backward(residuals: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = residuals
    of_kernel = jax.lax.dot_general(_flat(x), _flat(gradient), (((0,), (0,)), ((), ())))
    return matmul(gradient, kernel.T), of_kernel


matmul.defvjp(lambda x, kernel: (matmul(x, kernel), (x, kernel)), _backward)


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


@jax.custom_vjp
def shared_relu(x: jax.Array) -> jax.Array:
    """ReLU of what is used more than once, such as the sum behind a shortcut.

    XLA on a CPU takes a maximum with 0 for so cheap that it computes it anew for each use. Along a chain of residual blocks
    that is, in each of them, the whole chain before it: a sixth of ResNet-101's time. A selection it keeps.
    """
    return jnp.where(x <= 0, 0, x)  # NaN stays NaN


def _shared_relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = shared_relu(x)
    return y, y


shared_relu.defvjp(_shared_relu_forward, lambda y, gradient: (jnp.where(y > 0, gradient, 0),))


def each_example(function: Callable[..., Any], *arrays: jax.Array) -> Any:
    """`function` of every example [h, w, c] of arrays [b, h, w, c].

    One at a time on a CPU, where an example stays in the cache (a pool is 4 to 5 times as fast) and memory is bounded; all at
    once elsewhere.
    """
    if jax.default_backend() != "cpu":
        return jax.vmap(function)(*arrays)
    return jax.lax.map(lambda example: function(*example), arrays)


def pad(x: jax.Array, before: int, after: int, value: float, axes: tuple[int, ...]) -> jax.Array:
    """Puts `value` before and after `axes`."""
    widths = [(0, 0)] * x.ndim
    for axis in axes:
        widths[axis] = (before, after)
    return jnp.pad(x, widths, constant_values=value)
