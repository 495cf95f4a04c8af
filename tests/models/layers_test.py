"""The convolution modules and the pending sum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_forms import array, assert_same

from refinenet_jax.models import cpu
from refinenet_jax.models.layers import Conv, PendingSum, plain_conv


@pytest.mark.parametrize(("features", "size"), [(2, 3), (9, 3), (40, 1)])  # the first alone is to few of 24 channels
def test_convolution_of_a_pending_sum(features, size):
    conv = Conv(features, size, use_bias=True)
    x, factor = array(2, 12, 9, 24), array(2, 12, 9, 24)[:, ::-1]
    first, kernel, bias = array(1, 1, 24, 24) / 5, array(size, size, 24, features) / 5, array(features)

    def of_pending(*sum_and_weights):
        *pending, kernel, bias = sum_and_weights
        return conv.apply({"params": {"kernel": kernel, "bias": bias}}, PendingSum(*pending))

    def of_computed(x, factor, first, kernel, bias):
        return plain_conv(x + factor @ first[0, 0], kernel) + bias

    assert cpu.product_pays(x, kernel) == (features == 2)
    assert_same(of_pending, of_computed, x, factor, first, kernel, bias)


def test_of_few_places_the_kernels_are_not_multiplied():
    """As in a light ResNet's refine3, where the coarse path has 512 channels of 13x13 places."""
    assert not cpu.product_pays(jnp.zeros((1, 13, 13, 512)), jnp.zeros((1, 1, 512, 256)))


def test_what_a_1x1_convolution_is_added_to_waits_for_it():
    x, sum_so_far = array(1, 4, 4, 8), array(1, 4, 4, 8)[..., ::-1]
    conv = Conv(8, 1)
    variables = conv.init(jax.random.key(0), x)
    pending = conv.apply(variables, x, added_to=sum_so_far)
    assert isinstance(pending, PendingSum)
    assert pending.shape == x.shape
    total = pending.x + plain_conv(pending.factor, pending.kernel)
    np.testing.assert_allclose(total, sum_so_far + conv.apply(variables, x), atol=1e-6)
