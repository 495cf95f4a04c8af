"""Reads MatConvNet networks: the authors' RefineNets, as their MATLAB code saves them, and ResNets alone.

A RefineNet file (guosheng/refinenet, `main/cnn_save_model.m`) holds one variable, `net_config`, with two graphs in it (a
`dag_net` of the trunk, another of the cascade) and a classifier that has no name. The way to them leads through MATLAB objects,
whose layout is not documented; so the parts are found by their fields, wherever they are.
"""

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from refinenet_jax.weights.matlab import read_variables
from refinenet_jax.weights.weights_file import WeightsError, WeightsFile

_NETWORK = {"params", "layers", "vars"}
_CLASSIFIER = {"type", "filters", "biases"}
_CONFIG = {"net_input_img_scales", "group_infos"}

_SAVE_AGAIN = "Save it again in MATLAB: save('weights.mat', 'net_config', '-v7.3')."


def read_matconvnet(path: str | os.PathLike) -> WeightsFile:
    """Reads a MatConvNet file of MATLAB v7.3 or v5 to v7, whichever its content is.

    Arrays have the authors' names, current or legacy (`adapt_input_path1_b1_conv_filter`, `bn_conv1_moments`), the classifier
    `filters` and `biases`. All are float32: convolutions HWIO [kh, kw, in, out] (MatConvNet correlates, so nothing is
    flipped), moments [c, 2] (mean, and the standard deviation with epsilon in it), others [c].

    Facts:
      strides: name of a layer -> the largest of its strides, if it has any.
      net_input_img_scales: factor by which the network enlarges its input (1.2), if the file has it.

    Raises:
      WeightsError: the file is damaged, truncated or crafted; or there is no network in it; or two parts of it have
        arrays of one name that differ.
    """
    form, variables = read_variables(path)
    try:
        structs = list(_structs(variables))
        networks = [struct for struct in structs if struct.keys() >= _NETWORK]
        if not networks:
            raise _no_network(variables)
        found, facts = {}, {"strides": {}}
        for network in networks:
            for layer in _rows(network["layers"], "layers"):
                _add_stride(layer, facts["strides"])
            for row in _rows(network["params"], "params"):
                _add_array(found, row["name"], row.get("value"))
        for struct in structs:
            if struct.keys() >= _CLASSIFIER:
                _add_array(found, "filters", struct["filters"])
                _add_array(found, "biases", struct["biases"])
            elif struct.keys() >= _CONFIG:
                facts["net_input_img_scales"] = _scale(struct["net_input_img_scales"])
        if not found:
            raise WeightsError(f"its network has no parameters. {_SAVE_AGAIN}")
        arrays = {name: _in_shape(name, value) for name, value in found.items()}
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    return WeightsFile(f"MatConvNet ({form})", arrays, facts)


def _no_network(variables: dict[str, Any]) -> WeightsError:
    names = ", ".join(name for name in variables if not name.startswith("#"))
    fix = "Give a file of weights, such as refinenet_res101_egohands.mat."
    if any(value is None for value in variables.values()):
        fix = f"Some are objects of MATLAB. {_SAVE_AGAIN}"
    return WeightsError(f"it has no network with 'params', 'layers' and 'vars' in its variables {names:.200}. {fix}")


def _structs(value: Any) -> Iterator[dict[str, Any]]:
    """Yields every struct in a tree of values once, even if it is referred to several times."""
    seen, waiting = set(), [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list) and id(value) not in seen:
            seen.add(id(value))
            waiting += reversed(value.values() if isinstance(value, dict) else value)
            if isinstance(value, dict):
                yield value


def _rows(value: Any, what: str) -> list[dict[str, Any]]:
    """Returns an array of structs as a list: MATLAB does not distinguish one struct from an array of one."""
    rows = [value] if isinstance(value, dict) else value
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows
    ):
        raise WeightsError(f"the {what} of its network are no structs with names. {_SAVE_AGAIN}")
    return rows


def _add_stride(layer: dict[str, Any], strides: dict[str, float]) -> None:
    """Adds the largest stride of a layer, if it has any, under its name."""
    block = layer.get("block")
    stride = block.get("stride") if isinstance(block, dict) else None
    if not isinstance(stride, np.ndarray) or not stride.size:
        return
    if strides.setdefault(layer["name"], float(stride.max())) != stride.max():
        raise WeightsError(f"it has two different layers named {layer['name']!r}. {_SAVE_AGAIN}")


def _scale(value: Any) -> float:
    """Returns the factor by which a network enlarges its input; a model has only one."""
    if not isinstance(value, np.ndarray) or value.size != 1 or not 0 < value.item() < math.inf:
        raise WeightsError(f"its net_input_img_scales is {value}, not one positive number.")
    return value.item()


def _add_array(found: dict[str, np.ndarray], name: str, value: Any) -> None:
    if not isinstance(value, np.ndarray) or not value.size:
        raise WeightsError(f"{name!r} has no array of single or double. Move the network to the CPU. {_SAVE_AGAIN}")
    known = found.setdefault(name, value)
    if known is not value and not np.array_equal(known, value, equal_nan=True):
        raise WeightsError(f"it has two different arrays named {name!r}. Give a file of one network.")


def _in_shape(name: str, value: np.ndarray) -> np.ndarray:
    """Returns an array as float32 [kh, kw, in, out], [channels, 2] or [channels]; MATLAB drops axes of length 1 at the end."""
    stored = shape = value.shape
    if name == "filters" or name.endswith("_filter"):
        shape = (*stored, *[1] * (4 - len(stored)))
        fits = len(shape) == 4
    elif name.endswith("_moments"):
        fits = len(stored) == 2 and stored[1] == 2
    else:
        shape = (value.size,)
        fits = value.size == max(stored)
    if not fits:
        expected = "[kh, kw, in, out] of a filter, [channels, 2] of moments or one axis"
        raise WeightsError(f"{name!r} has the shape {stored} instead of {expected}. {_SAVE_AGAIN}")
    return value.reshape(shape, order="F").astype(np.float32, copy=False)
