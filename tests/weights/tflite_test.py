"""A MobileNet-v2 in a TFLite file computes what LiteRT's interpreter computes; whatever else it may hold is refused."""

import re
import resource

import cv2
import jax
import numpy as np
import pytest
import tflite_files
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from conftest import SHARED
from tflite_files import ACTIVATION, PADDING, mobilenet

from refinenet_jax import models, weights
from refinenet_jax.__main__ import main
from refinenet_jax.training import init
from refinenet_jax.weights import files

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
    variables = init.initial_variables(model, 0, path)
    ours = model.apply(variables, models.normalise(picture[None]), features_only=True)
    theirs = interpreted(path.read_bytes(), picture)
    assert ours.keys() == theirs.keys()
    for stage, wanted in theirs.items():
        assert wanted.std() > 0.1
        np.testing.assert_allclose(ours[stage], wanted, rtol=0, atol=1e-4 * wanted.std(), err_msg=stage)


@pytest.mark.parametrize(
    ("half", "pads", "size"),
    [(False, None, (97, 129)), (True, None, (97, 65)), (False, (1, 1), (96, 128))],
    ids=["float32", "float16", "pads as operations"],
)
def test_features_are_the_interpreters(tmp_path, half, pads, size):
    path = tmp_path / "network.bin"
    path.write_bytes(mobilenet(half, pads))
    assert_same_features(path, np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8))


def test_features_of_a_real_detector_are_the_interpreters(real, tmp_path):
    path = tmp_path / "network.bin"
    path.write_bytes(real[0])
    assert_same_features(path, cv2.resize(real[1], (321, 257), interpolation=cv2.INTER_AREA))


def test_convert_says_what_it_is_and_makes_a_network_of_it(tmp_path, capsys):
    path = tmp_path / "mobilenet.tflite"
    path.write_bytes(mobilenet(half=True))
    assert main(["convert", str(path)]) == 0
    told = capsys.readouterr().out
    assert re.search(r"TFLite, 260 arrays, 1\.8 M numbers\nnetwork   mobilenet_v2, a trunk alone\n", told)
    assert "description: a test, operations outside the trunk: 1" in told
    arguments = ["--variant=rf_lw_mbv2", "--classes=background,hand", f"--output={tmp_path / 'made.safetensors'}"]
    assert main(["convert", str(path), *arguments]) == 0
    _, variables = weights.load(tmp_path / "made.safetensors")
    _, wanted = weights.load(path, variant="rf_lw_mbv2", num_classes=2)
    jax.tree.map(np.testing.assert_array_equal, variables, wanted)


def test_keras_pads_at_the_far_edge_are_taken():
    assert mobilenet(pads=(0, 1)) != mobilenet()


# ---- what is refused


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


def _inputs(number: int, inputs: list[int]):
    def change(writer):
        writer.operators[number].inputs = inputs or writer.operators[number].inputs[:2]

    return change


def _loop(writer):
    writer.operators[1].outputs = writer.operators[1].inputs[:1]


def _twice(writer):
    writer.operators.insert(3, writer.operators[3])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set(0, strideH=1, strideW=1), "after 0 of its operations comes CONV_2D [32, 3, 3, 3], stride 1, RELU6, where one"),
        (_set(3, fusedActivationFunction=ACTIVATION.RELU), "after 3 .* CONV_2D [96, 1, 1, 16], stride 1, RELU, where"),
        (_set(4, dilationHFactor=2), "after 4 .* DEPTHWISE_CONV_2D [1, 3, 3, 96], stride 2, RELU6, dilated, where"),
        (_set(4, padding=PADDING.VALID), "RELU6, not padded, where one DEPTHWISE_CONV_2D [1, 3, 3, 96], stride 2, RELU6 is"),
        (_kernel(0, shape=[16, 3, 3, 3]), "after 0 of its operations comes CONV_2D [16, 3, 3, 3], stride 2, RELU6, where"),
        (_kernel(5, type=schema.TensorType.INT8), "after 5 .* CONV_2D [24, 1, 1, 96], stride 1, NONE, weights INT8, where"),
        (_inputs(5, []), "after 5 .*, no bias, where"),
        (_inputs(9, [0, 0]), "after 9 of its operations comes nothing, where one ADD of tensors "),
        (lambda writer: writer.operators.pop(7), "after 7 of its operations comes ADD of tensors .* and CONV_2D"),
        (_loop, "after 2 of its operations comes nothing"),
        (_twice, "after 3 of its operations comes CONV_2D .* and CONV_2D .*, where one CONV_2D [96, 1, 1, 16]"),
        (lambda writer: setattr(writer.operators[0], "opcodeIndex", 5), "after 0 of its operations comes SOFTMAX, where"),
        (lambda writer: writer.operators.extend(writer.operators[:1] * 20_000), "more than 20,000 operations"),
    ],
)
def test_other_networks_are_refused_by_the_first_operation_that_differs(tmp_path, change, says):
    path = tmp_path / "network.bin"
    path.write_bytes(mobilenet(change=change))
    pattern = re.escape(f"{path} is a TFLite file of ") + ".*" + re.escape(says).replace(r"\.\*", ".*")
    with pytest.raises(files.WeightsError, match=pattern.replace(r"\ ", " ")) as error:
        files.read(path)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "change",
    [
        _kernel(0, buffer=1000),
        _kernel(0, buffer=0),
        _kernel(2, buffer=1),
        _kernel(2, shape=[1] * 1000),
        _inputs(2, [5, 1 << 20, 3]),
        lambda writer: setattr(writer.operators[2], "opcodeIndex", 6),
        lambda writer: setattr(writer.operators[2], "builtinOptions", None),
    ],
)
def test_files_that_lie_are_refused(tmp_path, change):
    path = tmp_path / "network.bin"
    path.write_bytes(mobilenet(change=change))
    with pytest.raises(files.WeightsError, match="cut short or damaged|another network"):
        files.read(path)
