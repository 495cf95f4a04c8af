"""Reader of TFLite files that hold MobileNet-v2 1.0: a classifier, or a detector or another network built on it."""

import math
import os
import struct
from collections import defaultdict
from pathlib import Path

import numpy as np

# TFLite's schema on the `flatbuffers` package: both are Python, which checks every access against the size of the file. The
# interpreter is not used, for it is C++ and trusts its files.
from ai_edge_litert import schema_py_generated as schema

from refinenet_jax import models
from refinenet_jax.models.mobilenet import STAGES
from refinenet_jax.weights.names import identity_expansion, shift
from refinenet_jax.weights.weights_file import WeightsError, WeightsFile

_MAX_BYTES = 256 << 20  # a MobileNet-v2 of float32 takes 14 MB, detectors built on it up to 30
_MAX_INPUTS = 20_000  # of all operations; a detector has 600
_MAX_AXES = 8
_PADS = ("PAD [0, 0, 0, 1, 0, 1, 0, 0]", "PAD [0, 0, 1, 1, 1, 1, 0, 0]")  # as Keras pads before a stride of 2
_DTYPES = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 2: np.dtype("<i4"), 4: np.dtype("<i8")}  # by number of the schema
# What the schema's code raises on damaged files, found by fuzzing it.
_DAMAGE = (struct.error, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_AGAIN = "Download or copy it again"


def read_tflite(path: str | os.PathLike) -> WeightsFile:
    """Reads the trunk, under the names of Light-Weight RefineNet's, convolutions OIHW; other operations are ignored.

    Batch norm, which such files have folded into the convolutions, becomes one that adds their bias. The file's network takes
    pixels in [-1, 1], as all of TensorFlow's MobileNet-v2 do; the first convolution is changed so that it takes ImageNet's
    normalization. Two differences remain: it pads with ImageNet's mean color, where TensorFlow pads with gray; and
    convolutions of stride 2 pad all sides, where TensorFlow pads even sizes at the right and bottom only, so that the
    sampling grids differ by a pixel. Batch norm must stay frozen, for its moments are not those of the features.

    Raises:
      WeightsError: it is damaged, or holds another network: the first operation that differs is named.
    """
    if (size := os.path.getsize(path)) > _MAX_BYTES:
        raise WeightsError(f"{path} is a TFLite file of {size:,} bytes; no MobileNet-v2 needs that.")
    try:
        arrays = _trunk(_Graph(Path(path).read_bytes()))
    except WeightsError as error:
        raise WeightsError(f"{path} is a TFLite file {error}") from error
    except _DAMAGE as error:
        raise WeightsError(f"{path} is a TFLite file that is damaged ({error!s:.200}). {_AGAIN}.") from error
    return WeightsFile("TFLite", arrays, {})


def _trunk(graph: "_Graph") -> dict[str, np.ndarray]:
    """Follows the picture through the trunk; other operations may branch off anywhere, as a detector's do."""
    arrays = identity_expansion()

    def convolution(module: str, kind: str, shape: tuple[int, ...], stride: int, activation: str) -> None:
        operation = graph.follow(f"{kind} {list(shape)}, stride {stride}, {activation}")
        kernel, bias = (graph.constant(operation.Inputs(i)) for i in (1, 2))
        if bias.shape != (max(shape[0], shape[3] if kind == "DEPTHWISE_CONV_2D" else 0),):
            raise ValueError(f"a bias {bias.shape} for {shape}")
        kernel = kernel.transpose((0, 3, 1, 2) if kind == "CONV_2D" else (3, 0, 1, 2))
        if module == "layer1":
            kernel, bias = _of_normalized(kernel, bias)
        kernel, bias = (np.array(values, np.float32, order="C") for values in (kernel, bias))
        arrays[f"{module}.0.weight"] = kernel
        arrays.update(shift(f"{module}.1", bias))

    convolution("layer1", "CONV_2D", (32, 3, 3, 3), 2, "RELU6")
    width = 32
    for stage, (expansion, features, blocks, first_stride) in enumerate(STAGES, start=2):
        for block in range(blocks):
            name, start, wide = f"layer{stage}.{block}.output", graph.tensor, expansion * width
            if expansion > 1:
                convolution(f"{name}.0", "CONV_2D", (wide, 1, 1, width), 1, "RELU6")
            stride = 1 if block else first_stride
            convolution(f"{name}.1", "DEPTHWISE_CONV_2D", (1, 3, 3, wide), stride, "RELU6")
            convolution(f"{name}.2", "CONV_2D", (features, 1, 1, wide), 1, "NONE")
            if block:
                graph.follow(f"ADD of tensors {sorted((start, graph.tensor))}, NONE")
            width = features
    return arrays


def _of_normalized(kernel: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Converts a convolution of pixels in [-1, 1] to one of pixels with ImageNet's normalization: x = 2 (std n + mean) - 1."""
    mean, std = (np.array(values)[:, None, None] for values in (models.IMAGENET_MEAN, models.IMAGENET_STD))
    return kernel * (2 * std), bias + (kernel * (2 * mean - 1)).sum((1, 2, 3))


class _Graph:
    """Operations and constants of a file's network, and a place in it.

    Attributes:
      model: the root of the file.
      tensor: number of the tensor that has been reached, at first the picture.
      used: operations that were followed.
    """

    def __init__(self, content: bytes):
        self.model = schema.Model.GetRootAs(content)
        self._subgraph = self.model.Subgraphs(0)
        self._users = defaultdict(list)  # of every tensor
        self._halves = {}  # tensor of float32 -> the one of float16 that it is made from
        self.used, self.tensor, inputs = 0, self._subgraph.Inputs(0), 0
        for i in range(self._subgraph.OperatorsLength()):
            operation = self._subgraph.Operators(i)
            inputs += 1 + operation.InputsLength()
            if inputs > _MAX_INPUTS:
                raise WeightsError(f"of more than {_MAX_INPUTS:,} operations and inputs; no MobileNet-v2 has so many.")
            if self._name(operation) == "DEQUANTIZE":
                self._halves[operation.Outputs(0)] = operation.Inputs(0)
            for j in range(operation.InputsLength()):
                self._users[operation.Inputs(j)].append(operation)

    def follow(self, wanted: str) -> schema.Operator:
        """Follows the picture through the operation with that description, and through padding before it.

        Raises:
          WeightsError: there is none, or more than one.
        """
        users = self._described(self.tensor)
        pads = [user for text, user in users if text in _PADS]
        if pads and "stride 2" in wanted and wanted not in dict(users):
            self.used, wanted = self.used + 1, f"{wanted}, not padded"
            users = self._described(pads[0].Outputs(0))
        fitting = [user for text, user in users if text == wanted]
        if len(fitting) != 1:
            there = " and ".join(text for text, _ in users) or "nothing"
            raise WeightsError(
                f"of another network than MobileNet-v2 1.0 in float32 or float16: after {self.used} of its operations comes "
                f"{there:.300}, where one {wanted} is needed."
            )
        self.used, self.tensor = self.used + 1, fitting[0].Outputs(0)
        return fitting[0]

    def constant(self, tensor: int) -> np.ndarray:
        """Returns an array as it is stored in the file."""
        found = self._tensor(tensor)
        shape, dtype = self._shape(found), _DTYPES[found.Type()]
        data = self.model.Buffers(_below(found.Buffer(), self.model.BuffersLength())).DataAsNumpy()
        if np.size(data) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{dtype} {shape} in {np.size(data)} bytes")
        return np.frombuffer(data, dtype).reshape(shape)

    def _described(self, tensor: int) -> list[tuple[str, schema.Operator]]:
        """Returns the operations that use a tensor; none for the second time, so that a cycle ends."""
        return [(self._describe(user), user) for user in self._users.pop(tensor, ())]

    def _describe(self, operation: schema.Operator) -> str:
        """Returns the kind and options of an operation: 'CONV_2D [32, 3, 3, 3], stride 2, RELU6'."""
        name = self._name(operation)
        if name == "PAD":
            sizes = self.constant(operation.Inputs(1))
            return f"PAD {sizes.ravel().tolist()}" if sizes.size == 8 else "PAD"
        kind = {"CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "ADD": "Add"}.get(name)
        if kind is None:
            return name
        table, options = operation.BuiltinOptions(), getattr(schema, f"{kind}Options")()
        options.Init(table.Bytes, table.Pos)
        activation = _key(schema.ActivationFunctionType, options.FusedActivationFunction())
        if name == "ADD":
            return f"ADD of tensors {sorted((operation.Inputs(0), operation.Inputs(1)))}, {activation}"
        kernel = self._tensor(operation.Inputs(1))
        shape, strides = self._shape(kernel), {options.StrideH(), options.StrideW()}
        faults = {
            f"weights {_key(schema.TensorType, kernel.Type())}": kernel.Type() not in (0, 1),
            "dilated": {options.DilationHFactor(), options.DilationWFactor()} != {1},
            "no bias": operation.InputsLength() < 3 or operation.Inputs(2) < 0,
            "not padded": options.Padding() == schema.Padding.VALID and shape[1:3] != [1, 1],
        }
        parts = [f"{name} {shape}", f"stride {' x '.join(map(str, strides))}", activation]
        return ", ".join(parts + [fault for fault, there in faults.items() if there])

    def _name(self, operation: schema.Operator) -> str:
        """Returns the name of an operation in the schema, such as CONV_2D."""
        code = self.model.OperatorCodes(_below(operation.OpcodeIndex(), self.model.OperatorCodesLength()))
        return _key(schema.BuiltinOperator, max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))

    def _tensor(self, tensor: int) -> schema.Tensor:
        return self._subgraph.Tensors(_below(self._halves.get(tensor, tensor), self._subgraph.TensorsLength()))

    @staticmethod
    def _shape(tensor: schema.Tensor) -> list[int]:
        return [tensor.Shape(i) for i in range(_below(tensor.ShapeLength(), _MAX_AXES + 1))]


def _below(number: int, bound: int) -> int:
    if not 0 <= number < bound:
        raise IndexError(f"{number} where {bound} are listed")
    return number


def _key(enum: type, number: int) -> str:
    """Returns the schema's name of a number."""
    return next((name for name, value in vars(enum).items() if value == number), f"{enum.__name__} {number}")
