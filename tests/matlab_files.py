"""Writes MATLAB files as MATLAB lays them out, and thin networks to put into them.

Values: a dict is a struct, `Rows` an array of structs, a list a cell, `Object` a handle object (as the authors' `ref_obj`), str
and NumPy arrays (in MATLAB's order of axes) themselves.
"""

import itertools

import h5py
import numpy as np
import pytest
import scipy.io

from refinenet_jax.weights.matconvnet import read_matconvnet
from refinenet_jax.weights.weights_file import WeightsError

_HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan  1 00:00:00 2015 HDF5 schema 1.00 ."
_CLASSES = {"f8": "double", "f4": "single", "u1": "uint8", "i4": "int32", "b1": "logical"}


class Rows(list):
    """A 1xN array of structs."""


class Object:
    """An object of a class that MATLAB keeps elsewhere in the file."""

    def __init__(self, value):
        self.value = value


def write_v73(path, variables, damage=lambda file: None, **storage):
    """Writes a v7.3 file; `storage` goes to h5py's create_dataset for arrays; `damage` changes the file before it is closed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        writer = _Writer(file, storage)
        for name, value in variables.items():
            writer.write(file, name, value)
        if writer.objects:
            subsystem = file.create_group("#subsystem#")
            subsystem.attrs["MATLAB_class"] = np.bytes_("struct")
            subsystem["MCOS"] = np.array([writer.reference(np.zeros((1, 8), "u1")), *writer.objects], h5py.ref_dtype)[
                None
            ]
            subsystem["MCOS"].attrs["MATLAB_class"] = np.bytes_("FileWrapper__")
        damage(file)
    with open(path, "r+b") as file:
        file.write(_HEADER.ljust(124) + b"\x00\x02IM")


class _Writer:
    def __init__(self, file, storage):
        self.refs = file.create_group("#refs#")
        self.storage = storage
        self.objects = []
        self.numbers = itertools.count()

    def reference(self, value):
        name = f"v{next(self.numbers)}"
        self.write(self.refs, name, value)
        return self.refs[name].ref

    def write(self, group, name, value):
        if isinstance(value, Object):
            self.objects.append(self.reference(value.value))
            self._dataset(group, name, np.array([[0xDD000000, 2, 1, 1, 1, 1]], "u4"), "ref_obj")
        elif isinstance(value, dict):
            struct = group.create_group(name)
            struct.attrs["MATLAB_class"] = np.bytes_("struct")
            for field, content in value.items():
                self.write(struct, field, content)
        elif isinstance(value, Rows) and len(value) == 1:
            self.write(group, name, value[0])
        elif isinstance(value, Rows) and value:
            struct = group.create_group(name)
            struct.attrs["MATLAB_class"] = np.bytes_("struct")
            for field in value[0]:
                struct[field] = self._references([row[field] for row in value])
        elif isinstance(value, str):
            kind, content = "char", np.array([[ord(c)] for c in value], "u2")
            self._dataset(group, name, content if value else None, kind)
        elif isinstance(value, list):
            kind = "struct" if isinstance(value, Rows) else "cell"
            self._dataset(group, name, self._references(value) if value else None, kind)
        else:
            kind = _CLASSES[value.dtype.str[1:]]
            value = value.view("u1") if kind == "logical" else value
            large = self.storage if value.size > 16 else {}
            self._dataset(group, name, value.T if value.size else None, kind, **large)

    def _references(self, values):
        return np.array([self.reference(value) for value in values], h5py.ref_dtype)[:, None]

    def _dataset(self, group, name, content, kind, **storage):
        """`content` None: empty."""
        data = np.zeros(2, "u8") if content is None else content
        dataset = group.create_dataset(name, data=data, **storage)
        dataset.attrs["MATLAB_class"] = np.bytes_(kind)
        if content is None:
            dataset.attrs["MATLAB_empty"] = np.int32(1)


def write_v7(path, variables, compressed=True):
    """Writes a v7 file, or without compression a v5 one; objects become what they hold."""
    scipy.io.savemat(
        path, {k: _for_scipy(v) for k, v in variables.items()}, do_compression=compressed, long_field_names=True
    )


def _for_scipy(value):
    if isinstance(value, Object):
        return _for_scipy(value.value)
    if isinstance(value, dict):
        return {field: _for_scipy(content) for field, content in value.items()}
    if isinstance(value, Rows) and value:
        rows = np.empty((1, len(value)), [(field, object) for field in value[0]])
        for i, row in enumerate(value):
            rows[0, i] = tuple(_for_scipy(content) for content in row.values())
        return rows
    if isinstance(value, list):
        cell = np.empty((1, len(value)), object)
        for i, content in enumerate(value):
            cell[0, i] = _for_scipy(content)
        return cell
    return value


def array(name, shape):
    """Numbers that depend on the name and on every axis; float32."""
    rng = np.random.default_rng(list(name.encode()))
    return rng.standard_normal(shape).astype(np.float32)


def _row(*numbers):
    return np.array([numbers], float)


def conv(name, size, stride=1, pad=0, bias=False, dropped=None):
    """A convolution of [kh, kw, in, out]: its layer and its parameters; `dropped`: the shape in which MATLAB stores it."""
    params = {f"{name}_filter": array(f"{name}_filter", dropped or size)}
    if bias:
        params[f"{name}_bias"] = array(f"{name}_bias", (1, size[3]))
    block = {
        "size": _row(*size),
        "hasBias": np.array([[bias]]),
        "stride": _row(stride, stride),
        "pad": _row(*[pad] * 4),
    }
    return name, "dagnn.Conv", params, block


def batch_norm(name, channels):
    """Its layer and its parameters."""
    shapes = {"mult": (channels, 1), "bias": (channels, 1), "moments": (channels, 2)}
    params = {f"{name}_{part}": array(f"{name}_{part}", shape) for part, shape in shapes.items()}
    return name, "dagnn.BatchNorm", params, {"numChannels": _row(channels), "epsilon": _row(1e-5)}


def pool(name, size, stride, pad):
    """Its layer."""
    block = {"method": "max", "poolSize": _row(size, size), "stride": _row(stride, stride), "pad": _row(*[pad] * 4)}
    return name, "dagnn.Pooling", {}, block


def dag_net(*layers):
    """A DagNN as its saveobj gives it, every layer after the other."""
    params = {name: value for layer in layers for name, value in layer[2].items()}
    names = ["data", *(layer[0] for layer in layers)]
    return {
        "vars": Rows({"name": name, "precious": _row(0)} for name in names),
        "params": Rows(
            {"name": n, "value": v, "learningRate": _row(1), "weightDecay": _row(1)} for n, v in params.items()
        ),
        "layers": Rows(
            {"name": name, "type": kind, "inputs": [before], "outputs": [name], "params": list(own), "block": block}
            for before, (name, kind, own, block) in zip(names, layers, strict=False)
        ),
        "meta": np.zeros((0, 0)),
    }


TRUNK = (
    conv("conv1", (7, 7, 3, 4), stride=2, pad=3),
    batch_norm("bn_conv1", 4),
    pool("pool1", 3, 2, 1),
    conv("res3a_branch2a", (1, 1, 4, 8), stride=2),
    conv("res3a_branch2b", (3, 3, 8, 8), pad=1),
)
CASCADE = (
    conv("p_ims1d2_outl1_dimred", (3, 3, 8, 6), pad=1),
    conv("adapt_input_path1_b1_conv", (3, 3, 6, 6), pad=1, bias=True),
    pool("mflow_conv_g1_pool1", 5, 1, 2),
)


def net_config(trunk=TRUNK, cascade=CASCADE, classes=3):
    """The variables of a RefineNet file: two graphs, the classifier without a name, and objects on the way to them."""
    classifier = {
        "type": "conv",
        "filters": array("classifier", (3, 3, 6, classes)[: 3 if classes == 1 else 4]),
        "biases": array("classifier_bias", (1, classes)),
        "stride": _row(1),
        "pad": _row(1, 1, 1, 1),
        "filtersMomentum": np.zeros((0, 0)),
    }
    layers = [
        {"type": "dropout", "rate": _row(0.5)},
        classifier,
        {"type": "my_custom", "custom_type": "dense_softmaxloss"},
    ]
    groups = [
        {"name": "root", "net_info": np.zeros((0, 0)), "use_dagnn": np.array([[False]])},
        {"name": "featnet_1", "net_info": Object({"ref": {"lr_multiplier": _row(0.1)}}), "dag_net": dag_net(*trunk)},
        {"name": "refinenets", "net_info": Object({"ref": {"lr_multiplier": _row(1)}}), "dag_net": dag_net(*cascade)},
        {"name": "loss_group", "net_info": Object({"ref": {"layers": layers}})},
    ]
    ref = {"group_infos": groups, "root_group_info": groups[0], "net_input_img_scales": _row(1.2), "cache_filename": ""}
    return {"net_config": Object({"ref": ref})}


def assert_refused(path, match):
    """The file of weights is refused with this reason; the message names the file."""
    with pytest.raises(WeightsError, match=match) as error:
        read_matconvnet(path)
    assert str(error.value).startswith(str(path))
