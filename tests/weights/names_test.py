"""MATLAB's, torchvision's and timm's names: every array is used, and the model computes what MATLAB's graph computes."""

import itertools
import string
import sys
from functools import partial

import jax
import numpy as np
import pytest
from plain_forms import QUICK

from refinenet_jax import models, weights
from refinenet_jax.__main__ import main
from refinenet_jax.errors import UsageError
from refinenet_jax.models.mobilenet import STAGES
from refinenet_jax.weights import loading, names, recognize
from refinenet_jax.weights.weights_file import WeightsError, WeightsFile

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def matlab_shapes(depth=101, classes=3, order="conv_pool", stages=4, legacy=False):
    """Names and shapes in the authors' file, from their own code."""
    shapes = {"conv1_filter": (7, 7, 3, 64)}

    def norm(name, width):
        shapes.update({f"{name}_mult": (width, 1), f"{name}_bias": (width, 1), f"{name}_moments": (width, 2)})

    norm("bn_conv1", 64)
    if depth == 50:
        shapes["conv1_bias"] = (1, 64)
    inside = 64
    for stage, count in zip((2, 3, 4, 5), BLOCKS[depth], strict=True):
        width = 64 * 2 ** (stage - 2)
        numbered = depth > 50 and stage in (3, 4)
        for block in range(count):
            label = f"b{block}" if numbered and block else string.ascii_lowercase[block]
            branches = {"2a": (1, inside, width), "2b": (3, width, width), "2c": (1, width, 4 * width)}
            if block == 0:
                branches["1"] = (1, inside, 4 * width)
            for branch, (kernel, before, after) in branches.items():
                shapes[f"res{stage}{label}_branch{branch}_filter"] = (kernel, kernel, before, after)
                norm(f"bn{stage}{label}_branch{branch}", after)
            inside = 4 * width
    adapt = "adapt_stage" if legacy else "adapt_input_path"
    for g, (taken, width) in enumerate(((2048, 512), (1024, 256), (512, 256), (256, 256)), 1):
        square = (3, 3, width, width)
        shapes[f"p_ims1d2_outl{g}_dimred_filter"] = (3, 3, taken, width)
        for unit in (*(f"{adapt}{g}_b{j}" for j in (1, 2)), *(f"mflow_conv_g{g}_b{j}" for j in (1, 2, 3))):
            shapes |= {f"{unit}_conv_filter": square, f"{unit}_conv_bias": (1, width)}
            shapes[f"{unit}_conv_relu_varout_dimred_filter"] = square
        if g > 1:
            shapes[f"mflow_conv_g{g - 1}_b3_joint_varout_dimred_filter"] = (3, 3, 512 if g == 2 else 256, 256)
            shapes[f"{adapt}{g}_b2_joint_varout_dimred_filter"] = (3, 3, 256, 256)
        for n in range(1, stages + 1):
            pool = "poolprev_relu_varout_pb1" if n == 1 else f"pool{n - 1}_outvar_pb{n}"
            pool = pool if order == "conv_pool" else f"pool{n}_outvar_dimred"
            shapes[f"mflow_conv_g{g}_{pool}_filter"] = square
    return shapes | {"filters": (3, 3, 256, classes), "biases": (1, classes)}


def matlab_file(arrays, **facts):
    return WeightsFile("MatConvNet (v7.3)", arrays, {"net_input_img_scales": 1.2, **facts})


@pytest.mark.parametrize("order", ["conv_pool", "pool_conv"])
def test_full_size_network_computes_what_matlab_computes(golden, order):
    sys.path.insert(0, str(golden("matconvnet")))
    from fill import value

    rule_names = {"filters": "classifier_filter", "biases": "classifier_bias"}
    shapes = matlab_shapes(order=order, legacy=order == "pool_conv")
    arrays = {name: value(rule_names.get(name, name), shape) for name, shape in shapes.items()}
    network = recognize.recognize(matlab_file(arrays))
    assert (network.variant, network.num_classes, network.class_names) == ("rf101", 3, ("background", "hand"))
    model = models.create_model(network.variant, network.num_classes, **network.options)
    variables = loading.fill(model, network, "the golden file")
    expected = np.load(golden(f"matconvnet/reference_{order}.npz"))

    captured = {"trunk", "refine1", "refine2", "refine3", "refine4"}

    @partial(jax.jit, compiler_options=QUICK)
    def compute(variables, image):
        x = models.normalize(image, model.normalization)
        logits, state = model.apply(variables, x, capture_intermediates=lambda module, _: module.name in captured)
        found, cascade = state["intermediates"], state["intermediates"]["cascade"]
        return found["trunk"]["__call__"][0], logits, {name: cascade[name]["__call__"][0] for name in cascade}

    with jax.default_matmul_precision("highest"):
        features, logits, refined = compute(variables, expected["image"])
    ours = {"logits": logits, **refined}
    ours |= {name.replace("stage", "feature_layer"): feature for name, feature in features.items()}
    assert ours.keys() == set(expected.files) - {"image"}
    for name, mine in ours.items():
        assert mine.shape == expected[name].shape
        assert float(abs(mine - expected[name]).max()) < 1e-4 * float(expected[name].std()), name


@pytest.mark.parametrize(
    ("depth", "order", "stages", "legacy"),
    [(50, "pool_conv", 2, True), (101, "conv_pool", 4, False), (152, "pool_conv", 4, False)],
)
def test_every_array_is_used(depth, order, stages, legacy):
    """One to one, for shapes alone."""
    shapes = matlab_shapes(depth, 22, order, stages, legacy)
    arrays = {name: np.broadcast_to(np.float32(1), shape) for name, shape in shapes.items()}
    network = recognize.recognize(matlab_file(arrays))
    assert (network.variant, network.num_classes, len(network.class_names)) == (f"rf{depth}", 22, 21)
    assert network.options == {
        "pool_order": order,
        "pool_stages": stages,
        "stride_on": "1x1",
        "resize": "bicubic",
        "normalization": "minus_128",
        "input_scale": 1.2,
    }
    model = models.create_model(network.variant, 22, **network.options)
    wanted = {
        names.pytorch_name(tuple(key.key for key in path)[1:], model.trunk_name): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(models.variable_shapes(model))
    }
    found = {name: np.shape(network.arrays[name]) for name in network.arrays}
    assert found.keys() == wanted.keys()
    for name, shape in wanted.items():
        assert found[name] == (tuple(shape[i] for i in (3, 2, 0, 1)) if len(shape) == 4 else shape)


def test_moments_become_mean_and_variance_and_a_bias_before_them_moves_the_mean():
    moments = np.array([[1.0, 2.0], [3.0, 1e-3]], np.float32)
    arrays = {"bn_conv1_moments": moments, "conv1_bias": np.array([[0.25, 0.5]], np.float32)}
    renamed = names.from_matlab(arrays)
    assert set(renamed) == {"bn1.running_mean", "bn1.running_var"}
    np.testing.assert_allclose(renamed["bn1.running_mean"], [0.75, 2.5])
    np.testing.assert_allclose(renamed["bn1.running_var"], [4 - 1e-5, 0.0])  # sigma^2 - epsilon, never below 0


def _recognized(change):
    shapes = {name: shape for name, shape in {**matlab_shapes(), **change}.items() if shape}
    arrays = {name: np.broadcast_to(np.float32(1), shape) for name, shape in shapes.items()}
    return recognize.recognize(matlab_file(arrays))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mflow_conv_g1_pool1_outvar_dimred_filter": (3, 3, 512, 512)}, "Some of its pooling is conv_pool"),
        ({"adapt_stage1_b1_conv_filter": (3, 3, 512, 512)}, "mixes two generations of names"),
        ({"filters": None, "biases": None}, "a cascade and a trunk, but no classifier"),
    ],
)
def test_mixed_and_partial_networks_are_refused(change, says):
    with pytest.raises(WeightsError, match=says):
        _recognized(change)


@pytest.mark.parametrize(("first", "second", "stride_on"), [(2, 1, "1x1"), (1, 2, "3x3"), (2, 2, None)])
def test_the_layers_in_the_file_declare_which_convolution_has_the_stride(first, second, stride_on):
    facts = {"strides": {"res3a_branch2a": first, "res3a_branch2b": second}}
    if stride_on:
        assert recognize._matlab_options({}, facts)["stride_on"] == stride_on
    else:
        with pytest.raises(WeightsError, match="strides 2 and 2"):
            recognize._matlab_options({}, facts)


# ---- MobileNets of other libraries


def _norm(module, channels):
    shapes = {"weight": channels, "bias": channels, "running_mean": channels, "running_var": channels}
    return {f"{module}.{leaf}": (count,) for leaf, count in shapes.items()} | {f"{module}.num_batches_tracked": ()}


def _torchvision_mobilenet():
    """Names and shapes of torchvision.models.mobilenet_v2().state_dict()."""
    shapes = {"features.0.0.weight": (32, 3, 3, 3), **_norm("features.0.1", 32)}
    shapes |= {"features.1.conv.0.0.weight": (32, 1, 3, 3), **_norm("features.1.conv.0.1", 32)}
    shapes |= {"features.1.conv.1.weight": (16, 32, 1, 1), **_norm("features.1.conv.2", 16)}
    widths = [16, 24, 24, *[32] * 3, *[64] * 4, *[96] * 3, *[160] * 3, 320]
    for number, (width, features) in enumerate(itertools.pairwise(widths), start=2):
        block, wide = f"features.{number}.conv", 6 * width
        shapes |= {f"{block}.0.0.weight": (wide, width, 1, 1), **_norm(f"{block}.0.1", wide)}
        shapes |= {f"{block}.1.0.weight": (wide, 1, 3, 3), **_norm(f"{block}.1.1", wide)}
        shapes |= {f"{block}.2.weight": (features, wide, 1, 1), **_norm(f"{block}.3", features)}
    shapes |= {"features.18.0.weight": (1280, 320, 1, 1), **_norm("features.18.1", 1280)}
    return shapes | {"classifier.1.weight": (1000, 1280), "classifier.1.bias": (1000,)}


def _timm_mobilenet():
    """Names and shapes of timm.create_model('mobilenetv2_100').state_dict()."""
    shapes = {"conv_stem.weight": (32, 3, 3, 3), **_norm("bn1", 32)}
    shapes |= {"blocks.0.0.conv_dw.weight": (32, 1, 3, 3), **_norm("blocks.0.0.bn1", 32)}
    shapes |= {"blocks.0.0.conv_pw.weight": (16, 32, 1, 1), **_norm("blocks.0.0.bn2", 16)}
    width = 16
    for stage, (features, count) in enumerate(((24, 2), (32, 3), (64, 4), (96, 3), (160, 3), (320, 1)), start=1):
        for number in range(count):
            block, wide = f"blocks.{stage}.{number}", 6 * width
            shapes |= {f"{block}.conv_pw.weight": (wide, width, 1, 1), **_norm(f"{block}.bn1", wide)}
            shapes |= {f"{block}.conv_dw.weight": (wide, 1, 3, 3), **_norm(f"{block}.bn2", wide)}
            shapes |= {f"{block}.conv_pwl.weight": (features, wide, 1, 1), **_norm(f"{block}.bn3", features)}
            width = features
    shapes |= {"conv_head.weight": (1280, 320, 1, 1), **_norm("bn2", 1280)}
    return shapes | {"classifier.weight": (1000, 1280), "classifier.bias": (1000,)}


MOBILENETS = {
    # names and shapes, the last block's projection
    "torchvision": (_torchvision_mobilenet(), "features.17.conv.2.weight"),
    "timm": (_timm_mobilenet(), "blocks.6.0.conv_pwl.weight"),
}


@pytest.mark.parametrize("library", MOBILENETS)
def test_a_mobilenet_of_another_library_is_a_trunk(library, tmp_path, capsys):
    rng, path = np.random.default_rng(0), tmp_path / "weights.npz"
    arrays = {name: rng.random(shape, np.float32) for name, shape in MOBILENETS[library][0].items()}
    np.savez(path, **arrays)
    network = weights.network_in(path)
    assert (network.variant, network.trunk, network.num_classes) == (None, "mobilenet_v2", None)
    assert network.unused == tuple(arrays)[-8:]  # the last 1x1 convolution with its batch norm, the classifier
    # Both list their layers in the order of the computation.
    theirs = dict.fromkeys(name.rpartition(".")[0] for name in tuple(arrays)[:-8])
    ours = ["layer1.0", "layer1.1"]
    for stage, (_, _, blocks, _) in enumerate(STAGES, start=2):
        for block, layer in itertools.product(range(blocks), ("0.0", "0.1", "1.0", "1.1", "2.0", "2.1")):
            ours.append(f"layer{stage}.{block}.output.{layer}")
    del ours[2:4]  # the first block's expansion, which they lack
    for module, other in zip(ours, theirs, strict=True):
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            if f"{other}.{leaf}" in arrays:
                np.testing.assert_array_equal(network.arrays[f"{module}.{leaf}"], arrays[f"{other}.{leaf}"])
    # That expansion changes nothing.
    x, (kernel, *norm) = rng.random(32, np.float32), (network.arrays[name] for name in list(network.arrays)[:5])
    scale, bias, mean, variance = norm
    np.testing.assert_allclose((kernel[..., 0, 0] @ x - mean) / np.sqrt(variance + 1e-5) * scale + bias, x, rtol=1e-6)
    trunk = models.variable_shapes(models.create_model("rf_lw_mbv2", 2))["params"]["trunk"]
    for path_, leaf in jax.tree_util.tree_leaves_with_path(trunk):
        array = network.arrays[names.pytorch_name(("trunk", *(key.key for key in path_)), "mobilenet_v2")]
        assert array.shape == (tuple(leaf.shape[i] for i in (3, 2, 0, 1)) if len(leaf.shape) == 4 else leaf.shape)
    assert main(["convert", str(path)]) == 0
    assert f"a trunk alone\nunused    {', '.join(network.unused)}\n" in capsys.readouterr().out
    assert main(["convert", str(path), "--output", str(tmp_path / "run")]) == 1
    assert f"--config.init_from={path}" in capsys.readouterr().err


@pytest.mark.parametrize("library", MOBILENETS)
def test_other_networks_with_such_names_are_refused(library):
    shapes, projection = MOBILENETS[library]
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    arrays[projection] = np.zeros((320, 1152, 1, 1), np.float32)  # EfficientNet's
    with pytest.raises(UsageError, match="no trunk that is known here"):
        recognize.recognize(WeightsFile("npz", arrays, {}))
