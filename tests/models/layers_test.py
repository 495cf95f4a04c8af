"""Each fast layer equals the plain form of its operation, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from refinenet_jax.models import layers

SIZES = ((1, 1), (2, 3), (5, 4), (12, 17), (25, 33))


def array(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).standard_normal(shape), jnp.float32)


def assert_same(fast, plain, *inputs: jax.Array) -> None:
    """Outputs and the gradients with respect to all inputs agree, under a random cotangent."""
    with jax.default_matmul_precision("highest"):
        y, pull_fast = jax.vjp(fast, *inputs)
        z, pull_plain = jax.vjp(plain, *inputs)
        assert y.shape == z.shape
        np.testing.assert_allclose(y, z, atol=2e-5)
        cotangent = array(*y.shape)[..., ::-1]
        for g, h in zip(pull_fast(cotangent), pull_plain(cotangent), strict=True):
            np.testing.assert_allclose(g, h, atol=2e-4)


@pytest.mark.parametrize("size", SIZES)
def test_max_pool_5x5(size):
    def plain(x):
        return nn.max_pool(x, (5, 5), strides=(1, 1), padding=((2, 2), (2, 2)))

    assert_same(layers.max_pool_5x5, plain, array(2, *size, 3))


@pytest.mark.parametrize("size", SIZES)
def test_max_pool_3x3_stride_2(size):
    def plain(x):
        return nn.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))

    assert_same(layers.max_pool_3x3_stride_2, plain, array(2, *size, 3))


@pytest.mark.parametrize("examples", [1, 2])  # one is not looped over, and compiled otherwise
def test_of_tied_maxima_the_first_takes_the_gradient(examples):
    x, weights = jnp.round(2 * array(examples, 12, 9, 4)), array(examples, 12, 9, 4)

    def plain(x):
        return nn.max_pool(x, (5, 5), strides=(1, 1), padding=((2, 2), (2, 2)))

    ours, theirs = (jax.jit(jax.grad(lambda x, f=f: (f(x) * weights).sum()))(x) for f in (layers.max_pool_5x5, plain))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_conv1x1(size, stride):
    def plain(x, kernel):
        return layers.conv(x, kernel, stride)

    assert_same(lambda x, k: layers.conv1x1(x, k, stride), plain, array(2, *size, 5), array(1, 1, 5, 7))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_depthwise_conv(size, stride):
    def plain(x, kernel):
        return layers.conv(x, kernel, stride, groups=6)

    assert_same(lambda x, k: layers.depthwise_conv(x, k, stride), plain, array(2, *size, 6), array(3, 3, 1, 6))


@pytest.mark.parametrize("target", [(1, 1), (4, 9), (25, 33), (7, 50)])
@pytest.mark.parametrize("size", SIZES)
def test_resize_align_corners(size, target):
    def position(n, m):  # straight from the definition: output i lies at i * (n - 1) / (m - 1)
        return jnp.arange(m) * (n - 1) / (m - 1) if m > 1 else jnp.zeros(1)

    def plain(x):
        rows, columns = (position(n, m) for n, m in zip(size, target, strict=True))
        grid = jnp.meshgrid(rows, columns, indexing="ij")
        sample = jax.vmap(lambda plane: jax.scipy.ndimage.map_coordinates(plane, grid, order=1, mode="nearest"))
        return jnp.moveaxis(jax.vmap(sample)(jnp.moveaxis(x, -1, 1)), 1, -1)

    assert_same(lambda x: layers.resize_align_corners(x, target), plain, array(2, *size, 3))


def test_nearest_labels_takes_the_pixel_at_the_centre():
    mask = jnp.arange(64, dtype=jnp.uint8).reshape(1, 8, 8)
    np.testing.assert_array_equal(layers.nearest_labels(mask, (2, 2))[0], [[18, 22], [50, 54]])
    np.testing.assert_array_equal(layers.nearest_labels(mask, (8, 8)), mask)
    assert set(np.unique(layers.nearest_labels(jnp.asarray([[[0, 255]]], jnp.uint8), (3, 7)))) == {0, 255}


@pytest.mark.parametrize("size", SIZES)
def test_conv3x3_to_few_channels(size):
    assert_same(layers.conv3x3, layers.conv, array(2, *size, 24) / 10, array(3, 3, 24, 2) / 10)
