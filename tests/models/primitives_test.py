"""What the fast forms are made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from plain_forms import array, assert_same

from refinenet_jax.models.primitives import shared_relu


def test_shared_relu_is_relu():
    x = jnp.round(array(4, 6, 5, 3))  # with zeros, whose gradient is 0
    assert (x == 0).any()
    assert_same(shared_relu, nn.relu, x)
    assert np.isnan(shared_relu(jnp.nan))
    assert_same(shared_relu, nn.relu, x.astype(jnp.bfloat16))


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other compilers fuse by other rules")
def test_a_chain_of_residual_blocks_is_computed_once():
    """The operations that XLA counts, with what it computes more than once, grow with the depth and not with its square."""
    x, kernel = jnp.zeros((64, 4)), jnp.zeros((4, 4))

    def operations(depth, relu):
        def chain(x):
            for _ in range(depth):
                x = relu(x + x @ kernel)
            return x

        return jax.jit(chain).lower(x).compile().cost_analysis()["flops"]

    assert operations(32, shared_relu) < 2.2 * operations(16, shared_relu)
    assert operations(32, nn.relu) > 2.5 * operations(16, nn.relu)  # or `shared_relu` is no longer needed
