"""Weights are loaded or an error lists what does not fit; networks are recognized; our own files are read back exactly."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest

import refinenet_jax
from refinenet_jax import checkpoint, models, weights
from refinenet_jax.__main__ import main
from refinenet_jax.errors import UsageError
from refinenet_jax.weights import convert, loading, recognize
from refinenet_jax.weights.names import pytorch_name
from refinenet_jax.weights.weights_file import WeightsFile


def _pytorch(variant, classes, make=lambda shape: np.broadcast_to(np.float32(1), shape)):
    """A PyTorch state dict that fits; `make` gives an array of a shape."""
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


@pytest.fixture(scope="module")
def variables(npz):
    """What `load` reads from `npz`."""
    model, loaded = refinenet_jax.load(npz)
    assert model == models.create_model("rf_lw_mbv2", 2)
    return loaded


def _same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_a_file_gives_the_variables_of_its_state_dict(state_dict, variables):
    _same(weights.load_weights(state_dict, models.create_model("rf_lw_mbv2", 2)), variables)
    kernel = variables["params"]["classifier"]["kernel"]
    np.testing.assert_array_equal(kernel[1, 2, 5, 1], state_dict["segm.weight"][1, 5, 1, 2])


def test_all_faults_are_listed(state_dict):
    wrong = {name: array for name, array in state_dict.items() if name != "conv7.weight"}
    wrong["fc.weight"] = np.zeros((1000, 1280), np.float32)
    faults = r"(?s)4 faults.*missing: conv7\.weight.*shape: segm\.(bias|weight).*left over: fc"
    with pytest.raises(ValueError, match=faults):
        weights.load_weights(wrong, models.create_model("rf_lw_mbv2", 21))


def test_skipped_variables_are_new(state_dict, variables):
    wrong = {name: array for name, array in state_dict.items() if not name.startswith("conv7.")}
    wrong["fc.weight"] = np.zeros((1000, 1280), np.float32)
    model = models.create_model("rf_lw_mbv2", 21)
    loaded = weights.load_weights(wrong, model, skip=("classifier", "conv7", "fc"))
    classifier = loaded["params"]["classifier"]["kernel"]
    assert classifier.shape == (3, 3, 256, 21)
    assert 0.005 < classifier.std() < 0.02
    np.testing.assert_array_equal(
        loaded["params"]["trunk"]["conv1"]["kernel"], variables["params"]["trunk"]["conv1"]["kernel"]
    )
    _same(loaded["batch_stats"], variables["batch_stats"])
    # A name is not a prefix of other names: otherwise 'conv' would skip nearly everything.
    with pytest.raises(UsageError, match=r"missing: conv7\.weight"):
        weights.load_weights(wrong, model, skip=("classifier", "conv", "fc"))


@pytest.mark.parametrize("variant", models.VARIANTS)
def test_networks_and_their_trunks_are_recognized_by_names_and_shapes(variant):
    arrays = _pytorch(variant, 7)
    network = recognize.recognize(WeightsFile("PyTorch (zip)", arrays, {}))
    assert (network.variant, network.num_classes, network.class_names[1]) == (variant, 7, "head")
    assert network.options == {"pool_stages": 4}
    trunk = {name: array for name, array in arrays.items() if name.startswith(("conv1.", "bn1.", "layer"))}
    classifier = {"fc.weight": np.zeros((1000, 2048), np.float32), "fc.bias": np.zeros(1000, np.float32)}  # ImageNet's
    network = recognize.recognize(WeightsFile("safetensors", trunk | classifier, {}))
    assert (network.variant, network.trunk, network.num_classes) == (None, models.VARIANTS[variant][0], None)
    assert network.unused == tuple(classifier)


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


def test_a_trunk_alone_needs_a_variant(tmp_path):
    arrays = {name: array for name, array in _pytorch("rf_lw_mbv2", 2).items() if name.startswith("layer")}
    np.savez(tmp_path / "trunk.npz", **{name: np.float16(array) for name, array in arrays.items()})
    with pytest.raises(UsageError, match=r"mobilenet_v2 without a cascade.*variant='rf_lw_mbv2'"):
        refinenet_jax.load(tmp_path / "trunk.npz")
    model, variables = refinenet_jax.load(tmp_path / "trunk.npz", variant="rf_lw_mbv2", num_classes=3)
    assert model == models.create_model("rf_lw_mbv2", 3)
    assert (variables["params"]["trunk"]["conv1"]["kernel"] == 1).all()
    assert 0.005 < variables["params"]["cascade"]["adapt_stage8"]["kernel"].std() < 0.02
    with pytest.raises(UsageError, match=r"left over: layer8"):
        refinenet_jax.load(tmp_path / "trunk.npz", variant="rf_lw50", num_classes=3)


def test_converted_weights_are_a_run_folder_and_files_of_it_are_read_back_exactly(npz, variables, tmp_path, capsys):
    folder = tmp_path / "converted"
    arguments = [str(npz), "--output", str(folder), "--classes", "background, glove"]
    assert main(["convert", *arguments]) == 0
    assert "rf_lw_mbv2, 2 channels" in capsys.readouterr().out
    description = json.loads((folder / "model.json").read_text())
    assert (description["license"], description["class_names"]) == ("not stated in the file", ["background", "glove"])
    segmenter = refinenet_jax.Segmenter.from_checkpoint(folder)
    _same(segmenter.variables, variables)
    assert segmenter.class_names == ("background", "glove")
    assert main(["convert", *arguments]) == 1
    assert "exists" in capsys.readouterr().err
    with pytest.raises(checkpoint.CheckpointError, match="init_from"):
        checkpoint.check_description(folder, description, ())
    path = tmp_path / "weights.safetensors"
    assert main(["convert", str(folder), "--output", str(path)]) == 0
    network = weights.network_in(path)
    assert (network.variant, network.class_names) == ("rf_lw_mbv2", ("background", "glove"))
    _same(loading.build(network, path)[1], variables)
    assert main(["convert", str(path), "--output", str(tmp_path / "again")]) == 0
    again = json.loads((tmp_path / "again" / "model.json").read_text())
    assert {**again, "converted_from": ""} == {**description, "converted_from": ""}


def test_files_of_half_precision_are_read_as_float32(variables, tmp_path):
    path = tmp_path / "half.safetensors"
    dtypes = {"params": np.float16, "batch_stats": ml_dtypes.bfloat16}
    halved = {key: jax.tree.map(lambda leaf, to=to: leaf.astype(to), variables[key]) for key, to in dtypes.items()}
    description = {"variant": "rf_lw_mbv2", "class_names": ["background", "hand"], "dtype": "float32"}
    weights.save_weights(path, halved, description)
    _same(refinenet_jax.load(path)[1], jax.tree.map(lambda leaf: leaf.astype(np.float32), halved))
    # Earlier versions also wrote npz.
    description = np.frombuffer(json.dumps(description).encode(), np.uint8)
    flat = {"/".join(key.key for key in place): leaf for place, leaf in jax.tree_util.tree_leaves_with_path(variables)}
    np.savez(tmp_path / "old.npz", **flat, **{"model.json": description})
    _same(refinenet_jax.load(tmp_path / "old.npz")[1], variables)


def test_a_wrong_number_of_classes_is_refused(npz, tmp_path, capsys):
    assert main(["convert", str(npz), "--output", str(tmp_path / "a"), "--classes", "background,left,right,other"]) == 1
    assert "2 channels, but 4 classes" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_left_and_right_are_a_flip_pair_and_void_needs_no_name():
    model = models.create_model("rf_lw_mbv2", 3)
    network = recognize.Network("rf_lw_mbv2", "mobilenet_v2", 3, ("background", "left hand", "right hand"), {}, {})
    assert convert.describe("rf_lw_mbv2", model, network, {})["flip_pairs"] == [(1, 2)]
    description = convert.describe("rf_lw_mbv2", model, network, {}, ("background", "hand", "void"))
    assert (description["class_names"], description["num_classes"]) == (("background", "hand"), 3)
