"""Minimal filtering is the convolution: outputs, gradients, odd sizes, and no less exact than the direct sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_forms import assert_same

from refinenet_jax.models import winograd
from refinenet_jax.models.layers import plain_conv


def _arrays(size, inputs, outputs, batch=2):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, *size, inputs))
    kernel = rng.standard_normal((3, 3, inputs, outputs)) * (2 / 9 / inputs) ** 0.5
    return jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32)


@pytest.mark.parametrize(
    ("batch", "size"), [(1, (1, 1)), (3, (2, 2)), (1, (3, 2)), (3, (4, 7)), (3, (13, 25)), (1, (13, 25))]
)
def test_outputs_and_gradients_are_those_of_the_convolution(batch, size):
    assert_same(winograd.conv3x3, plain_conv, *_arrays(size, 5, 7, batch), tight=True)


def test_it_is_about_as_exact_as_the_direct_sum():
    """Against float64: the largest error is below four of the direct form's, and 1e-5 of the outputs' spread."""
    x, kernel = _arrays((24, 26), 256, 64, 1)
    with jax.enable_x64(True):
        exact = np.asarray(plain_conv(jnp.asarray(x, jnp.float64), jnp.asarray(kernel, jnp.float64)))
    with jax.default_matmul_precision("highest"):
        ours, direct = (np.abs(np.asarray(f(x, kernel)) - exact).max() for f in (winograd.conv3x3, plain_conv))
    assert ours < 4 * direct
    assert ours < 1e-5 * exact.std()
