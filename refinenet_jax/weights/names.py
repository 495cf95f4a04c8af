"""Names in other people's checkpoints for every one of our variables.

The PyTorch names are those of DrSleep/refinenet-pytorch and DrSleep/light-weight-refinenet, which took theirs from the
authors' MATLAB code ("mflow_conv_g1_pool" is the chained residual pooling of refine4).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from refinenet_jax.models.mobilenet import STAGES
from refinenet_jax.weights.matlab_names import EPSILON
from refinenet_jax.weights.weights_file import LazyArrays

_RCU_CONVS = {"conv1": "_conv", "conv2": "_conv_relu_varout_dimred"}
_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_MOBILENET_LAYERS = {
    "expand": "0.0",
    "bn_expand": "0.1",
    "depthwise": "1.0",
    "bn_depthwise": "1.1",
    "project": "2.0",
    "bn_project": "2.1",
}

Readers = dict[str, Callable[[], np.ndarray]]

_BLOCKS = [(stage, block) for stage, (_, _, count, _) in enumerate(STAGES, start=2) for block in range(count)]
# Modules of a block: expansion, depthwise convolution and projection, each followed by its batch norm.
_PUBLISHED = ("0.0", "0.1", "1.0", "1.1", "2.0", "2.1")
_TORCHVISION = ("conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3")
_TORCHVISION_FIRST = ("conv.0.0", "conv.0.1", "conv.1", "conv.2")  # without expansion
_TIMM = ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3")
_TIMM_FIRST = ("conv_dw", "bn1", "conv_pw", "bn2")


def pytorch_name(path: tuple[str, ...], trunk: str) -> str:
    """State-dict name of the variable at `path` (without its collection), e.g. ('trunk', 'conv1', 'kernel').

    Args:
      path: keys of our parameter tree.
      trunk: 'mobilenet_v2' or the name of a ResNet.
    """
    room, *layer, leaf = path
    if trunk == "mobilenet_v2":
        modules = {"trunk": _mobilenet_trunk, "cascade": _mobilenet_cascade, "classifier": lambda _: "segm"}
    else:
        modules = {"trunk": _resnet_trunk, "cascade": _resnet_cascade, "classifier": lambda _: "clf_conv"}
    return f"{modules[room](layer)}.{_LEAVES[leaf]}"


def _resnet_trunk(layer: list[str]) -> str:
    if len(layer) == 1:
        return layer[0]
    stage, block = _numbers(layer[0])
    name = {"conv_shortcut": "downsample.0", "bn_shortcut": "downsample.1"}.get(layer[1], layer[1])
    return f"layer{stage}.{block - 1}.{name}"


def _resnet_cascade(layer: list[str]) -> str:
    group = 5 - _numbers(layer[0])[0]  # refine4 is the authors' g1
    part = layer[1]
    if part == "adapt":
        return f"p_ims1d2_outl{group}_dimred"
    if part == "fuse_fine":
        return f"adapt_stage{group}_b2_joint_varout_dimred"
    if part == "fuse_coarse":  # stored with the block that the coarse path comes from
        return f"mflow_conv_g{group - 1}_b3_joint_varout_dimred"
    number = _numbers(layer[-2] if part != "pool" else layer[-1])[0]
    if part == "pool":
        return f"mflow_conv_g{group}_pool.0.{number}_outvar_dimred"
    unit = f"adapt_stage{group}_b" if part.startswith("adapt_rcu") else f"mflow_conv_g{group}_b"
    return f"{unit}.0.{number}{_RCU_CONVS[layer[-1]]}"


def _mobilenet_trunk(layer: list[str]) -> str:
    if len(layer) == 1:
        return {"conv1": "layer1.0", "bn1": "layer1.1"}[layer[0]]
    stage, block = _numbers(layer[0])
    return f"layer{stage}.{block - 1}.output.{_MOBILENET_LAYERS[layer[1]]}"


def _mobilenet_cascade(layer: list[str]) -> str:
    number = _numbers(layer[0])[0]
    if layer[0].startswith("adapt_stage"):
        return f"conv{number}"
    if layer[0].startswith("fuse_coarse"):
        return f"conv_adapt{number + 1}"
    return f"crp{number}.0.{_numbers(layer[1])[0]}_outvar_dimred"


def _numbers(name: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", name)]


def to_published(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Renames the arrays of torchvision's or timm's MobileNet-v2 1.0; those of other networks are returned as they are.

    Names outside the trunk (the last 1x1 convolution, the classifier) stay. The first block's expansion, which both leave out,
    is added as the identity.
    """
    for last, modules in (
        ("features.17.conv.2.weight", _torchvision_modules),
        ("blocks.6.0.conv_pwl.weight", _timm_modules),  # other networks of timm have this name, with other shapes
    ):
        if last in arrays and arrays[last].shape == (320, 960, 1, 1):
            published = dict(modules())
            readers = identity_expansion()
            for name in arrays:
                module, _, leaf = name.rpartition(".")
                readers[f"{published.get(module, module)}.{leaf}"] = partial(arrays.__getitem__, name)
            return LazyArrays(readers)
    return arrays


def identity_expansion() -> Readers:
    """The first block's expansion where a network has none: 32 channels, unchanged."""
    kernel = np.eye(32, dtype=np.float32)[:, :, None, None]
    return {"layer2.0.output.0.0.weight": kernel.copy} | shift("layer2.0.output.0.1", np.zeros(32, np.float32))


def shift(module: str, bias: np.ndarray) -> Readers:
    """Batch norm that adds `bias` and does nothing else, for a convolution into which its own was folded."""
    one = np.ones_like(bias)
    values = {"weight": one, "bias": bias, "running_mean": 0 * one, "running_var": (1 - EPSILON) * one}
    return {f"{module}.{name}": array.copy for name, array in values.items()}


def _torchvision_modules() -> Iterator[tuple[str, str]]:
    yield from (("features.0.0", "layer1.0"), ("features.0.1", "layer1.1"))
    for number, (stage, block) in enumerate(_BLOCKS, start=1):
        theirs = _TORCHVISION_FIRST if number == 1 else _TORCHVISION
        yield from _block_modules(f"features.{number}", theirs, stage, block)


def _timm_modules() -> Iterator[tuple[str, str]]:
    yield from (("conv_stem", "layer1.0"), ("bn1", "layer1.1"))
    for stage, block in _BLOCKS:
        yield from _block_modules(f"blocks.{stage - 2}.{block}", _TIMM_FIRST if stage == 2 else _TIMM, stage, block)


def _block_modules(prefix: str, theirs: tuple[str, ...], stage: int, block: int) -> Iterator[tuple[str, str]]:
    """Pairs of their module and the published one."""
    for module, published in zip(theirs, _PUBLISHED[-len(theirs) :], strict=True):
        yield f"{prefix}.{module}", f"layer{stage}.{block}.output.{published}"
