"""The running maxima equal the pools, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from plain_forms import SIZES, array, assert_same

from refinenet_jax.models import pooling


@pytest.mark.parametrize("size", SIZES)
def test_max_pool_5x5(size):
    def plain(x):
        return nn.max_pool(x, (5, 5), strides=(1, 1), padding=((2, 2), (2, 2)))

    assert_same(pooling.max_pool_5x5, plain, array(2, *size, 3))


@pytest.mark.parametrize("size", SIZES)
def test_max_pool_3x3_stride_2(size):
    def plain(x):
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))

    assert_same(pooling.max_pool_3x3_stride_2, plain, array(2, *size, 3))


@pytest.mark.parametrize("examples", [1, 2])  # the loop over one is unrolled, and compiled otherwise
def test_of_tied_maxima_the_first_takes_the_gradient(examples):
    x, weights = jnp.round(2 * array(examples, 12, 9, 4)), array(examples, 12, 9, 4)

    def plain(x):
        return nn.max_pool(x, (5, 5), strides=(1, 1), padding=((2, 2), (2, 2)))

    ours, theirs = (jax.jit(jax.grad(lambda x, f=f: (f(x) * weights).sum()))(x) for f in (pooling.max_pool_5x5, plain))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
