"""Writes TFLite files of a MobileNet-v2 1.0 with random weights, as TensorFlow's converter lays it out."""

from collections.abc import Callable

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from refinenet_jax.models.mobilenet import STAGES

ACTIVATION, PADDING = schema.ActivationFunctionType, schema.Padding
_OPERATORS = {
    "CONV_2D": schema.Conv2DOptionsT,
    "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptionsT,
    "ADD": schema.AddOptionsT,
    "PAD": schema.PadOptionsT,
    "DEQUANTIZE": schema.DequantizeOptionsT,
    "SOFTMAX": schema.SoftmaxOptionsT,
}
_VERSIONS = {"DEQUANTIZE": 3}  # the first that takes float16


class Writer:
    """A file in the making; operations are appended to `operators`, each followed by its output in `tensor`."""

    def __init__(self, half: bool, pads: tuple[int, int] | None):
        """half: weights of float16. pads: before and after, as operations of their own before depthwise strides of 2."""
        self.half, self.pads, self.random = half, pads, np.random.default_rng(0)
        self.tensors, self.operators, self.buffers = [], [], [schema.BufferT()]
        self.tensor = self.activation("picture", 3)
        self._convolution("CONV_2D", (32, 3, 3, 3), "conv", ACTIVATION.RELU6, 2)
        width, number = 32, 0
        for expansion, features, blocks, first_stride in STAGES:
            for block in range(blocks):
                start, wide, name = self.tensor, expansion * width, f"expanded_conv_{number}"
                if expansion > 1:
                    self._convolution("CONV_2D", (wide, 1, 1, width), f"{name}/expand", ACTIVATION.RELU6)
                stride = 1 if block else first_stride
                self._convolution("DEPTHWISE_CONV_2D", (1, 3, 3, wide), f"{name}/depthwise", ACTIVATION.RELU6, stride)
                self._convolution("CONV_2D", (features, 1, 1, wide), f"{name}/project", ACTIVATION.NONE)
                if block:
                    self.operator("ADD", [start, self.tensor], f"{name}/add", features)
                width, number = features, number + 1
        self.operator("SOFTMAX", [self.tensor], "after", width)

    def activation(self, name: str, channels: int) -> int:
        return self._tensor(name, (1, 1, 1, channels), schema.TensorType.FLOAT32, 0)  # the interpreter finds the sizes

    def constant(self, name: str, array: np.ndarray) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self.buffers.append(buffer)
        kinds = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32"}
        kind = getattr(schema.TensorType, kinds[array.dtype.name])
        return self._tensor(name, array.shape, kind, len(self.buffers) - 1)

    def operator(self, kind: str, inputs: list[int], name: str, channels: int, **options: int) -> None:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs = list(_OPERATORS).index(kind), inputs
        made.builtinOptions = _OPERATORS[kind]()
        made.builtinOptionsType = getattr(schema.BuiltinOptions, type(made.builtinOptions).__name__.removesuffix("T"))
        for option, value in options.items():
            setattr(made.builtinOptions, option, value)
        self.tensor = self.activation(name, channels)
        made.outputs = [self.tensor]
        self.operators.append(made)

    def _tensor(self, name: str, shape: tuple[int, ...], kind: int, buffer: int) -> int:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), list(shape), kind, buffer
        self.tensors.append(made)
        return len(self.tensors) - 1

    def _weights(self, name: str, array: np.ndarray) -> int:
        if not self.half:
            return self.constant(name, array.astype(np.float32))
        before = self.tensor
        self.operator("DEQUANTIZE", [self.constant(name, array.astype(np.float16))], name, 1)
        self.tensors[-1].shape = list(array.shape)
        made, self.tensor = self.tensor, before
        return made

    def _convolution(self, kind: str, shape: tuple[int, ...], name: str, activation: int, stride: int = 1) -> None:
        channels = shape[0] if kind == "CONV_2D" else shape[3]
        inputs = np.prod(shape) / channels
        kernel = self._weights(f"{name}/kernel", self.random.normal(0, (2 / inputs) ** 0.5, shape))
        bias = self._weights(f"{name}/bias", self.random.normal(0.2, 0.2, channels))
        padding = PADDING.SAME
        if stride == 2 and kind != "CONV_2D" and self.pads is not None:
            sizes = self.constant("sizes", np.array([(0, 0), self.pads, self.pads, (0, 0)], np.int32))
            self.operator("PAD", [self.tensor, sizes], f"{name}/pad", channels)
            padding = PADDING.VALID
        options = {"strideH": stride, "strideW": stride, "padding": padding, "fusedActivationFunction": activation}
        if kind != "CONV_2D":
            options["depthMultiplier"] = 1
        self.operator(kind, [self.tensor, kernel, bias], name, channels, **options)

    def content(self) -> bytes:
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, [0], [self.tensor]
        model.version, model.subgraphs, model.buffers, model.description = 3, [graph], self.buffers, b"a test"
        model.operatorCodes = []
        for name in _OPERATORS:
            code = schema.OperatorCodeT()
            code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
            code.version = _VERSIONS.get(name, 1)
            model.operatorCodes.append(code)
        return packed(model)


def packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(16 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def mobilenet(
    half: bool = False, pads: tuple[int, int] | None = None, change: Callable[[Writer], None] = lambda writer: None
) -> bytes:
    """A whole file, after `change` has done what it wants to what will be written."""
    writer = Writer(half, pads)
    change(writer)
    return writer.content()
