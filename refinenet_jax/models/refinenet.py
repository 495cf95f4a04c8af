"""RefineNet (Lin et al., CVPR 2017) and its light-weight form (Nekrasov et al., BMVC 2018): trunk, cascade, classifier.

Structure and numbers are those of the published PyTorch networks (DrSleep/refinenet-pytorch, `models/resnet.py`;
DrSleep/light-weight-refinenet, `models/resnet.py` and `models/mobilenet.py`) and, with other options, of the authors' MATLAB
networks (guosheng/refinenet). The tests compare with both.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from refinenet_jax.models import layers
from refinenet_jax.models.mobilenet import MobileNetV2
from refinenet_jax.models.resize import align_corners, bicubic
from refinenet_jax.models.resnet import ResNet


class ResidualConvUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))), without batch norm (CVPR 2017, section 3.2)."""

    conv: Callable[..., nn.Module]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        y = self.conv(width, 3, use_bias=True, name="conv1")(nn.relu(x))
        return x + self.conv(width, 3, name="conv2")(nn.relu(y))


class ChainedResidualPooling(nn.Module):
    """Chain of 5x5 pools, each with a convolution, whose results are all added to the input (CVPR 2017, section 3.2).

    The input is expected after its ReLU. In each stage the pool comes first ('pool_conv', as in the paper) or the convolution
    ('conv_pool', the "improved" form in the authors' later code); the weights have the same shapes. If the last operation is a
    1x1 convolution, it is left to the next layer as a `PendingSum`.
    """

    conv: Callable[..., nn.Module]
    kernel: int
    order: str = "pool_conv"
    stages: int = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array | layers.PendingSum:
        top = x
        for stage in range(1, self.stages + 1):
            conv = self.conv(x.shape[-1], self.kernel, name=f"conv{stage}")
            if self.order == "conv_pool":
                top = layers.max_pool_5x5(conv(top))
            elif stage == self.stages and self.kernel == 1:
                return conv(layers.max_pool_5x5(top), added_to=x)
            else:
                top = conv(layers.max_pool_5x5(top))
            x = x + top
        return x


class RefineBlock(nn.Module):
    """One block of the cascade: adapts the trunk's features, fuses them with the coarser path, pools and refines.

    The light-weight form has 1x1 kernels and no residual conv units; its output is a `PendingSum`.
    """

    features: int
    light: bool
    conv: Callable[..., nn.Module]
    pool: Callable[..., nn.Module]
    resize: Callable[..., jax.Array]

    @nn.compact
    def __call__(self, fine: jax.Array, coarse: jax.Array | layers.PendingSum | None) -> jax.Array | layers.PendingSum:
        kernel = 1 if self.light else 3
        x = self.conv(self.features, kernel, name="adapt")(fine)
        if not self.light:
            for unit in (1, 2):
                x = ResidualConvUnit(self.conv, name=f"adapt_rcu{unit}")(x)
        if coarse is not None:  # multi-resolution fusion
            x = self.conv(self.features, kernel, name="fuse_fine")(x)
            coarse = self.conv(self.features, kernel, name="fuse_coarse")(coarse)
            x = x + self.resize(coarse, x.shape[1:3])
        x = self.pool(self.conv, kernel, name="pool")(nn.relu(x))
        if not self.light:
            for unit in (1, 2, 3):
                x = ResidualConvUnit(self.conv, name=f"output_rcu{unit}")(x)
        return x


class ResNetCascade(nn.Module):
    """Maps stages 4 to 1 of a ResNet to [b, h/4, w/4, 256]; its blocks are refine4 ... refine1, as numbered in the paper."""

    block: Callable[..., nn.Module]
    light: bool
    dropout: float

    @nn.compact
    def __call__(self, features: dict[str, jax.Array], train: bool) -> jax.Array | layers.PendingSum:
        x = None
        for stage in (4, 3, 2, 1):
            fine = features[f"stage{stage}"]
            if stage >= 3:
                fine = nn.Dropout(self.dropout, deterministic=not train)(fine)
            x = self.block(512 if stage == 4 else 256, name=f"refine{stage}")(fine, x)
        return x if self.light else nn.Dropout(self.dropout, deterministic=not train)(x)


class MobileNetCascade(nn.Module):
    """Maps stages 8 to 3 of MobileNet-v2 to [b, h/4, w/4, 256]; stages of the same resolution are added."""

    conv: Callable[..., nn.Module]
    pool: Callable[..., nn.Module]
    resize: Callable[..., jax.Array]

    @nn.compact
    def __call__(self, features: dict[str, jax.Array], train: bool) -> jax.Array | layers.PendingSum:
        del train  # the published network has no dropout
        x = None
        for block, stages in ((4, (8, 7)), (3, (6, 5)), (2, (4,)), (1, (3,))):
            fine = sum(self.conv(256, 1, name=f"adapt_stage{s}")(features[f"stage{s}"]) for s in stages)
            if x is not None:
                x = self.conv(256, 1, name=f"fuse_coarse{block}")(x)
                fine = fine + self.resize(x, fine.shape[1:3])
            x = self.pool(self.conv, 1, name=f"pool{block}")(nn.relu6(fine))
        return x


class RefineNet(nn.Module):
    """The whole network; create it with `refinenet_jax.create_model`.

    Attributes:
      trunk_name: 'resnet50', 'resnet101', 'resnet152' or 'mobilenet_v2'.
      num_classes: number of output channels.
      light: whether the cascade is light-weight.
      batch_norm: source of the batch norm statistics in training. 'frozen' uses the stored ones (scale and shift are still
        trained), 'local' those of each device's examples, 'synchronized' those of the whole batch (under a mapped axis called
        'batch').
      dropout: dropout rate for the two deepest features (and before the classifier of the full network); training needs an rng
        'dropout'.
      dtype: dtype of the computation; parameters, statistics and logits are always float32.
      pool_order: order in a stage of the chained residual pooling, 'pool_conv' or 'conv_pool'.
      pool_stages: number of stages of the chained residual pooling.
      stride_on: convolution of a ResNet block that has the stride, '3x3' or '1x1'.
      resize: interpolation of the coarse path before fusion, 'bilinear' (aligned corners) or 'bicubic' (MATLAB's).
      normalization: normalization of the pixels, 'imagenet' or 'minus_128'; see `models.prepare`.
      remat: whether the blocks of the trunk and of a ResNet's cascade are recomputed for their gradients, which saves memory
        in training.
      input_scale: factor by which every image is enlarged before the network; see `models.prepare`.
      precision: precision of float32 products as in `jax.lax.Precision`: 'default', 'high' or 'highest'. By default a GPU
        multiplies in TF32 and a TPU in bfloat16 (unless `jax_default_matmul_precision` is set); a CPU always uses float32.
    """

    trunk_name: str
    num_classes: int
    light: bool
    batch_norm: str = "frozen"
    dropout: float = 0.5
    dtype: layers.Dtype = jnp.float32
    pool_order: str = "pool_conv"
    pool_stages: int = 4
    stride_on: str = "3x3"
    resize: str = "bilinear"
    normalization: str = "imagenet"
    input_scale: float = 1.0
    remat: bool = False
    precision: str = "default"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Returns the logits of normalized images.

        Args:
          x: float32 [b, h, w, 3], normalized, of any size.
          train: whether to apply dropout, and batch norm as set by `batch_norm`.

        Returns:
          float32 [b, ceil(h/4), ceil(w/4), num_classes].
        """
        conv = partial(layers.Conv, dtype=self.dtype)
        # The cascade is not normalized: with larger initial weights than the authors' 0.01 its sums start far too high.
        new_conv = partial(conv, kernel_init=nn.initializers.normal(0.01))
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train or self.batch_norm == "frozen",
            axis_name="batch" if train and self.batch_norm == "synchronized" else None,
            momentum=0.9,
            epsilon=1e-5,
            dtype=self.dtype,
        )
        pool = partial(ChainedResidualPooling, order=self.pool_order, stages=self.pool_stages)
        resize = {"bilinear": align_corners, "bicubic": bicubic}[self.resize]
        if self.trunk_name == "mobilenet_v2":
            trunk = MobileNetV2(conv, norm, self.remat, name="trunk")
            cascade = MobileNetCascade(new_conv, pool, resize, name="cascade")
        else:
            depth = int(self.trunk_name.removeprefix("resnet"))
            trunk = ResNet(depth, conv, norm, self.stride_on, self.remat, name="trunk")
            block = nn.remat(RefineBlock) if self.remat else RefineBlock
            block = partial(block, light=self.light, conv=new_conv, pool=pool, resize=resize)
            cascade = ResNetCascade(block, self.light, self.dropout, name="cascade")
        classifier = new_conv(self.num_classes, 3, use_bias=True, name="classifier")
        is_default = self.precision == "default"
        # All products traced here, and their gradients, have this precision.
        with nullcontext() if is_default else jax.default_matmul_precision(self.precision):
            return classifier(cascade(trunk(x.astype(self.dtype)), train)).astype(jnp.float32)
