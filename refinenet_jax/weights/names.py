"""Translates the names of arrays in other people's checkpoints.

The PyTorch names are those of DrSleep/refinenet-pytorch and DrSleep/light-weight-refinenet, which took theirs from the
authors' MATLAB code ("mflow_conv_g1_pool" is the chained residual pooling of refine4). Every other naming is translated to
them: torchvision's, timm's and MATLAB's.

Sources of the MATLAB names: guosheng/refinenet @0d62007 (`main/gen_net_*.m`), KaimingHe/deep-residual-networks (the trunk).
Between 2016 and 2017 the authors renamed layers ("adapt_stage" -> "adapt_input_path") and swapped convolution and pooling in
each stage of the chained residual pooling, with other names for its convolutions; files of both kinds exist.
"""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from refinenet_jax.models.mobilenet import STAGES
from refinenet_jax.weights.weights_file import WeightsError

EPSILON = 1e-5  # of batch norm; MatConvNet's moments have it in the standard deviation already

Arrays = dict[str, np.ndarray]

_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
_RCU_CONVS = {"conv1": "_conv", "conv2": "_conv_relu_varout_dimred"}
# Modules of a MobileNet block: expansion, depthwise convolution and projection, each followed by its batch norm.
_LAYERS = ("expand", "bn_expand", "depthwise", "bn_depthwise", "project", "bn_project")
_PUBLISHED = ("0.0", "0.1", "1.0", "1.1", "2.0", "2.1")
_BLOCKS = [(stage, block) for stage, (_, _, count, _) in enumerate(STAGES, start=2) for block in range(count)]
# Other MobileNets: their last projection, first convolution and its batch norm, and names of blocks; then the modules of the
# first block, which has no expansion, and of the others.
_MOBILENETS = (
    (
        *("features.17.conv.2.weight", "features.0.0", "features.0.1", "features.{number}"),  # torchvision
        ("conv.0.0", "conv.0.1", "conv.1", "conv.2"),
        ("conv.0.0", "conv.0.1", "conv.1.0", "conv.1.1", "conv.2", "conv.3"),
    ),
    (
        *("blocks.6.0.conv_pwl.weight", "conv_stem", "bn1", "blocks.{group}.{block}"),  # timm
        ("conv_dw", "bn1", "conv_pw", "bn2"),
        ("conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"),
    ),
)


def pytorch_name(path: tuple[str, ...], trunk: str) -> str:
    """Returns the state-dict name of the variable at `path` (without its collection), e.g. ('trunk', 'conv1', 'kernel').

    Args:
      path: keys of our parameter tree.
      trunk: 'mobilenet_v2' or the name of a ResNet.
    """
    group, *layer, leaf = path
    if trunk == "mobilenet_v2":
        modules = {"trunk": _mobilenet_trunk, "cascade": _mobilenet_cascade, "classifier": lambda _: "segm"}
    else:
        modules = {"trunk": _resnet_trunk, "cascade": _resnet_cascade, "classifier": lambda _: "clf_conv"}
    return f"{modules[group](layer)}.{_LEAVES[leaf]}"


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
    if part == "pool":
        return f"mflow_conv_g{group}_pool.0.{_numbers(layer[-1])[0]}_outvar_dimred"
    unit = f"adapt_stage{group}_b" if part.startswith("adapt_rcu") else f"mflow_conv_g{group}_b"
    return f"{unit}.0.{_numbers(part)[0]}{_RCU_CONVS[layer[-1]]}"


def _mobilenet_trunk(layer: list[str]) -> str:
    if len(layer) == 1:
        return {"conv1": "layer1.0", "bn1": "layer1.1"}[layer[0]]
    stage, block = _numbers(layer[0])
    return f"layer{stage}.{block - 1}.output.{_PUBLISHED[_LAYERS.index(layer[1])]}"


def _mobilenet_cascade(layer: list[str]) -> str:
    number = _numbers(layer[0])[0]
    if layer[0].startswith("adapt_stage"):
        return f"conv{number}"
    if layer[0].startswith("fuse_coarse"):
        return f"conv_adapt{number + 1}"
    return f"crp{number}.0.{_numbers(layer[1])[0]}_outvar_dimred"


def _numbers(name: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", name)]


def from_other_mobilenets(arrays: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """Renames the arrays of torchvision's or timm's MobileNet-v2 1.0; those of other networks are returned as they are.

    Names outside the trunk (the last 1x1 convolution, the classifier) stay. The first block's expansion, which both lack, is
    added as the identity.
    """
    for last, conv, norm, prefix, first, others in _MOBILENETS:
        # Other networks of timm have this name, with other shapes.
        if last in arrays and arrays[last].shape == (320, 960, 1, 1):
            modules = {conv: "layer1.0", norm: "layer1.1"}
            for number, (stage, block) in enumerate(_BLOCKS, start=1):
                theirs = first if number == 1 else others
                for module, published in zip(theirs, _PUBLISHED[-len(theirs) :], strict=True):
                    name = prefix.format(number=number, group=stage - 2, block=block)
                    modules[f"{name}.{module}"] = f"layer{stage}.{block}.output.{published}"
            renamed = identity_expansion()
            for name, array in arrays.items():
                module, _, leaf = name.rpartition(".")
                renamed[f"{modules.get(module, module)}.{leaf}"] = array
            return renamed
    return arrays


def identity_expansion() -> Arrays:
    """Returns the first block's expansion for a network that has none: 32 channels, unchanged."""
    kernel = np.eye(32, dtype=np.float32)[:, :, None, None]
    return {"layer2.0.output.0.0.weight": kernel} | shift("layer2.0.output.0.1", np.zeros(32, np.float32))


def shift(module: str, bias: np.ndarray) -> Arrays:
    """Returns a batch norm that only adds `bias` [c], for a convolution into which its own was folded."""
    one = np.ones_like(bias)
    values = {"weight": one, "bias": bias, "running_mean": 0 * one, "running_var": (1 - EPSILON) * one}
    return {f"{module}.{name}": array for name, array in values.items()}


# ---- MATLAB's names and arrays


def is_matlab(names: Iterable[str]) -> bool:
    """Returns whether these are names of a MatConvNet file."""
    return any(name.endswith(("_filter", "_moments")) for name in names)


def from_matlab(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Returns the arrays under PyTorch's names: convolutions OIHW, variances for MATLAB's sigmas. Unknown names are kept.

    Raises:
      WeightsError: two arrays would have one name, as where two generations of names are mixed.
    """
    renamed: Arrays = {}
    sources: dict[str, str] = {}
    for name, array in arrays.items():
        if name == "conv1_bias":  # only ResNet-50 has it; it is added to the mean of the batch norm after it
            continue
        new = _from_matlab(name)
        if name.endswith("_moments"):
            mean, sigma = array[:, 0], array[:, 1].astype(np.float64)
            if name == "bn_conv1_moments" and "conv1_bias" in arrays:
                mean = mean - arrays["conv1_bias"].ravel()
            variance = np.maximum(sigma**2 - EPSILON, 0).astype(np.float32)
            entries = {f"{new}.running_mean": mean, f"{new}.running_var": variance}
        else:
            entries = {new: array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.ravel()}
        if twice := renamed.keys() & entries.keys():
            other = sources[twice.pop()]
            raise WeightsError(f"It mixes two generations of names: {other} and {name} are the same array.")
        renamed |= entries
        sources |= dict.fromkeys(entries, name)
    return renamed


def _block(match: re.Match) -> str:
    kind, stage, letter, number, branch = match.groups()
    block = int(number) if number else ord(letter) - ord("a")  # a, b, c, ... or, where there are many, a, b1, b2, ...
    if branch == "1":
        module = f"downsample.{int(kind == 'bn')}"
    else:
        module = f"{'bn' if kind == 'bn' else 'conv'}{'abc'.index(branch[1]) + 1}"
    return f"layer{int(stage) - 1}.{block}.{module}_"


_MATLAB = (
    (r"^filters$", "clf_conv.weight"),
    (r"^biases$", "clf_conv.bias"),
    (r"^bn_conv1_", "bn1_"),
    (r"^(bn|res)(\d)([a-z])(\d*)_branch(1|2[abc])_", _block),
    (r"adapt_input_path(\d)", r"adapt_stage\1"),
    (r"_poolprev_relu_varout_pb1", r"_pool.0.1_outvar_dimred"),
    (r"_pool\d_outvar_pb(\d)", r"_pool.0.\1_outvar_dimred"),
    (r"_pool(\d)_outvar_dimred", r"_pool.0.\1_outvar_dimred"),
    (r"_b(\d)_conv", r"_b.0.\1_conv"),
    (r"_(filter|mult)$", ".weight"),
    (r"_bias$", ".bias"),
    (r"_moments$", ""),
)


def _from_matlab(name: str) -> str:
    """Returns PyTorch's name of an array; of moments that of their batch norm."""
    for pattern, replacement in _MATLAB:
        name = re.sub(pattern, replacement, name)
    return name
