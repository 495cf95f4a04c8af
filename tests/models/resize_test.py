"""Resizes follow their definitions, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_forms import array, assert_same

from refinenet_jax.models import resize

PAIRS = [(1, 1), (1, 3), (2, 1), (2, 5), (5, 2), (12, 25), (25, 12), (17, 33), (33, 33)]


def _matrix(resize_column, n):
    """A linear resize of one column as its weights [m, n]."""
    return np.stack([resize_column(column) for column in np.eye(n)], 1)


@pytest.mark.parametrize(("n", "m"), PAIRS)
def test_align_corners_follows_its_definition(n, m):
    """Output i lies at i * (n - 1) / (m - 1)."""
    position = np.arange(m) * (n - 1) / (m - 1) if m > 1 else np.zeros(1)
    expected = _matrix(lambda column: np.interp(position, np.arange(n), column), n)
    np.testing.assert_allclose(resize._align_corners_matrix(n, m), expected, atol=2e-6)


@pytest.mark.parametrize(
    ("size", "target"), [((1, 1), (1, 1)), ((2, 3), (4, 9)), ((12, 17), (25, 33)), ((5, 40), (7, 9))]
)
def test_align_corners_on_a_cpu_and_elsewhere(size, target):
    matrices = [resize._align_corners_matrix(n, m) for n, m in zip(size, target, strict=True)]
    x = array(2, *size, 3)
    expected = np.einsum("Hh,bhwc,Ww->bHWc", matrices[0], x, matrices[1])
    np.testing.assert_allclose(resize.align_corners(x, target), expected, atol=2e-5)
    assert_same(lambda x: resize.align_corners(x, target), lambda x: resize._resize(x, matrices), x)


def _imresize(column, m):
    """MATLAB's imresize along one axis, transcribed from its `contributions` in double precision, 1-based."""
    n = len(column)
    scale = m / n
    width = 4.0 if scale >= 1 else 4.0 / scale

    def cubic(x):
        x = abs(x) if scale >= 1 else abs(scale * x)
        value = 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0
        return value if scale >= 1 else scale * value

    out = []
    for x in range(1, m + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        left = int(np.floor(u - width / 2))
        indices = [left + k for k in range(int(np.ceil(width)) + 2)]
        w = np.array([cubic(u - i) for i in indices])
        w /= w.sum()
        around = [*range(1, n + 1), *range(n, 0, -1)]  # mirrored, edge repeated
        out.append(sum(a * column[around[(i - 1) % (2 * n)] - 1] for a, i in zip(w, indices, strict=True)))
    return np.array(out)


@pytest.mark.parametrize(("n", "m"), [*PAIRS, (13, 25), (30, 60), (45, 80), (9, 2)])
def test_bicubic_is_matlabs_to_the_borders(n, m):
    np.testing.assert_allclose(resize._bicubic_matrix(n, m), _matrix(lambda column: _imresize(column, m), n), atol=2e-6)


def test_bicubic_resizes_rows_and_columns():
    x, target = array(1, 5, 4, 2), (9, 2)
    rows, columns = (resize._bicubic_matrix(n, m) for n, m in zip((5, 4), target, strict=True))
    expected = np.einsum("Hh,bhwc,Ww->bHWc", rows, x, columns)
    np.testing.assert_allclose(resize.bicubic(x, target), expected, atol=2e-6)


def test_gradient_of_a_compiled_resize():
    x = array(1, 4, 5, 2)

    def total(x):
        return (resize.align_corners(x, (7, 9)) ** 2).sum()

    np.testing.assert_allclose(jax.jit(jax.grad(jax.jit(total)))(x), jax.grad(total)(x), rtol=1e-5)


def test_nearest_labels_takes_the_pixel_at_the_center():
    mask = jnp.arange(64, dtype=jnp.uint8).reshape(1, 8, 8)
    np.testing.assert_array_equal(resize.nearest_labels(mask, (2, 2))[0], [[18, 22], [50, 54]])
    np.testing.assert_array_equal(resize.nearest_labels(mask, (8, 8)), mask)
    assert set(np.unique(resize.nearest_labels(jnp.asarray([[[0, 255]]], jnp.uint8), (3, 7)))) == {0, 255}
