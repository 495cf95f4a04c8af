"""ResNet-50, -101 and -152 (He et al., CVPR 2016) as a trunk: feature maps at 1/4, 1/8, 1/16 and 1/32."""

from collections.abc import Callable

import jax
from flax import linen as nn

from refinenet_jax.models import layers

STAGE_SIZES = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a shortcut.

    The stride is on the 3x3 convolution, as in torchvision, or on the first 1x1, as in the original Caffe version.
    """

    features: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    stride_on: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = self.features * EXPANSION
        stride1, stride2 = (1, self.stride) if self.stride_on == "3x3" else (self.stride, 1)
        y = nn.relu(self.norm(name="bn1")(self.conv(self.features, 1, stride1, name="conv1")(x)))
        y = nn.relu(self.norm(name="bn2")(self.conv(self.features, 3, stride2, name="conv2")(y)))
        # A scale of zero makes a new block the identity; without it, a deep trunk with frozen statistics overflows.
        y = self.norm(name="bn3", scale_init=nn.initializers.zeros)(self.conv(width, 1, name="conv3")(y))
        if x.shape[-1] != width or self.stride > 1:
            x = self.norm(name="bn_shortcut")(self.conv(width, 1, self.stride, name="conv_shortcut")(x))
        return layers.shared_relu(x + y)


class ResNet(nn.Module):
    """ResNet trunk: [b, h, w, 3] -> {"stage1": [b, h/4, w/4, 256], ..., "stage4": [b, h/32, w/32, 2048]}, sizes rounded up."""

    depth: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    stride_on: str = "3x3"
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = nn.relu(self.norm(name="bn1")(self.conv(64, 7, 2, name="conv1")(x)))
        x = layers.max_pool_3x3_stride_2(x)
        bottleneck = nn.remat(Bottleneck) if self.remat else Bottleneck
        features = {}
        for stage, blocks in enumerate(STAGE_SIZES[self.depth], start=1):
            for block in range(1, blocks + 1):
                stride = 2 if stage > 1 and block == 1 else 1
                name = f"stage{stage}_block{block}"
                x = bottleneck(32 * 2**stage, stride, self.conv, self.norm, self.stride_on, name=name)(x)
            features[f"stage{stage}"] = x
        return features
