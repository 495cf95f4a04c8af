"""The operations of the networks in their plain forms, and convolutions as Flax modules.

A plain form is one operation of XLA: what a GPU or a TPU runs, what an export to another runtime writes, and what can be
differentiated in forward mode. Where a CPU has a faster form (`cpu.py`), `jax.lax.platform_dependent` joins the two, so that a
program gets the forms of the platform that it is lowered for, whatever machine lowers it. All arrays are [b, h, w, c].
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from refinenet_jax.models import cpu

Dtype = jnp.dtype | type

# The faster form of a depthwise convolution on an NVIDIA GPU: "grouped" or "shifted" (nine products of shifted arrays).
# `benchmarks/gpu.sh` measures both (its piece `operations`).
DEPTHWISE_ON_CUDA = "grouped"


def plain_conv(x: jax.Array, kernel: jax.Array, stride: int = 1, groups: int = 1) -> jax.Array:
    """Convolution of [b, h, w, i] with an odd square HWIO kernel, zero-padded by half its size."""
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
    """Convolution of [b, h, w, i] with an odd square HWIO kernel, zero-padded by half its size."""
    plain = partial(plain_conv, stride=stride)
    fast = cpu.fast_conv(x, kernel, stride)
    return jax.lax.platform_dependent(x, kernel, cpu=fast, default=plain) if fast else plain(x, kernel)


def depthwise_conv(x: jax.Array, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """Depthwise 3x3 convolution, padding 1; kernel [3, 3, 1, c]."""
    forms = {
        "grouped": partial(plain_conv, stride=stride, groups=x.shape[-1]),
        "shifted": partial(cpu.sum_of_shifted_products, stride=stride),
    }
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=partial(cpu.depthwise_conv, stride=stride),
        cuda=forms[DEPTHWISE_ON_CUDA],
        default=forms["grouped"],
    )


def plain_max_pool(x: jax.Array, size: int, stride: int = 1) -> jax.Array:
    """Maximum over windows of `size` x `size`, an odd number, padded by half of it."""
    edge = (size - 1) // 2
    return nn.max_pool(x, (size, size), (stride, stride), ((edge, edge), (edge, edge)))


def max_pool_5x5(x: jax.Array) -> jax.Array:
    """5x5 maximum at stride 1, padding 2: the pool of chained residual pooling."""
    return jax.lax.platform_dependent(x, cpu=cpu.max_pool_5x5, default=partial(plain_max_pool, size=5))


def max_pool_3x3_stride_2(x: jax.Array) -> jax.Array:
    """3x3 maximum at stride 2, padding 1: the pool after the first convolution of a ResNet."""
    plain = partial(plain_max_pool, size=3, stride=2)
    return jax.lax.platform_dependent(x, cpu=cpu.max_pool_3x3_stride_2, default=plain)


def shared_relu(x: jax.Array) -> jax.Array:
    """ReLU whose output is used more than once, such as that of a sum with a shortcut."""
    return jax.lax.platform_dependent(x, cpu=cpu.shared_relu, default=nn.relu)


class PendingSum(NamedTuple):
    """`x + conv(factor, kernel)` before it is computed; x and factor [b, h, w, c], kernel [1, 1, c, c].

    On a CPU the next convolution may save most of that work (see `cpu.conv_of_sum`); elsewhere it is computed as it stands.
    """

    x: jax.Array
    factor: jax.Array
    kernel: jax.Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.x.shape


def conv_of_sum(pending: PendingSum, kernel: jax.Array, stride: int = 1) -> jax.Array:
    """`conv` of a pending sum."""

    def plain(x: jax.Array, factor: jax.Array, first: jax.Array, kernel: jax.Array) -> jax.Array:
        return plain_conv(x + plain_conv(factor, first), kernel, stride)

    def conv_on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return (cpu.fast_conv(x, kernel, stride) or partial(plain_conv, stride=stride))(x, kernel)

    fast = partial(cpu.conv_of_sum, conv_on_cpu)
    return jax.lax.platform_dependent(*pending, kernel, cpu=fast, default=plain)


def _declare_kernel(module: nn.Module, shape: Sequence[int]) -> jax.Array:
    """The parameter `kernel` (HWIO), stored in float32, in the compute dtype."""
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
        """The convolution of `x`; or, for a 1x1 kernel without stride or bias, the pending sum of `added_to` and it."""
        kernel = _declare_kernel(self, (self.size, self.size, x.shape[-1], self.features))
        x = jax.tree.map(lambda array: array.astype(self.dtype), x)
        if added_to is not None:
            assert (self.size, self.stride, self.use_bias) == (1, 1, False), "only such a convolution can wait"
            return PendingSum(added_to.astype(self.dtype), x, kernel)
        y = (conv_of_sum if isinstance(x, PendingSum) else conv)(x, kernel, self.stride)
        if self.use_bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32).astype(self.dtype)
        return y


class DepthwiseConv(nn.Module):
    """Depthwise 3x3 convolution without bias, padding 1; kernel [3, 3, 1, c]."""

    stride: int = 1
    dtype: Dtype = jnp.float32
    kernel_init: Callable[..., jax.Array] = nn.initializers.he_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = _declare_kernel(self, (3, 3, 1, x.shape[-1]))
        return depthwise_conv(x.astype(self.dtype), kernel, self.stride)
