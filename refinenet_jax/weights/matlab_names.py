"""Maps the authors' MATLAB names to the PyTorch names, which were made from them, and their arrays to PyTorch's layout.

Sources: guosheng/refinenet @0d62007 (`main/gen_net_*.m`), KaimingHe/deep-residual-networks (the trunk's names). Between 2016
and 2017 the authors renamed layers ("adapt_stage" -> "adapt_input_path") and swapped convolution and pooling in each stage
of the chained residual pooling, with other names for its convolutions; files of both kinds exist.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from refinenet_jax.weights.weights_file import LazyArrays, WeightsError

EPSILON = 1e-5  # of batch norm; MatConvNet's moments have it in the standard deviation already

_BLOCK_CONVS = {"branch1": "downsample.0", "branch2a": "conv1", "branch2b": "conv2", "branch2c": "conv3"}
_BLOCK_NORMS = {"branch1": "downsample.1", "branch2a": "bn1", "branch2b": "bn2", "branch2c": "bn3"}
_CASCADE = (
    (r"adapt_input_path(\d)", r"adapt_stage\1"),
    (r"_poolprev_relu_varout_pb1", r"_pool.0.1_outvar_dimred"),
    (r"_pool\d_outvar_pb(\d)", r"_pool.0.\1_outvar_dimred"),
    (r"_pool(\d)_outvar_dimred", r"_pool.0.\1_outvar_dimred"),
    (r"_b(\d)_conv", r"_b.0.\1_conv"),
    (r"_filter$", ".weight"),
    (r"_bias$", ".bias"),
)


def is_matlab(names: Iterable[str]) -> bool:
    """Whether these are names of a MatConvNet file."""
    return any(name.endswith(("_filter", "_moments")) for name in names)


def to_pytorch(arrays: Mapping[str, np.ndarray]) -> LazyArrays:
    """Returns the arrays under PyTorch's names: convolutions OIHW, variances for MATLAB's sigmas. Unknown names are kept.

    Raises:
      WeightsError: two arrays would have one name, as where two generations of names are mixed.
    """
    entries: dict[str, Callable[[], np.ndarray]] = {}
    sources: dict[str, str] = {}
    for name in arrays:
        if name == "conv1_bias":  # only ResNet-50 has it; it moves the mean that follows
            continue
        for new, read in _entries(name, arrays):
            if new in entries:
                raise WeightsError(f"It mixes two generations of names: {sources[new]} and {name} are the same array.")
            entries[new], sources[new] = read, name
    return LazyArrays(entries)


def options(arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of `create_model` that follow from the names of the arrays and the facts of `read_matconvnet`.

    Raises:
      WeightsError: both kinds of pooling are in it, or strides that no ResNet has.
    """
    improved = any("_pb" in name for name in arrays)
    if improved and any(re.search(r"_pool\d_outvar_dimred", name) for name in arrays):
        raise WeightsError(
            "Some of its pooling is conv_pool (.._pb1_filter), some pool_conv (.._outvar_dimred_filter)."
        )
    return {
        "pool_order": "conv_pool" if improved else "pool_conv",
        "stride_on": _stride_on(facts.get("strides", {})),
        "resize": "bicubic",
        "normalization": "minus_128",
        "input_scale": float(facts.get("net_input_img_scales", 1.0)),
    }


def _stride_on(strides: Mapping[str, float]) -> str:
    """Returns which convolution of a block has the stride: the first, unless the file's layers declare otherwise."""
    first, second = strides.get("res3a_branch2a", 2), strides.get("res3a_branch2b", 1)
    if (first, second) not in ((2, 1), (1, 2)):
        raise WeightsError(
            f"The convolutions of its block res3a have the strides {first:g} and {second:g}; expected 2 and 1."
        )
    return "1x1" if first == 2 else "3x3"


def _entries(name: str, arrays: Mapping[str, np.ndarray]) -> list[tuple[str, Callable[[], np.ndarray]]]:
    """PyTorch's name, or two for moments, with the way to make the array."""
    match = re.fullmatch(r"(?:(bn|res|bn_)?)(conv1|(\d)([a-z])(\d*)_(branch\w+))_(filter|mult|bias|moments)", name)
    if match:
        kind, layer, stage, letter, number, branch, part = match.groups()
        module = ("bn1" if kind else "conv1") if layer == "conv1" else None
        if module is None:
            # Blocks are a, b, c, ... or, where there are many, a, b1, b2, ...
            block = int(number) if number else ord(letter) - ord("a")
            module = (
                f"layer{int(stage) - 1}.{block}.{(_BLOCK_NORMS if kind == 'bn' else _BLOCK_CONVS).get(branch, branch)}"
            )
        if part == "moments":
            return [
                (f"{module}.running_mean", lambda: _mean(name, arrays)),
                (f"{module}.running_var", lambda: _variance(arrays[name])),
            ]
        return [(f"{module}.{'bias' if part == 'bias' else 'weight'}", lambda: _oihw(arrays[name]))]
    new = {"filters": "clf_conv.weight", "biases": "clf_conv.bias"}.get(name, name)
    for pattern, replacement in _CASCADE:
        new = re.sub(pattern, replacement, new)
    return [(new, lambda: _oihw(arrays[name]))]


def _oihw(array: np.ndarray) -> np.ndarray:
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.ravel()


def _mean(name: str, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    mean = arrays[name][:, 0]
    return mean - arrays["conv1_bias"].ravel() if name == "bn_conv1_moments" and "conv1_bias" in arrays else mean


def _variance(moments: np.ndarray) -> np.ndarray:
    return np.maximum(moments[:, 1].astype(np.float64) ** 2 - EPSILON, 0).astype(np.float32)
