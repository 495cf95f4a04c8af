"""Names in other people's checkpoints for every one of our variables.

The PyTorch names are those of DrSleep/refinenet-pytorch and DrSleep/light-weight-refinenet, which took theirs from the
authors' MATLAB code ("mflow_conv_g1_pool" is the chained residual pooling of refine4).
"""

import re

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
