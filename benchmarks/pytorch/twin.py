"""The same networks in PyTorch, for comparison, tested with the same golden values (`tests/models/golden_test.py`).

Modules have the names of the parameter tree, so that `load` fills a network from the variables of a model. Needs PyTorch,
which nothing else in this repository does: pip install -e .[bench]
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from refinenet_jax import models
from refinenet_jax.models.mobilenet import STAGES
from refinenet_jax.models.resnet import EXPANSION, STAGE_SIZES


class Trunk(nn.Module):
    """Blocks in the order of their stages; returns the features of each stage."""

    def __init__(self, stem: nn.Module, bn: nn.Module, blocks: Mapping[str, nn.Module], is_mobile: bool):
        super().__init__()
        self.conv1, self.bn1, self._is_mobile = stem, bn, is_mobile
        self._names = list(blocks)
        for name, block in blocks.items():
            self.add_module(name, block)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.bn1(self.conv1(x))
        x = F.relu6(x) if self._is_mobile else F.max_pool2d(F.relu(x), 3, 2, 1)
        features = {}
        for name in self._names:
            x = getattr(self, name)(x)
            features[name.split("_")[0]] = x
        return features


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, features: int, stride: int):
        super().__init__()
        width = EXPANSION * features
        self.conv1, self.bn1 = _conv(inputs, features, 1), nn.BatchNorm2d(features)
        self.conv2, self.bn2 = _conv(features, features, 3, stride), nn.BatchNorm2d(features)
        self.conv3, self.bn3 = _conv(features, width, 1), nn.BatchNorm2d(width)
        self.conv_shortcut = self.bn_shortcut = None
        if inputs != width or stride > 1:
            self.conv_shortcut, self.bn_shortcut = _conv(inputs, width, 1, stride), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(y)))))
        return F.relu(y + (x if self.conv_shortcut is None else self.bn_shortcut(self.conv_shortcut(x))))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, features: int, expansion: int, stride: int):
        super().__init__()
        width = expansion * inputs
        self.expand, self.bn_expand = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.depthwise = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
        self.bn_depthwise = nn.BatchNorm2d(width)
        self.project, self.bn_project = _conv(width, features, 1), nn.BatchNorm2d(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu6(self.bn_expand(self.expand(x)))
        y = self.bn_project(self.project(F.relu6(self.bn_depthwise(self.depthwise(y)))))
        return x + y if x.shape == y.shape else y


class ResidualConvUnit(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv1, self.conv2 = _conv(width, width, 3, bias=True), _conv(width, width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class ChainedResidualPooling(nn.Module):
    def __init__(self, width: int, kernel: int, stages: int = 4):
        super().__init__()
        self._stages = stages
        for stage in range(1, stages + 1):
            self.add_module(f"conv{stage}", _conv(width, width, kernel))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        top = x
        for stage in range(1, self._stages + 1):
            top = getattr(self, f"conv{stage}")(F.max_pool2d(top, 5, 1, 2))
            x = x + top
        return x


class RefineBlock(nn.Module):
    def __init__(self, inputs: int, coarse: int | None, width: int, light: bool):
        super().__init__()
        kernel = 1 if light else 3
        self.adapt = _conv(inputs, width, kernel)
        if coarse is not None:
            self.fuse_fine, self.fuse_coarse = _conv(width, width, kernel), _conv(coarse, width, kernel)
        self.adapt_units, self.output_units = ([], []) if light else ((1, 2), (1, 2, 3))
        for kind, units in (("adapt", self.adapt_units), ("output", self.output_units)):
            for unit in units:
                self.add_module(f"{kind}_rcu{unit}", ResidualConvUnit(width))
        self.pool = ChainedResidualPooling(width, kernel)

    def forward(self, fine: torch.Tensor, coarse: torch.Tensor | None) -> torch.Tensor:
        x = self.adapt(fine)
        for unit in self.adapt_units:
            x = getattr(self, f"adapt_rcu{unit}")(x)
        if coarse is not None:
            x = self.fuse_fine(x)
            x = x + _resize(self.fuse_coarse(coarse), x.shape[2:])
        x = self.pool(F.relu(x))
        for unit in self.output_units:
            x = getattr(self, f"output_rcu{unit}")(x)
        return x


class ResNetCascade(nn.Module):
    def __init__(self, light: bool, dropout: float):
        super().__init__()
        self._light, self._dropout = light, dropout
        self.refine4 = RefineBlock(2048, None, 512, light)
        for stage, coarse in ((3, 512), (2, 256), (1, 256)):
            self.add_module(f"refine{stage}", RefineBlock(128 * 2**stage, coarse, 256, light))

    def forward(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        x = None
        for stage in (4, 3, 2, 1):
            fine = features[f"stage{stage}"]
            if stage >= 3:
                fine = F.dropout(fine, self._dropout, self.training)
            x = getattr(self, f"refine{stage}")(fine, x)
        return x if self._light else F.dropout(x, self._dropout, self.training)


class MobileNetCascade(nn.Module):
    BLOCKS = ((4, (8, 7)), (3, (6, 5)), (2, (4,)), (1, (3,)))

    def __init__(self):
        super().__init__()
        widths = {stage: width for stage, (_, width, _, _) in enumerate(STAGES, start=2)}
        for block, stages in self.BLOCKS:
            for stage in stages:
                self.add_module(f"adapt_stage{stage}", _conv(widths[stage], 256, 1))
            if block != 4:
                self.add_module(f"fuse_coarse{block}", _conv(256, 256, 1))
            self.add_module(f"pool{block}", ChainedResidualPooling(256, 1))

    def forward(self, features: dict[str, torch.Tensor]) -> torch.Tensor:
        x = None
        for block, stages in self.BLOCKS:
            fine = sum(getattr(self, f"adapt_stage{stage}")(features[f"stage{stage}"]) for stage in stages)
            if x is not None:
                fine = fine + _resize(getattr(self, f"fuse_coarse{block}")(x), fine.shape[2:])
            x = getattr(self, f"pool{block}")(F.relu6(fine))
        return x


class Twin(nn.Module):
    """A network of `models.VARIANTS`: float32 [b, 3, h, w], normalized, -> logits [b, c, ceil(h/4), ceil(w/4)].

    Batch norm is frozen, as in the paper: `train()` does not change the statistics and enables dropout.
    """

    def __init__(self, variant: str, num_classes: int, dropout: float = 0.5):
        super().__init__()
        trunk, light = models.VARIANTS[variant]
        if trunk == "mobilenet_v2":
            self.trunk, self.cascade = _mobilenet(), MobileNetCascade()
        else:
            self.trunk, self.cascade = _resnet(int(trunk.removeprefix("resnet"))), ResNetCascade(light, dropout)
        self.classifier = _conv(256, num_classes, 3, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.cascade(self.trunk(x)))

    def train(self, mode: bool = True) -> "Twin":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


def load(twin: Twin, variables: Mapping[str, Any]) -> Twin:
    """Copies variables of a model to a PyTorch network; every entry must be present.

    Raises:
      RuntimeError: names or shapes do not match.
    """
    leaves = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}

    def entries(tree: Mapping, path: Sequence[str]):
        for key, value in tree.items():
            if isinstance(value, Mapping):
                yield from entries(value, (*path, key))
            else:
                array = np.asarray(value)
                array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
                yield ".".join((*path, leaves[key])), torch.tensor(array)

    state = {
        name: array for collection in ("params", "batch_stats") for name, array in entries(variables[collection], ())
    }
    counters = {name: value for name, value in twin.state_dict().items() if name.endswith("num_batches_tracked")}
    twin.load_state_dict({**state, **counters})
    return twin


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, (size - 1) // 2, bias=bias)


def _resize(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def _resnet(depth: int) -> Trunk:
    blocks, inputs = {}, 64
    for stage, count in enumerate(STAGE_SIZES[depth], start=1):
        for block in range(1, count + 1):
            stride = 2 if stage > 1 and block == 1 else 1
            blocks[f"stage{stage}_block{block}"] = Bottleneck(inputs, 32 * 2**stage, stride)
            inputs = EXPANSION * 32 * 2**stage
    return Trunk(_conv(3, 64, 7, 2), nn.BatchNorm2d(64), blocks, is_mobile=False)


def _mobilenet() -> Trunk:
    blocks, inputs = {}, 32
    for stage, (expansion, width, count, first_stride) in enumerate(STAGES, start=2):
        for block in range(1, count + 1):
            stride = first_stride if block == 1 else 1
            blocks[f"stage{stage}_block{block}"] = InvertedResidual(inputs, width, expansion, stride)
            inputs = width
    return Trunk(_conv(3, 32, 3, 2), nn.BatchNorm2d(32), blocks, is_mobile=True)
