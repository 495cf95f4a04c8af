"""Each fast convolution equals the plain one, gradients included."""

import pytest
from plain_forms import SIZES, array, assert_same

from refinenet_jax.models import convolution


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_conv1x1(size, stride):
    def plain(x, kernel):
        return convolution.conv(x, kernel, stride)

    assert_same(lambda x, k: convolution.conv1x1(x, k, stride), plain, array(2, *size, 5), array(1, 1, 5, 7))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", SIZES)
def test_depthwise_conv(size, stride):
    def plain(x, kernel):
        return convolution.conv(x, kernel, stride, groups=6)

    assert_same(lambda x, k: convolution.depthwise_conv(x, k, stride), plain, array(2, *size, 6), array(3, 3, 1, 6))


@pytest.mark.parametrize("size", SIZES)
def test_conv3x3_to_few_channels(size):
    assert_same(convolution.conv3x3, convolution.conv, array(2, *size, 24) / 10, array(3, 3, 24, 2) / 10)
