"""A plain program computes the same as the network, with one operator for each operation."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from refinenet_jax.inference.export.plain import plain
from refinenet_jax.models import layers, resize


def kinds(program: core.ClosedJaxpr) -> Counter:
    return Counter(equation.primitive.name for equation in program.jaxpr.eqns)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def assert_same(function, x, **wanted):
    """The plain form has these operators and no others, and gives the same."""
    program = plain(lambda x: [function(x)], jax.ShapeDtypeStruct(x.shape, x.dtype))
    assert kinds(program) == wanted
    (result,) = core.jaxpr_as_fun(program)(x)
    np.testing.assert_allclose(result, function(x), rtol=1e-5, atol=1e-5)
    return program


@pytest.mark.parametrize("batch", [1, 3])
def test_running_maxima_become_a_pool(rng, batch):
    x = rng.normal(size=(batch, 7, 6, 4)).astype(np.float32)
    assert_same(layers.max_pool_5x5, x, reduce_window_max=1)


@pytest.mark.parametrize("size", [(6, 7), (1, 7), (7, 1), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
def test_shifted_products_become_a_convolution(rng, size, stride):
    kernel = jnp.asarray(rng.normal(size=(3, 3, 1, 4)), jnp.float32)
    x = rng.normal(size=(2, *size, 4)).astype(np.float32)
    assert_same(lambda x: layers.depthwise_conv(x, kernel, stride), x, conv_general_dilated=1)


def test_shared_relu_becomes_a_maximum(rng):
    assert_same(layers.shared_relu, rng.normal(size=(1, 3, 4, 2)).astype(np.float32), max=1)


def test_1x1_convolutions_are_convolutions_and_resizes_products(rng):
    kernel = jnp.asarray(rng.normal(size=(1, 1, 4, 5)), jnp.float32)
    x = rng.normal(size=(1, 6, 7, 4)).astype(np.float32)
    assert_same(lambda x: layers.conv(x, kernel), x, conv_general_dilated=1)
    assert_same(lambda x: layers.conv(x, kernel, 2), x, conv_general_dilated=1)
    program = plain(lambda x: [resize.bicubic(x, (9, 9))], jax.ShapeDtypeStruct(x.shape, x.dtype))
    assert kinds(program)["dot_general"] == 2


def test_batch_norm_is_folded_into_the_convolution(rng):
    kernel, mean, scale, shift = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((3, 3, 4, 5), 5, 5, 5))

    def function(x):
        return jax.nn.relu(((layers.conv(x, kernel) - mean) * scale) + shift)

    x = rng.normal(size=(2, 6, 7, 4)).astype(np.float32)
    program = assert_same(function, x, conv_general_dilated=1, add=1, max=1)
    assert sorted(c.shape for c in program.consts) == [(1, 1, 1, 5), (3, 3, 4, 5)]


def test_a_convolution_that_is_read_twice_is_unchanged(rng):
    kernel, scale = jnp.asarray(rng.normal(size=(3, 3, 4, 4)), jnp.float32), jnp.arange(1.0, 5.0)

    def function(x):
        y = layers.conv(x, kernel)
        return y * scale + y

    assert_same(function, rng.normal(size=(1, 6, 7, 4)).astype(np.float32), conv_general_dilated=2, add=1)
