"""Comparing a fast form of an operation with the plain one."""

import jax
import jax.numpy as jnp
import numpy as np

SIZES = ((1, 1), (2, 3), (5, 4), (12, 17), (25, 33))


def array(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def assert_same(fast, plain, *inputs: jax.Array) -> None:
    """Outputs and the gradients with respect to all inputs agree, under a random cotangent."""
    with jax.default_matmul_precision("highest"):
        y, pull_fast = jax.vjp(fast, *inputs)
        z, pull_plain = jax.vjp(plain, *inputs)
        assert (y.shape, y.dtype) == (z.shape, z.dtype)
        np.testing.assert_allclose(y, z, atol=2e-5)
        cotangent = array(*y.shape)[..., ::-1].astype(y.dtype)
        for g, h in zip(pull_fast(cotangent), pull_plain(cotangent), strict=True):
            assert (g.shape, g.dtype) == (h.shape, h.dtype)
            np.testing.assert_allclose(g, h, atol=2e-4)
