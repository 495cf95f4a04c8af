"""MobileNet-v2 (Sandler et al., CVPR 2018) as a trunk."""

from collections.abc import Callable

import jax
from flax import linen as nn

from refinenet_jax.models import layers

# (expansion, features, blocks, stride) of the paper's table 2; stage 1 is the first convolution
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3 and linear 1x1 projection, with a shortcut if the shape does not change.

    The expansion exists also for factor 1, as in the published light-weight RefineNet (torchvision omits it).
    """

    features: int
    expansion: int
    stride: int
    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.expansion * x.shape[-1], 1, name="expand")(x)
        y = nn.relu6(self.norm(name="bn_expand")(y))
        y = layers.DepthwiseConv(self.stride, y.dtype, name="depthwise")(y)
        y = nn.relu6(self.norm(name="bn_depthwise")(y))
        y = self.norm(name="bn_project")(self.conv(self.features, 1, name="project")(y))
        return x + y if x.shape == y.shape else y


class MobileNetV2(nn.Module):
    """MobileNet-v2 trunk that maps [b, h, w, 3] to the outputs of its stages.

    The outputs are "stage3" [b, h/4, w/4, 24], "stage4" (1/8, 32 channels), "stage5" (1/16, 64), "stage6" (1/16, 96), "stage7"
    (1/32, 160) and "stage8" (1/32, 320), with sizes rounded up.
    """

    conv: Callable[..., nn.Module]
    norm: Callable[..., nn.Module]
    remat: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = nn.relu6(self.norm(name="bn1")(self.conv(32, 3, 2, name="conv1")(x)))
        inverted_residual = nn.remat(InvertedResidual) if self.remat else InvertedResidual
        features = {}
        for stage, (expansion, width, blocks, first_stride) in enumerate(STAGES, start=2):
            for block in range(1, blocks + 1):
                stride = first_stride if block == 1 else 1
                name = f"stage{stage}_block{block}"
                x = inverted_residual(width, expansion, stride, self.conv, self.norm, name=name)(x)
            features[f"stage{stage}"] = x
        del features["stage2"]  # at 1/2; not used by the cascade
        return features
