"""Each form for a CPU equals the plain one, gradients included."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from plain_forms import SIZES, array, assert_same

from refinenet_jax.models import cpu
from refinenet_jax.models.layers import plain_conv, plain_max_pool

plain_pool = partial(plain_max_pool, size=5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_conv1x1(size, stride):
    forms = (partial(form, stride=stride) for form in (cpu.conv1x1, plain_conv))
    assert_same(*forms, array(2, *size, 5), array(1, 1, 5, 7))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_depthwise_conv(size, stride):
    x, kernel, plain = array(2, *size, 6), array(3, 3, 1, 6), partial(plain_conv, stride=stride, groups=6)
    assert_same(lambda x, k: cpu.depthwise_conv(x, k, stride), plain, x, kernel)
    assert_same(partial(cpu.sum_of_shifted_products, stride=stride), plain, x, kernel)


@pytest.mark.parametrize("size", SIZES)
def test_conv3x3_to_few_channels(size):
    assert_same(cpu.conv3x3_to_few, plain_conv, array(2, *size, 24) / 10, array(3, 3, 24, 2) / 10)


@pytest.mark.parametrize("size", SIZES)
def test_max_pool_5x5(size):
    assert_same(cpu.max_pool_5x5, plain_pool, array(2, *size, 3))


@pytest.mark.parametrize("size", SIZES)
def test_max_pool_3x3_stride_2(size):
    assert_same(cpu.max_pool_3x3_stride_2, partial(plain_max_pool, size=3, stride=2), array(2, *size, 3))


@pytest.mark.parametrize("examples", [1, 2])  # the loop over one is unrolled, and compiled otherwise
def test_of_tied_maxima_the_first_takes_the_gradient(examples):
    x, weights = jnp.round(2 * array(examples, 12, 9, 4)), array(examples, 12, 9, 4)
    forms = (cpu.max_pool_5x5, plain_pool)
    ours, theirs = (jax.jit(jax.grad(lambda x, f=f: (f(x) * weights).sum()))(x) for f in forms)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_shared_relu_is_relu():
    x = jnp.round(array(4, 6, 5, 3))  # with zeros, whose gradient is 0
    assert (x == 0).any()
    assert_same(cpu.shared_relu, nn.relu, x)
    assert np.isnan(cpu.shared_relu(jnp.nan))
    assert_same(cpu.shared_relu, nn.relu, x.astype(jnp.bfloat16))


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

    assert operations(32, cpu.shared_relu) < 2.2 * operations(16, cpu.shared_relu)
    assert operations(32, nn.relu) > 2.5 * operations(16, nn.relu)  # or `shared_relu` is no longer needed


def test_the_form_of_a_convolution_follows_from_its_shapes():
    x, kernel = array(1, 24, 24, 32), array(3, 3, 32, 32)
    assert cpu.fast_conv(x, kernel, 1) is cpu.winograd.conv3x3
    assert cpu.fast_conv(x, kernel[..., :2], 1) is cpu.conv3x3_to_few
    assert cpu.fast_conv(x, kernel[:1, :1], 2).func is cpu.conv1x1
    for other, by, stride in (
        (x, kernel, 2),
        (x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16), 1),
        (x[:, :8], kernel, 1),  # too few tiles
        (x[..., :3], kernel[:, :, :3], 1),
        (x, array(7, 7, 32, 32), 1),
    ):
        assert cpu.fast_conv(other, by, stride) is None
