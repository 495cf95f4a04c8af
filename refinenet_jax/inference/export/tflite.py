"""TFLite: the network for phones and small boards, run by LiteRT, in float32 or int8, one picture at a time."""

import json
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from jax.extend import core

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.export import savedmodel
from refinenet_jax.inference.export.network import INPUT, OUTPUTS, Network
from refinenet_jax.inference.export.plain import plain

SUFFIX = ".tflite"
PRECISION = "highest"  # the runtime multiplies in float32, also for networks of a GPU or TPU
BATCH = "1"
_DEAD_SCALE = 1e-8  # the converter widens an empty range to 1e-6 or 2e-6 in 255 steps
_ABOUT, _IDENTIFIER = b"model.json", b"TFL3"


def write(path: Path, network: Network, about: Mapping[str, Any], calibration: Sequence[np.ndarray]) -> None:
    """Writes the file, with the metadata in the buffer `model.json`.

    In int8, everything except the normalization of pixels is quantized.

    Raises:
      UsageError: a layer outputs only zeros on the calibration pictures.
    """
    classify = core.jaxpr_as_fun(plain(network.classify, network.input(1)))
    module = tf.Module()
    module.classify = savedmodel.function(classify, network, 1, ["cpu"])
    # Converted from a SavedModel so that the file has a signature with names.
    folder = path.with_suffix(".saved")
    tf.saved_model.save(module, str(folder), signatures=module.classify)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder))
    if calibration:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({INPUT: image[None]} for image in calibration)
        # The float builtins are for the conversion of uint8 pixels and their normalization.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    with warnings.catch_warnings():  # calibration uses an interpreter that is deprecated in favor of LiteRT
        warnings.simplefilter("ignore", UserWarning)
        content = converter.convert()
    if calibration:
        _check_ranges(content)
    path.write_bytes(_with_metadata(content, about))


def _check_ranges(content: bytes) -> None:
    """Raises UsageError if a layer outputs only zeros on the calibration pictures: LiteRT aborts on its quantized sums."""
    for tensor in schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0].tensors:
        scale = tensor.quantization.scale if tensor.quantization else None
        if tensor.type == schema.TensorType.INT8 and scale is not None and len(scale) == 1 and scale[0] < _DEAD_SCALE:
            raise UsageError(
                "A layer of this network is dead: it outputs only zeros on the calibration pictures, and TFLite cannot compute "
                "such a layer in int8. Calibrate with more typical pictures, export in float32, or train the network again "
                "with a lower learning rate or config.optimizer.clip_norm."
            )


def load(path: Path) -> tuple[dict, Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """Returns the metadata and the network in LiteRT."""
    content = path.read_bytes()
    interpreter = Interpreter(model_content=content, num_threads=os.cpu_count())
    classify = interpreter.get_signature_runner()

    def run(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        results = classify(**{INPUT: image})
        return tuple(results[name] for name in OUTPUTS)

    return _metadata(content), run


def _with_metadata(content: bytes, about: Mapping[str, Any]) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(json.dumps(about, indent=2).encode(), np.uint8)
    entry.name, entry.buffer = _ABOUT, len(model.buffers)
    model.buffers.append(buffer)
    model.metadata = [*(model.metadata or ()), entry]
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _metadata(content: bytes) -> dict:
    model = schema.Model.GetRootAs(content)
    entries = (model.Metadata(i) for i in range(model.MetadataLength()))
    (buffer,) = (model.Buffers(entry.Buffer()) for entry in entries if entry.Name() == _ABOUT)
    return json.loads(buffer.DataAsNumpy().tobytes())
