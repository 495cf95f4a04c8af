"""Network operations in their plain forms, and convolutions as Flax modules.

A plain form is one XLA operation. It runs on GPUs and TPUs, is written by exports, and has forward-mode derivatives. Where a
CPU has a faster form (`cpu.py`), `jax.lax.platform_dependent` selects it for programs that are lowered for a CPU, on whatever
machine they are lowered. All arrays are [b, h, w, c].
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from refinenet_jax.models import cpu

Dtype = jnp.dtype | type


def plain_conv(x: jax.Array, kernel: jax.Array, stride: int = 1, groups: int = 1) -> jax.Array:
    """Convolves [b, h, w, i] with an odd square HWIO kernel, zero-padded by half its size, as one XLA operation."""
    edge = (kernel.shape[0] - 1) // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=((edge, edge), (edge, edge)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Convolves [b, h, w, i] with an odd square HWIO kernel, zero-padded by half its size, in the fastest form."""
    plain = partial(plain_conv, stride=stride)
    fast = cpu.fast_conv(x, kernel, stride)
    return jax.lax.platform_dependent(x, kernel, cpu=fast, default=plain) if fast else plain(x, kernel)


def depthwise_conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Applies a depthwise 3x3 convolution with padding 1; kernel [3, 3, 1, c]."""
    fast = partial(cpu.depthwise_conv, stride=stride)
    plain = partial(plain_conv, stride=stride, groups=x.shape[-1])
    return jax.lax.platform_dependent(x, kernel, cpu=fast, default=plain)


def plain_max_pool(x: jax.Array, size: int, stride: int = 1) -> jax.Array:
    """Computes the maximum over windows of `size` x `size` (odd), padded by half their size."""
    edge = (size - 1) // 2
    return nn.max_pool(x, (size, size), (stride, stride), ((edge, edge), (edge, edge)))


def max_pool_5x5(x: jax.Array) -> jax.Array:
    """Computes the 5x5 maximum with stride 1 and padding 2: the pooling of chained residual pooling."""
    return jax.lax.platform_dependent(x, cpu=cpu.max_pool_5x5, default=partial(plain_max_pool, size=5))


def max_pool_3x3_stride_2(x: jax.Array) -> jax.Array:
    """Computes the 3x3 maximum with stride 2 and padding 1: the pooling after the first convolution of a ResNet."""
    plain = partial(plain_max_pool, size=3, stride=2)
    return jax.lax.platform_dependent(x, cpu=cpu.max_pool_3x3_stride_2, default=plain)


def shared_relu(x: jax.Array) -> jax.Array:
    """Applies ReLU to a value that is used more than once, such as the sum of a branch and its shortcut."""
    return jax.lax.platform_dependent(x, cpu=cpu.shared_relu, default=nn.relu)


class PendingSum(NamedTuple):
    """The sum `x + conv(factor, kernel)`, not computed yet; x and factor are [b, h, w, c], kernel [1, 1, c, c].

    On a CPU the next convolution may save most of its work (see `cpu.conv_of_sum`); on other platforms it is computed
    directly.
    """

    x: jax.Array
    factor: jax.Array
    kernel: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x.shape


def conv_of_sum(pending: PendingSum, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Applies `conv` to a pending sum."""

    def plain(x: jax.Array, factor: jax.Array, first: jax.Array, kernel: jax.Array) -> jax.Array:
        return plain_conv(x + plain_conv(factor, first), kernel, stride)

    def conv_on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return (cpu.fast_conv(x, kernel, stride) or partial(plain_conv, stride=stride))(x, kernel)

    fast = partial(cpu.conv_of_sum, conv_on_cpu)
    return jax.lax.platform_dependent(*pending, kernel, cpu=fast, default=plain)


def _declare_kernel(module: nn.Module, shape: Sequence[int]) -> jax.Array:
    """Declares the parameter `kernel` (HWIO, stored in float32) and returns it in the compute dtype."""
    return module.param("kernel", module.kernel_init, tuple(shape), jnp.float32).astype(module.dtype)


class Conv(nn.Module):
    """Square convolution with symmetric zero padding `(size - 1) // 2`, as PyTorch and MatConvNet pad (not `SAME`)."""

    features: int
    size: int
    stride: int = 1
    use_bias: bool = False
    dtype: Dtype = jnp.float32
    kernel_init: Callable[..., jax.Array] = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: jax.Array | PendingSum, added_to: jax.Array | None = None) -> jax.Array | PendingSum:
        """Convolves `x`; with `added_to` (for 1x1 without stride and bias), returns the `PendingSum` of both."""
        kernel = _declare_kernel(self, (self.size, self.size, x.shape[-1], self.features))
        x = jax.tree.map(lambda array: array.astype(self.dtype), x)
        if added_to is not None:
            assert (self.size, self.stride, self.use_bias) == (1, 1, False), "added_to needs a plain 1x1 convolution"
            return PendingSum(added_to.astype(self.dtype), x, kernel)
        y = (conv_of_sum if isinstance(x, PendingSum) else conv)(x, kernel, self.stride)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
        return y


class DepthwiseConv(nn.Module):
    """Depthwise 3x3 convolution without bias, with padding 1; kernel [3, 3, 1, c]."""

    stride: int = 1
    dtype: Dtype = jnp.float32
    kernel_init: Callable[..., jax.Array] = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = _declare_kernel(self, (3, 3, 1, x.shape[-1]))
        return depthwise_conv(x.astype(self.dtype), kernel, self.stride)
