"""ONNX: the network for ONNX Runtime and other readers, in float32 or int8.

The graph is written operator by operator from a plain program. jax2onnx 0.13 cannot trace the network (it replaces `jnp.take`
by a function with fewer arguments), and writes pools as four-dimensional windows, which ONNX Runtime rejects.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from jax.extend import core
from onnx import helper
from onnxruntime import quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from refinenet_jax.inference.export import onnx_rules
from refinenet_jax.inference.export.network import INPUT, OUTPUTS, Network
from refinenet_jax.inference.export.onnx_graph import Graph
from refinenet_jax.inference.export.plain import plain

SUFFIX = ".onnx"
PRECISION = "highest"  # the runtime multiplies in float32, also for networks of a GPU or TPU
BATCH = "free"
OPSET, IR_VERSION = 18, 8  # ONNX Runtime 1.14 and newer
# Activations too: otherwise their inputs would be quantized with the unclipped range.
_QUANTIZED = ["Clip", "Conv", "MaxPool", "Relu"]


def write(path: Path, network: Network, about: Mapping[str, Any], calibration: Sequence[np.ndarray]) -> None:
    """Writes the file, with the metadata in `metadata_props`.

    In int8, convolutions and the operators between them are quantized by ONNX Runtime (QDQ, weights per channel).

    Raises:
      UsageError: the network has an operator that cannot be written.
    """
    model = to_onnx(plain(network.classify, network.input(1)))
    if calibration:
        model = _quantize(model, calibration, path.parent)
    helper.set_model_props(model, {"model.json": json.dumps(about, indent=2)})
    onnx.save(model, path)


def load(path: Path) -> tuple[dict, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """Returns the metadata and the network in ONNX Runtime."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return tuple(session.run(list(OUTPUTS), {INPUT: image}))

    return json.loads(session.get_modelmeta().custom_metadata_map["model.json"]), run


def to_onnx(program: core.ClosedJaxpr) -> onnx.ModelProto:
    """Converts a plain program with one input and two outputs to a checked model.

    The batch size is free, whatever it was in the program: no node depends on it.

    Raises:
      UsageError: the program has an operator that cannot be written.
    """
    graph, jaxpr = Graph(program, [INPUT]), program.jaxpr
    for equation in jaxpr.eqns:
        onnx_rules.write(graph, equation)
    for var, name in zip(jaxpr.outvars, OUTPUTS, strict=True):
        graph.node("Identity", [graph.read(var)], name)
    inputs = [_declare(INPUT, jaxpr.invars[0])]
    outputs = [_declare(name, var) for name, var in zip(OUTPUTS, jaxpr.outvars, strict=True)]
    model = helper.make_model(
        helper.make_graph(graph.nodes, "refinenet_jax", inputs, outputs, graph.initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="refinenet-jax",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def _declare(name: str, var: core.Var) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(var.aval.dtype))
    return helper.make_tensor_value_info(name, kind, ["batch", *var.aval.shape[1:]])


def _quantize(model: onnx.ModelProto, calibration: Sequence[np.ndarray], folder: Path) -> onnx.ModelProto:
    written, prepared, quantized = (folder / f"{name}.onnx" for name in ("float32", "prepared", "quantized"))
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)  # it warns about intended settings
    try:
        onnx.save(model, written)
        quant_pre_process(written, prepared, skip_symbolic_shape=True)
        quantization.quantize_static(
            prepared,
            quantized,
            _Calibration(calibration),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
            per_channel=True,
            reduce_range=True,  # 7-bit weights: 8-bit sums saturate on processors without VNNI
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        return onnx.load(quantized)
    finally:
        logger.setLevel(before)


class _Calibration(quantization.CalibrationDataReader):
    def __init__(self, images: Sequence[np.ndarray]):
        self._feeds: Iterator[dict] = ({INPUT: image[None]} for image in images)

    def get_next(self) -> dict | None:
        return next(self._feeds, None)
