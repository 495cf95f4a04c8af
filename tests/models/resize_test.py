"""Resizes follow their definitions, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_forms import SIZES, array, assert_same

from refinenet_jax.models import resize


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

    x = array(2, *size, 3)
    assert_same(lambda x: resize.align_corners(x, target), plain, x)
    sizes = zip(size, target, strict=True)
    matrices = [resize._align_corners_matrix(n, m) for n, m in sizes]
    assert_same(lambda x: resize._resize(x, matrices), plain, x)  # as on a GPU or a TPU


def test_gradient_of_a_resize_that_was_compiled_before():
    x = array(1, 4, 5, 2)

    def total(x):
        return (resize.align_corners(x, (7, 9)) ** 2).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(jax.jit(total)))(x), jax.grad(total)(x), rtol=1e-5)


def test_nearest_labels_takes_the_pixel_at_the_center():
    mask = jnp.arange(64, dtype=jnp.uint8).reshape(1, 8, 8)
    np.testing.assert_array_equal(resize.nearest_labels(mask, (2, 2))[0], [[18, 22], [50, 54]])
    np.testing.assert_array_equal(resize.nearest_labels(mask, (8, 8)), mask)
    assert set(np.unique(resize.nearest_labels(jnp.asarray([[[0, 255]]], jnp.uint8), (3, 7)))) == {0, 255}
