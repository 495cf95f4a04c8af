"""Weights find their places or an error names all that do not; files tell their network; ours come back bit for bit."""

import itertools
import json

import jax
import numpy as np
import pytest
from flax import linen as nn

import refinenet_jax
from refinenet_jax import checkpoint, models, weights
from refinenet_jax.__main__ import main
from refinenet_jax.errors import UsageError
from refinenet_jax.models.mobilenet import STAGES
from refinenet_jax.weights import convert, recognize
from refinenet_jax.weights.files import read
from refinenet_jax.weights.flat import description_of
from refinenet_jax.weights.names import pytorch_name
from refinenet_jax.weights.weights_file import WeightsFile


def _pytorch(variant, classes, make=lambda shape: np.broadcast_to(np.float32(1), shape)):
    """A PyTorch state dict that fits."""
    model = models.create_model(variant, classes)
    entries = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(models.variable_shapes(model)):
        shape = tuple(leaf.shape[i] for i in (3, 2, 0, 1)) if len(leaf.shape) == 4 else leaf.shape
        entries[pytorch_name(tuple(k.key for k in path)[1:], model.trunk_name)] = make(shape)
    return entries


@pytest.fixture(scope="module")
def state_dict():
    rng = np.random.default_rng(0)
    entries = _pytorch("rf_lw_mbv2", 2, lambda shape: rng.random(shape, np.float32))
    return entries | {"layer1.1.num_batches_tracked": np.zeros((), np.int64)}


@pytest.fixture(scope="module")
def npz(state_dict, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "anything.bin"
    with path.open("wb") as file:
        np.savez(file, **state_dict)
    return path


def _same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_file_and_dict_give_the_same(state_dict, npz):
    model = models.create_model("rf_lw_mbv2", 2)
    from_dict = weights.load_weights(state_dict, model)
    _same(weights.load_weights(npz, model), from_dict)
    loaded, variables = refinenet_jax.load(npz)
    assert loaded == model
    _same(variables, from_dict)
    kernel = from_dict["params"]["classifier"]["kernel"]
    np.testing.assert_array_equal(kernel[1, 2, 5, 1], state_dict["segm.weight"][1, 5, 1, 2])


def test_all_faults_are_listed(state_dict):
    wrong = {name: array for name, array in state_dict.items() if name != "conv7.weight"}
    wrong["fc.weight"] = np.zeros((1000, 1280), np.float32)
    faults = r"(?s)4 faults.*missing: conv7\.weight.*shape: segm\.(bias|weight).*left over: fc"
    with pytest.raises(ValueError, match=faults):
        weights.load_weights(wrong, models.create_model("rf_lw_mbv2", 21))


def test_what_is_skipped_is_no_fault_and_starts_anew(state_dict):
    wrong = {name: array for name, array in state_dict.items() if not name.startswith("conv7.")}
    wrong["fc.weight"] = np.zeros((1000, 1280), np.float32)
    model = models.create_model("rf_lw_mbv2", 21)
    variables = weights.load_weights(wrong, model, skip=("classifier", "conv7", "fc"))
    classifier = variables["params"]["classifier"]["kernel"]
    assert classifier.shape == (3, 3, 256, 21)
    assert 0.005 < classifier.std() < 0.02
    whole = weights.load_weights(state_dict, models.create_model("rf_lw_mbv2", 2))
    np.testing.assert_array_equal(
        variables["params"]["trunk"]["conv1"]["kernel"], whole["params"]["trunk"]["conv1"]["kernel"]
    )
    _same(variables["batch_stats"], whole["batch_stats"])
    # A name is not a prefix of other names: 'conv' would let nearly everything go.
    with pytest.raises(UsageError, match=r"missing: conv7\.weight"):
        weights.load_weights(wrong, model, skip=("classifier", "conv", "fc"))


@pytest.mark.parametrize("variant", models.VARIANTS)
def test_every_variant_is_told_by_names_and_shapes(variant):
    network = recognize.recognize(WeightsFile("PyTorch (zip)", _pytorch(variant, 7), {}))
    assert (network.variant, network.num_classes, network.class_names[1]) == (variant, 7, "head")
    assert network.options == {"pool_stages": 4}


@pytest.mark.parametrize("depth", [50, 101, 152])
def test_an_imagenet_trunk_is_told_and_its_classes_left(depth):
    """torchvision's and timm's names; `fc` is ImageNet's."""
    arrays = {
        name: array for name, array in _pytorch(f"rf{depth}", 2).items() if name.startswith(("conv1", "bn1", "layer"))
    }
    arrays |= {"fc.weight": np.zeros((1000, 2048), np.float32), "fc.bias": np.zeros(1000, np.float32)}
    network = recognize.recognize(WeightsFile("safetensors", arrays, {}))
    assert (network.variant, network.trunk, network.num_classes) == (None, f"resnet{depth}", None)


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
    shapes, _ = MOBILENETS[library]
    rng = np.random.default_rng(0)
    arrays = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
    path = tmp_path / "weights"
    with path.open("wb") as file:
        np.savez(file, **arrays)
    network = weights.network_in(path)
    assert (network.variant, network.trunk, network.num_classes) == (None, "mobilenet_v2", None)
    assert network.unused == tuple(arrays)[-8:]  # the last 1x1 convolution with its batch norm, the classifier
    # The rest of our network, so that none of it has to be made.
    rest = {name: array for name, array in _pytorch("rf_lw_mbv2", 2).items() if not name.startswith("layer")}
    used = {name: network.arrays[name] for name in network.arrays if name not in network.unused}
    variables = weights.load_weights(rest | used, models.create_model("rf_lw_mbv2", 2))
    trunk, moments = variables["params"]["trunk"], variables["batch_stats"]["trunk"]
    # Both list their layers in the order of the computation.
    theirs = list(dict.fromkeys(name.rpartition(".")[0] for name in tuple(arrays)[:-8]))
    ours = [("conv1",), ("bn1",)]
    for stage, (_, _, blocks, _) in enumerate(STAGES, start=2):
        for block, layer in itertools.product(range(1, blocks + 1), ("expand", "depthwise", "project")):
            if (stage, layer) != (2, "expand"):
                ours += [(f"stage{stage}_block{block}", name) for name in (layer, f"bn_{layer}")]
    for place, module in zip(ours, theirs, strict=True):
        for leaf, name in (("kernel", "weight"), ("scale", "weight"), ("bias", "bias")):
            if leaf in _at(trunk, place):
                value = _at(trunk, place)[leaf]
                np.testing.assert_array_equal(
                    value.transpose(3, 2, 0, 1) if value.ndim == 4 else value, arrays[f"{module}.{name}"]
                )
        if place[-1].startswith("bn"):
            np.testing.assert_array_equal(_at(moments, place)["mean"], arrays[f"{module}.running_mean"])
            np.testing.assert_array_equal(_at(moments, place)["var"], arrays[f"{module}.running_var"])
    # The expansion that they leave out changes nothing.
    first = trunk["stage2_block1"]
    np.testing.assert_array_equal(first["expand"]["kernel"][0, 0], np.eye(32))
    norm, x = nn.BatchNorm(use_running_average=True, epsilon=1e-5), rng.random(32, np.float32)
    state = {"params": first["bn_expand"], "batch_stats": moments["stage2_block1"]["bn_expand"]}
    np.testing.assert_allclose(norm.apply(state, x), x, rtol=1e-6)
    assert main(["convert", str(path)]) == 0
    assert f"a trunk alone\nunused    {', '.join(network.unused)}\n" in capsys.readouterr().out


def _at(tree, place):
    for key in place:
        tree = tree[key]
    return tree


@pytest.mark.parametrize("library", MOBILENETS)
def test_other_widths_and_networks_with_such_names_are_refused(library):
    shapes, projection = MOBILENETS[library]
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    arrays[projection] = np.zeros((320, 1152, 1, 1), np.float32)  # EfficientNet's
    with pytest.raises(UsageError, match="no trunk that is known here"):
        recognize.recognize(WeightsFile("npz", arrays, {}))


@pytest.mark.parametrize(
    ("drop", "add", "says"),
    [
        ("layer3.5.", {}, "a trunk of 5 blocks in its third stage"),
        ("conv1.", {"conv1.0.weight": np.zeros((32, 3, 3, 3))}, "known are ResNet-50, -101 and -152"),
        ("p_ims1d2_outl1", {}, "a classifier and a trunk, but no cascade"),
        ("", {"conv1_filter": np.zeros((7, 7, 3, 64))}, "MatConvNet's names and PyTorch's"),
        ("mflow_conv_g", {}, "chained pooling has 0 stages"),
    ],
)
def test_unknown_networks_are_refused(drop, add, says):
    arrays = {name: array for name, array in _pytorch("rf50", 2).items() if not (drop and name.startswith(drop))} | add
    with pytest.raises(UsageError, match=says):
        recognize.recognize(WeightsFile("npz", arrays, {}))


def test_a_trunk_alone_wants_to_know_what_to_build(tmp_path):
    arrays = {name: array for name, array in _pytorch("rf50", 2).items() if name.startswith(("conv1", "bn1", "layer"))}
    np.savez(tmp_path / "trunk.npz", **{name: np.float16(array) for name, array in arrays.items()})
    with pytest.raises(UsageError, match=r"holds a resnet50 without a cascade.*variant='rf50' or 'rf_lw50'"):
        refinenet_jax.load(tmp_path / "trunk.npz")
    model, variables = refinenet_jax.load(tmp_path / "trunk.npz", variant="rf_lw50", num_classes=3)
    assert model == models.create_model("rf_lw50", 3)
    assert (variables["params"]["trunk"]["conv1"]["kernel"] == 1).all()
    assert 0.005 < variables["params"]["cascade"]["refine4"]["adapt"]["kernel"].std() < 0.02
    with pytest.raises(UsageError, match="left over: layer3"):
        refinenet_jax.load(tmp_path / "trunk.npz", variant="rf_lw_mbv2", num_classes=3)


def test_converted_weights_are_a_folder_like_a_runs(npz, state_dict, tmp_path, capsys):
    folder = tmp_path / "converted"
    arguments = [str(npz), "--output", str(folder), "--classes", "background, glove", "--license", "for research only"]
    assert main(["convert", *arguments]) == 0
    assert "rf_lw_mbv2, 2 channels" in capsys.readouterr().out
    description = json.loads((folder / "model.json").read_text())
    assert (description["license"], description["class_names"]) == ("for research only", ["background", "glove"])
    segmenter = refinenet_jax.Segmenter.from_checkpoint(folder)
    _same(segmenter.variables, weights.load_weights(state_dict, models.create_model("rf_lw_mbv2", 2)))
    assert segmenter.class_names == ("background", "glove")
    assert main(["convert", *arguments]) == 1
    assert "exists" in capsys.readouterr().err
    with pytest.raises(checkpoint.CheckpointError, match="init_from"):
        checkpoint.check_description(folder, description, ())


@pytest.mark.parametrize("ending", [".safetensors", ".npz"])
def test_our_own_file_comes_back_bit_for_bit(npz, tmp_path, ending, capsys):
    assert main(["convert", str(npz), "--output", str(tmp_path / "run")]) == 0
    path = tmp_path / f"weights{ending}"
    assert main(["convert", str(tmp_path / "run"), "--output", str(path)]) == 0
    model, variables = refinenet_jax.load(path)
    assert model == models.create_model("rf_lw_mbv2", 2)
    _same(variables, refinenet_jax.load(npz)[1])
    assert main(["convert", str(path), "--output", str(tmp_path / "again")]) == 0
    one, other = (json.loads((tmp_path / name / "model.json").read_text()) for name in ("run", "again"))
    assert {**one, "converted_from": ""} == {**other, "converted_from": ""}
    capsys.readouterr()
    assert main(["convert", str(path)]) == 0
    told = capsys.readouterr().out
    assert "rf_lw_mbv2, 2 channels: background, hand" in told


def test_half_a_file_is_rounded_once_and_read_as_float32(npz, tmp_path, capsys):
    assert main(["convert", str(npz), "--output", str(tmp_path / "run")]) == 0
    path = tmp_path / "half.safetensors"
    assert main(["convert", str(tmp_path / "run"), "--output", str(path), "--half", "--license", "MIT"]) == 0
    assert path.stat().st_size < 0.51 * sum(leaf.nbytes for leaf in jax.tree.leaves(refinenet_jax.load(npz)[1])) + 1e5
    _, variables = refinenet_jax.load(path)
    rounded = jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), refinenet_jax.load(npz)[1])
    _same(variables, rounded)
    assert description_of(read(path))["license"] == "MIT"
    assert main(["convert", str(npz), "--output", str(tmp_path / "other"), "--half"]) == 1
    assert "--half is for an --output that ends in .safetensors or .npz" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"beyond float16 \(65,504\)"):
        convert._halved({"params": {"scale": np.float32([1e5])}})


def test_classes_must_be_as_many_as_channels_but_void_may_be_left_out(npz, tmp_path, capsys):
    assert main(["convert", str(npz), "--output", str(tmp_path / "a"), "--classes", "background,left,right,other"]) == 1
    assert "2 channels, but 4 classes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_sides_are_swapped_by_a_mirror(tmp_path):
    model = models.create_model("rf_lw_mbv2", 3)
    from refinenet_jax.weights.convert import describe

    names = ("background", "left hand", "right hand")
    network = recognize.Network("rf_lw_mbv2", "mobilenet_v2", 3, names, {}, {})
    assert describe("rf_lw_mbv2", model, network, {})["flip_pairs"] == [(1, 2)]
    hidden = describe("rf_lw_mbv2", model, network, {}, ("background", "hand", "void"))
    assert (hidden["class_names"], hidden["num_classes"]) == (("background", "hand"), 3)
