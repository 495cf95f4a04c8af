"""Reader of MatConvNet's networks: the authors' RefineNets, as their MATLAB code saves them, and ResNets alone.

A RefineNet file (guosheng/refinenet, `main/cnn_save_model.m`) holds one variable, `net_config`, with two graphs in it (a
`dag_net` of the trunk, another of the cascade) and a classifier that has no name. The way to them leads through MATLAB objects,
whose layout is not documented; so the parts are found by their fields, wherever they are.
"""

import math
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from refinenet_jax.matlab import COPY_AGAIN, Numbers, Refused, limit_of_bytes, mat5, mat73, structs
from refinenet_jax.weights.weights_file import LazyArrays, WeightsError, WeightsFile

_NETWORK = {"params", "layers", "vars"}
_CLASSIFIER = {"type", "filters", "biases"}
_CONFIG = {"net_input_img_scales", "group_infos"}
_CLASSES = {"class_names"}

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_MAX_FACTS = 256  # numbers or names in one

_SAVE_AGAIN = "Save it again in MATLAB: save('weights.mat', 'net_config', '-v7.3')."


def read_matconvnet(path: str | os.PathLike) -> WeightsFile:
    """Reads a MatConvNet file of MATLAB v7.3 or v5 to v7, told apart by content.

    Arrays have the authors' names, current or legacy (`adapt_input_path1_b1_conv_filter`, `bn_conv1_moments`), the classifier
    `filters` and `biases`. All are float32: convolutions HWIO [kh, kw, in, out] (MatConvNet correlates, so nothing is
    flipped), moments [c, 2] (mean, and the standard deviation with epsilon in it), others [c].

    Facts, each only if the file has it:
      layers: name -> {'type', 'inputs', 'outputs', 'params'} and what its block says of 'size', 'poolSize', 'stride' [y, x],
        'pad' [top, bottom, left, right], 'dilate' and 'method', in plain Python.
      classifier: 'stride' and 'pad' of the classifier.
      net_input_img_scales: by how much the network enlarges its input (1.2); a list if there is more than one.
      class_names: list of str.

    Raises:
      WeightsError: there is no such network in the file; or it is damaged, truncated or crafted; or two parts of it have
        arrays of one name that differ.
    """
    try:
        form, variables = _read_variables(path)
        structs = list(_structs(variables))
        networks = [struct for struct in structs if struct.keys() >= _NETWORK]
        if not networks:
            raise _nothing(variables)
        layers, sizes = _layers(networks)
        found = _parameters(networks)
        facts: dict[str, Any] = {"layers": layers}
        for struct in structs:
            if struct.keys() >= _CLASSIFIER:
                found += [(name, struct[name]) for name in ("filters", "biases")]
                facts["classifier"] = _geometry(struct)
            elif struct.keys() >= _CONFIG:
                facts["net_input_img_scales"] = _plain(struct["net_input_img_scales"])
            elif struct.keys() >= _CLASSES:
                facts["class_names"] = _texts(struct["class_names"])
        arrays = _unique(found, os.path.getsize(path))
        if not arrays:
            raise Refused("its network has no parameters", _SAVE_AGAIN)
        readers = {name: _reader(path, name, value, _shape(name, value.shape, sizes)) for name, value in arrays.items()}
    except Refused as error:
        raise _weights_error(path, error) from error
    except OSError as error:
        raise WeightsError(
            f"{path} cannot be read ({error.strerror}). Check that it is there and may be read."
        ) from error
    return WeightsFile(f"MatConvNet ({form})", LazyArrays(readers), facts)


def _read_variables(path: str | os.PathLike) -> tuple[str, dict[str, Any]]:
    with open(path, "rb") as file:
        header = file.read(520)
    if _HDF5_MAGIC in (header[:8], header[512:520]):
        return "v7.3", mat73.read_variables(path)
    return "v7", mat5.read_variables(path)


def _nothing(variables: dict[str, Any]) -> Refused:
    names = [name for name in variables if not name.startswith("#")]
    what = (
        f"it has the variables {', '.join(names[:8])}{', ...' if names[8:] else ''}" if names else "it has no variables"
    )
    if any(value is None for value in variables.values()):
        return Refused(f"it has no network that can be read without MATLAB; {what}, objects among them", _SAVE_AGAIN)
    return Refused(
        f"it has no network (a struct with 'params', 'layers' and 'vars'); {what}",
        "Give a file of weights, such as refinenet_res101_egohands.mat or imagenet-resnet-101-dag.mat.",
    )


def _weights_error(path: str | os.PathLike, error: Refused) -> WeightsError:
    return WeightsError(f"{path}: {error.reason}. {error.cure}")


def _structs(value: Any) -> Iterator[dict[str, Any]]:
    """Every struct in a tree of values, once, though several ways may lead to it."""
    seen, waiting = set(), [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, (dict, list)) and id(value) not in seen:
            seen.add(id(value))
            waiting += reversed(value.values() if isinstance(value, dict) else value)
            if isinstance(value, dict):
                yield value


def _rows(value: Any, what: str) -> list[dict[str, Any]]:
    rows = structs(value, f"the {what} of its network")
    if not all(isinstance(row.get("name"), str) for row in rows):
        raise Refused(f"the {what} of its network have no names", _SAVE_AGAIN)
    return rows


def _parameters(networks: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [(row["name"], row.get("value")) for network in networks for row in _rows(network["params"], "params")]


def _layers(networks: list[dict[str, Any]]) -> tuple[dict[str, dict[str, Any]], dict[str, list[int]]]:
    """What is said about every layer, and the shape of every convolution by the name of its filter."""
    layers, sizes = {}, {}
    for network in networks:
        for row in _rows(network["layers"], "layers"):
            layer = {key: _texts(row.get(key)) for key in ("inputs", "outputs", "params")}
            layer["type"] = row["type"] if isinstance(row.get("type"), str) else ""
            block = row.get("block")
            layer |= _geometry(block) if isinstance(block, dict) else {}
            if layers.setdefault(row["name"], layer) != layer:
                raise Refused(f"it has two different layers named {row['name']!r}", _SAVE_AGAIN)
            size = layer.get("size")
            if layer["params"] and layer["type"].endswith("Conv") and isinstance(size, list) and len(size) <= 4:
                sizes[layer["params"][0]] = [*size, *[1] * (4 - len(size))]
    return layers, sizes


def _geometry(block: dict[str, Any]) -> dict[str, Any]:
    facts = {
        key: _plain(block[key]) for key in ("size", "poolSize", "stride", "pad", "dilate", "method") if key in block
    }
    for key, length in (("stride", 2), ("dilate", 2), ("poolSize", 2), ("pad", 4)):
        if isinstance(facts.get(key), (int, float)):  # MatConvNet's short form
            facts[key] = [facts[key]] * length
    return facts


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    if len(values) > _MAX_FACTS:
        raise Refused(f"it has a list of {len(values):,} names where {_MAX_FACTS} would be many", _SAVE_AGAIN)
    return [text for text in values if isinstance(text, str) and text]


def _plain(value: Any) -> Any:
    """Text, a number, or a list of numbers; None for anything else."""
    if not isinstance(value, Numbers):
        return value if isinstance(value, str) else None
    if math.prod(value.shape) > _MAX_FACTS:
        return None
    numbers = [int(x) if x == int(x) else x for x in value.read().ravel(order="F").tolist() if math.isfinite(x)]
    return numbers[0] if len(numbers) == 1 else numbers


def _unique(found: list[tuple[str, Any]], file_size: int) -> dict[str, Numbers]:
    """The arrays by name, all of them together not larger than the file can hold."""
    arrays: dict[str, Numbers] = {}
    room = limit_of_bytes(file_size)
    for name, value in found:
        if not isinstance(value, Numbers) or 0 in value.shape:
            raise Refused(
                f"{name!r} has no plain array of numbers as its value",
                "If it was saved from a GPU, move the network to the CPU in MATLAB, and save it again with '-v7.3'.",
            )
        if value.dtype.kind != "f":
            raise Refused(f"{name!r} is {value.dtype}, not single or double", _SAVE_AGAIN)
        room -= math.prod(value.shape) * value.dtype.itemsize
        if room < 0:
            raise Refused(
                f"its arrays ({name!r} and before) are larger than {limit_of_bytes(file_size):,} bytes", _SAVE_AGAIN
            )
        known = arrays.setdefault(name, value)
        if known is not value and not np.array_equal(known.read(), value.read(), equal_nan=True):
            raise Refused(
                f"it has two different arrays named {name!r}",
                "Give a file of one network; other networks in it, such as SimpleNN ones, are not understood.",
            )
    return arrays


def _reader(path: str | os.PathLike, name: str, value: Numbers, shape: tuple[int, ...]) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        try:
            return value.read().reshape(shape, order="F").astype(np.float32, copy=False)
        except (Refused, OSError) as error:
            raise _weights_error(path, Refused(f"{name!r} cannot be read ({error})", COPY_AGAIN)) from error

    return read


def _shape(name: str, stored: tuple[int, ...], sizes: dict[str, list[int]]) -> tuple[int, ...]:
    """The shape that an array has in the network; MATLAB drops axes of length 1 at the end, and has no vectors."""
    if name in sizes or name == "filters" or name.endswith("_filter"):
        shape = (*stored, *[1] * (4 - len(stored)))
        if len(shape) != 4 or list(shape) != sizes.get(name, list(shape)):
            raise Refused(f"{name!r} has the shape {stored}, but its layer says {sizes.get(name, '[kh, kw, in, out]')}")
        return shape
    if name.endswith("_moments"):
        if len(stored) != 2 or stored[1] != 2:
            raise Refused(f"{name!r} has the shape {stored} instead of (channels, 2)")
        return stored
    if math.prod(stored) != max(stored):
        raise Refused(f"{name!r} has the shape {stored}, and is no vector")
    return (math.prod(stored),)
