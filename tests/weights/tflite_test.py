"""A MobileNet-v2 in a TFLite file computes what LiteRT's interpreter computes; other content is refused."""

import re
from functools import partial

import cv2
import jax
import numpy as np
import pytest
import tflite_files
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from conftest import SHARED
from plain_forms import QUICK
from tflite_files import ACTIVATION, PADDING, mobilenet

from refinenet_jax import models, weights
from refinenet_jax.__main__ import main
from refinenet_jax.weights import files
from refinenet_jax.weights.names import pytorch_name

LAST_BLOCKS = {"stage3": 2, "stage4": 5, "stage5": 9, "stage6": 12, "stage7": 15, "stage8": 16}


@pytest.fixture(scope="module")
def real():
    """A detector of float16, and a photograph."""
    paths = [*(SHARED / "realdata").glob("trunk/*_fp16.tflite"), *(SHARED / "realdata").glob("photos_mit/*.jpg")]
    if len(paths) < 2:
        pytest.skip("the detector (../shared/realdata/trunk) is not on this machine")
    return paths[0].read_bytes(), cv2.imread(str(paths[1]))[..., ::-1]


def interpreted(content: bytes, picture: np.ndarray) -> dict[str, np.ndarray]:
    """Features of the trunk's stages by the interpreter, for a picture uint8 [h, w, 3].

    Two things make its padding ours. The first convolution gets none; the picture is framed instead, by ImageNet's mean color,
    which is our zero. And where sizes are odd, or pads are operations of their own, strides of 2 are padded on all sides.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    ends = {}
    for operator in graph.operators:
        made = graph.tensors[operator.outputs[0]]
        if (match := re.search(r"expanded_conv_(\d+)/(add|project)", made.name.decode())) and made.shape[0] == 1:
            ends[int(match[1])] = operator.outputs[0]
    first = next(op for op in graph.operators if 0 in op.inputs)
    first.builtinOptions.padding = PADDING.VALID
    graph.outputs = [ends[block] for block in LAST_BLOCKS.values()]
    needed, operators = set(graph.outputs), []
    for operator in reversed(graph.operators):
        if needed & set(operator.outputs):
            operators.insert(0, operator)
            needed |= set(operator.inputs)
    graph.operators = operators
    # Others compute in float16 what is stored so.
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=tflite_files.packed(model), experimental_op_resolver_type=resolver)
    framed = np.full((picture.shape[0] + 2, picture.shape[1] + 2, 3), np.array(models.IMAGENET_MEAN) * 2 - 1)
    framed[1:-1, 1:-1] = picture / 127.5 - 1
    interpreter.resize_tensor_input(0, (1, *framed.shape))
    interpreter.allocate_tensors()
    interpreter.set_tensor(0, framed[None].astype(np.float32))
    interpreter.invoke()
    return {
        stage: interpreter.get_tensor(details["index"])
        for stage, details in zip(LAST_BLOCKS, interpreter.get_output_details(), strict=True)
    }


def assert_same_features(path, picture):
    model = models.create_model("rf_lw_mbv2", 2)
    rest = {}  # what a trunk's file lacks
    for place, leaf in jax.tree_util.tree_leaves_with_path(models.variable_shapes(model)["params"]):
        keys = tuple(key.key for key in place)
        if keys[0] != "trunk":
            rest[pytorch_name(keys, model.trunk_name)] = np.zeros(leaf.shape[::-1], np.float32)
    variables = weights.load_weights(rest | dict(weights.network_in(path).arrays), model)
    ours = _features(variables, models.normalize(picture[None]))
    theirs = interpreted(path.read_bytes(), picture)
    assert ours.keys() == theirs.keys()
    for stage, wanted in theirs.items():
        assert wanted.std() > 0.1
        np.testing.assert_allclose(ours[stage], wanted, rtol=0, atol=1e-4 * wanted.std(), err_msg=stage)


@partial(jax.jit, compiler_options=QUICK)
def _features(variables, image):
    model = models.create_model("rf_lw_mbv2", 2)
    _, state = model.apply(variables, image, capture_intermediates=lambda module, _: module.name == "trunk")
    return state["intermediates"]["trunk"]["__call__"][0]


@pytest.mark.parametrize(
    ("half", "pads"),
    [(False, None), (True, None), (False, (1, 1))],
    ids=["float32", "float16", "pads as operations"],
)
def test_features_are_those_of_the_interpreter(tmp_path, half, pads):
    path = tmp_path / "network.bin"
    path.write_bytes(mobilenet(half, pads))
    assert_same_features(path, np.random.default_rng(1).integers(0, 256, (33, 65, 3), np.uint8))


def test_features_of_a_real_detector_are_those_of_the_interpreter(real, tmp_path):
    path = tmp_path / "network.bin"
    path.write_bytes(real[0])
    assert_same_features(path, cv2.resize(real[1], (65, 33), interpolation=cv2.INTER_AREA))


def test_pads_at_the_far_edge_change_no_weights(tmp_path):
    """Keras pads even sizes in this way, by separate operations."""
    for name, pads in (("keras", (0, 1)), ("plain", None)):
        (tmp_path / name).write_bytes(mobilenet(pads=pads))
    keras, plain = (files.read(tmp_path / name) for name in ("keras", "plain"))
    jax.tree.map(np.testing.assert_array_equal, dict(keras.arrays), dict(plain.arrays))


def test_the_trunk_is_loaded_and_described(tmp_path, capsys):
    path = tmp_path / "mobilenet.tflite"
    path.write_bytes(mobilenet(half=True))
    assert main(["convert", str(path)]) == 0
    output = capsys.readouterr().out
    assert "TFLite, 260 arrays, 1.8 M numbers\nnetwork   mobilenet_v2, a trunk alone\n" in output
    _, variables = weights.load(path, variant="rf_lw_mbv2", num_classes=3)
    trunk, wanted = variables["params"]["trunk"], files.read(path).arrays
    np.testing.assert_array_equal(trunk["bn1"]["bias"], wanted["layer1.1.bias"])
    depthwise = trunk["stage8_block1"]["depthwise"]["kernel"]
    np.testing.assert_array_equal(depthwise.transpose(3, 2, 0, 1), wanted["layer8.0.output.1.0.weight"])


# ---- what is refused


def refused(path, content) -> str:
    """The message."""
    path.write_bytes(content)
    with pytest.raises(files.WeightsError) as error:
        files.read(path)
    assert str(error.value).startswith(f"{path} is a TFLite file ")
    assert len(str(error.value)) < 1000
    return str(error.value)


def _set(number: int, **values: int):
    """Options of an operation, counted from 0."""

    def change(writer):
        for name, value in values.items():
            setattr(writer.operators[number].builtinOptions, name, value)

    return change


def _kernel(number: int, **values: object):
    def change(writer):
        for name, value in values.items():
            setattr(writer.tensors[writer.operators[number].inputs[1]], name, value)

    return change


def _loop(writer):
    writer.operators[1].outputs = writer.operators[1].inputs[:1]


def _twice(writer):
    writer.operators.insert(3, writer.operators[3])


@pytest.mark.parametrize(
    ("change", "after", "comes"),
    [
        (_set(0, strideH=1, strideW=1), 0, "CONV_2D [32, 3, 3, 3], stride 1, RELU6"),
        (_set(3, fusedActivationFunction=ACTIVATION.RELU), 3, "CONV_2D [96, 1, 1, 16], stride 1, RELU"),
        (_set(4, dilationHFactor=2), 4, "DEPTHWISE_CONV_2D [1, 3, 3, 96], stride 2, RELU6, dilated"),
        (_set(4, padding=PADDING.VALID), 4, "DEPTHWISE_CONV_2D [1, 3, 3, 96], stride 2, RELU6, not padded"),
        (_kernel(0, shape=[16, 3, 3, 3]), 0, "CONV_2D [16, 3, 3, 3], stride 2, RELU6"),
        (_kernel(5, type=schema.TensorType.INT8), 5, "CONV_2D [24, 1, 1, 96], stride 1, NONE, weights INT8"),
        (lambda writer: writer.operators[5].inputs.pop(), 5, "CONV_2D [24, 1, 1, 96], stride 1, NONE, no bias"),
        (lambda writer: setattr(writer.operators[0], "opcodeIndex", 5), 0, "SOFTMAX"),
        (lambda writer: writer.operators.pop(7), 7, "nothing"),
        (_loop, 2, "nothing"),
        (_twice, 3, "CONV_2D [96, 1, 1, 16], stride 1, RELU6 and CONV_2D [96, 1, 1, 16], stride 1, RELU6"),
    ],
)
def test_the_first_operation_that_differs_is_named(tmp_path, change, after, comes):
    message = refused(tmp_path / "network.bin", mobilenet(change=change))
    assert f"after {after} of its operations comes {comes}, where one " in message


def test_a_sum_with_another_feature_is_refused(tmp_path):
    def change(writer):
        writer.operators[9].inputs[0] = 0

    message = refused(tmp_path / "network.bin", mobilenet(change=change))
    assert re.search(
        r"after 9 .* comes ADD of tensors \[0, (\d+)\], NONE, where one ADD of tensors \[\d+, \1\], NONE", message
    )


@pytest.mark.parametrize(
    "change",
    [
        _kernel(0, buffer=1000),
        _kernel(0, buffer=0),
        _kernel(2, buffer=1),
        _kernel(2, shape=[1] * 1000),
        lambda writer: writer.operators[2].inputs.__setitem__(1, 1 << 20),
        lambda writer: writer.operators[2].inputs.__setitem__(2, writer.operators[1].inputs[1]),
        lambda writer: setattr(writer.operators[2], "opcodeIndex", 6),
        lambda writer: setattr(writer.operators[2], "builtinOptions", None),
    ],
)
def test_invalid_references_are_refused(tmp_path, change):
    assert "is damaged" in refused(tmp_path / "network.bin", mobilenet(change=change))


def test_too_many_operations_are_refused(tmp_path):
    content = mobilenet(change=lambda writer: writer.operators.extend(writer.operators[:1] * 20_000))
    assert "of more than 20,000 operations and inputs" in refused(tmp_path / "network.bin", content)
