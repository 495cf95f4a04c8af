"""Comparing a fast form of an operation with the plain one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

SIZES = ((1, 1), (2, 3), (5, 4), (12, 17))
# Most of the tests' time is compilation, of which LLVM's optimizations are a third; they change no sum or product.
QUICK = {"xla_backend_optimization_level": 0}


def array(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


@partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def _with_gradients(function, cotangent, *inputs):
    y, pull = jax.vjp(function, *inputs)
    return y, pull(cotangent)


def assert_same(fast, plain, *inputs: jax.Array, tight: bool = False) -> None:
    """Outputs and the gradients with respect to all inputs agree, under a random cotangent.

    `tight`: within 1e-5, gradients within 1e-5 of their largest value; otherwise within 2e-5 and 2e-4.
    """
    y = jax.eval_shape(fast, *inputs)
    cotangent = array(*y.shape)[..., ::-1].astype(y.dtype)
    with jax.default_matmul_precision("highest"):
        (ours, *mine), (theirs, *other) = (_with_gradients(form, cotangent, *inputs) for form in (fast, plain))
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    np.testing.assert_allclose(ours, theirs, atol=1e-5 if tight else 2e-5)
    for g, h in zip(mine[0], other[0], strict=True):
        assert (g.shape, g.dtype) == (h.shape, h.dtype)
        np.testing.assert_allclose(g, h, atol=1e-5 * float(abs(h).max()) if tight else 2e-4)
