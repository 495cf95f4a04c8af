"""The authors' MATLAB networks: every array finds its place, and the model computes what MATLAB's graph computes."""

import string
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refinenet_jax import models, weights
from refinenet_jax.models import resize
from refinenet_jax.weights import loading, matlab_names, recognize
from refinenet_jax.weights.weights_file import WeightsError, WeightsFile

BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def matlab_shapes(depth=101, classes=3, order="conv_pool", stages=4, legacy=False):
    """Names and shapes in the authors' file, after their own code (see `matconvnet.md`), not after ours."""
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
def test_network_computes_what_matlab_computes(golden, order):
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

    @jax.jit
    def compute(image):
        x = models.normalize(image, model.normalization)
        features = model.apply(variables, x, features_only=True)
        logits, state = model.apply(
            variables, x, capture_intermediates=lambda m, _: m.name and m.name.startswith("refine")
        )
        cascade = state["intermediates"]["cascade"]
        return features, logits, {name: cascade[name]["__call__"][0] for name in cascade}

    with jax.default_matmul_precision("highest"):
        features, logits, refined = compute(jnp.asarray(expected["image"]))
    ours = {"logits": logits, **refined}
    ours |= {name.replace("stage", "feature_layer"): feature for name, feature in features.items()}
    assert ours.keys() == set(expected.files) - {"image"}
    for name, mine in ours.items():
        assert mine.shape == expected[name].shape
        assert float(abs(mine - expected[name]).max()) < 1e-4 * float(expected[name].std()), name


@pytest.mark.parametrize("depth", BLOCKS)
@pytest.mark.parametrize(("order", "stages", "legacy"), [("conv_pool", 4, False), ("pool_conv", 2, True)])
def test_every_array_finds_its_place(depth, order, stages, legacy):
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
        weights.names.pytorch_name(tuple(key.key for key in path)[1:], model.trunk_name): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(models.variable_shapes(model))
    }
    found = {name: np.shape(network.arrays[name]) for name in network.arrays}
    assert found.keys() == wanted.keys()
    for name, shape in wanted.items():
        assert found[name] == (tuple(shape[i] for i in (3, 2, 0, 1)) if len(shape) == 4 else shape)


def test_moments_are_mean_and_sigma_and_a_stray_bias_moves_the_mean():
    moments = np.array([[1.0, 2.0], [3.0, 1e-3]], np.float32)
    arrays = {"bn_conv1_moments": moments, "conv1_bias": np.array([[0.25, 0.5]], np.float32)}
    renamed = matlab_names.to_pytorch(arrays)
    assert set(renamed) == {"bn1.running_mean", "bn1.running_var"}
    np.testing.assert_allclose(renamed["bn1.running_mean"], [0.75, 2.5])
    np.testing.assert_allclose(renamed["bn1.running_var"], [4 - 1e-5, 0.0])  # sigma^2 - epsilon, never below 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mflow_conv_g1_pool1_outvar_dimred_filter": (3, 3, 512, 512)}, "Some of its pooling is conv_pool"),
        ({"adapt_stage1_b1_conv_filter": (3, 3, 512, 512)}, "mixes two generations of names"),
        ({"layer1.0.conv1.weight": (64, 64, 1, 1)}, "MatConvNet's names and PyTorch's"),
        ({"filters": None, "biases": None}, "a cascade and a trunk, but no classifier"),
        ({"res2a_branch2c_filter": None, "bn_conv1_mult": None}, "2 faults"),
        ({"p_ims0d6_outl1_dimred_filter": (3, 3, 512, 512)}, "left over: p_ims0d6_outl1_dimred.weight"),
        ({"conv1_filter": (7, 7, 64, 3)}, r"conv1.weight is \(3, 64, 7, 7\)"),
    ],
)
def test_what_is_no_such_network_is_refused(change, says):
    shapes = {name: shape for name, shape in {**matlab_shapes(), **change}.items() if shape}
    arrays = {name: np.broadcast_to(np.float32(1), shape) for name, shape in shapes.items()}

    def read():
        network = recognize.recognize(matlab_file(arrays))
        return loading.fill(models.create_model("rf101", 3, **network.options), network, "it")

    with pytest.raises(ValueError, match=says):
        read()


def test_strides_are_those_of_the_files_layers():
    def options(first, second):
        strides = {"res3a_branch2a": first, "res3a_branch2b": second}
        return matlab_names.options({}, {"strides": strides})["stride_on"]

    assert options(2, 1) == "1x1"
    assert options(1, 2) == "3x3"
    with pytest.raises(WeightsError, match=r"strides 2 and 2"):
        options(2, 2)


def _imresize_rows(column, m):
    """MATLAB's imresize along one axis, transcribed from its `contributions` in double precision, 1-based."""
    n = len(column)
    scale = m / n
    width = 4.0 if scale >= 1 else 4.0 / scale

    def cubic(x):
        x = abs(x) if scale >= 1 else abs(scale * x)
        value = 1.5 * x**3 - 2.5 * x**2 + 1 if x <= 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0
        return value if scale >= 1 else scale * value

    out = []
    for x in range(1, m + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        left = int(np.floor(u - width / 2))
        indices = [left + k for k in range(int(np.ceil(width)) + 2)]
        w = np.array([cubic(u - i) for i in indices])
        w /= w.sum()
        around = [*range(1, n + 1), *range(n, 0, -1)]  # mirrored, edge repeated
        out.append(sum(a * column[around[(i - 1) % (2 * n)] - 1] for a, i in zip(w, indices, strict=True)))
    return np.array(out)


@pytest.mark.parametrize(
    ("n", "m"),
    [(1, 1), (1, 2), (1, 3), (2, 3), (2, 5), (13, 25), (15, 30), (17, 33), (30, 60), (45, 80), (25, 13), (9, 2)],
)
def test_bicubic_is_matlabs_to_the_borders(n, m):
    values = np.random.default_rng(n * 100 + m).standard_normal((n, 3))
    expected = np.stack([_imresize_rows(values[:, i], m) for i in range(3)], -1)
    x = jnp.asarray(values, jnp.float32)
    with jax.default_matmul_precision("highest"):
        rows = resize.bicubic(x[None, :, None], (m, 1))[0, :, 0]
        columns = resize.bicubic(x[None, None], (1, m))[0, 0]
    np.testing.assert_allclose(rows, expected, atol=2e-6)
    np.testing.assert_allclose(columns, expected, atol=2e-6)
