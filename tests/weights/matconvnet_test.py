"""Reading MatConvNet's files: the same arrays from every form of them, and nothing from crafted ones."""

import random
import struct

import h5py
import numpy as np
import pytest
from matlab_files import (
    CASCADE,
    TRUNK,
    array,
    assert_refused,
    conv,
    dag_net,
    net_config,
    read_all,
    write_v7,
    write_v73,
)

from refinenet_jax.weights.matconvnet import read_matconvnet
from refinenet_jax.weights.weights_file import WeightsError

WRITERS = {
    "v7.3": write_v73,
    "v7.3 packed": lambda *args, **kw: write_v73(*args, chunks=True, compression="gzip", shuffle=True, **kw),
    "v7": write_v7,
    "v5": lambda *args: write_v7(*args, compressed=False),
}


@pytest.fixture(params=WRITERS)
def write(request, tmp_path):
    """Writes variables in one of the forms, returns the path; the ending says nothing."""

    def write(variables):
        WRITERS[request.param](tmp_path / "weights.mat", variables)
        return (tmp_path / "weights.mat").rename(tmp_path / "weights")

    return write


def test_every_form_gives_all_arrays_and_what_is_said_about_layers(write):
    file = read_matconvnet(write(net_config()))
    written = {name: value for layer in (*TRUNK, *CASCADE) for name, value in layer[2].items()}
    written |= {"filters": array("classifier", (3, 3, 6, 3)), "biases": array("classifier_bias", (1, 3))}
    assert file.format in ("MatConvNet (v7.3)", "MatConvNet (v7)")
    assert file.arrays.keys() == written.keys()
    for name, value in written.items():
        found = file.arrays[name]
        assert found.dtype == np.float32
        assert found.flags.writeable
        np.testing.assert_array_equal(
            found, value if name.endswith(("_filter", "_moments", "filters")) else value.ravel()
        )
    assert file.facts["net_input_img_scales"] == 1.2
    assert file.facts["classifier"] == {"stride": [1, 1], "pad": [1, 1, 1, 1]}
    assert file.facts["layers"].keys() == {layer[0] for layer in (*TRUNK, *CASCADE)}
    assert file.facts["layers"]["res3a_branch2a"] == {
        "type": "dagnn.Conv",
        "inputs": ["pool1"],
        "outputs": ["res3a_branch2a"],
        "params": ["res3a_branch2a_filter"],
        "size": [1, 1, 4, 8],
        "stride": [2, 2],
        "pad": [0, 0, 0, 0],
    }
    assert file.facts["layers"]["mflow_conv_g1_pool1"]["method"] == "max"
    assert file.facts["layers"]["mflow_conv_g1_pool1"]["poolSize"] == [5, 5]


def test_axes_that_matlab_drops_come_back(write):
    thin = conv("conv1", (3, 3, 1, 1), dropped=(3, 3)), *TRUNK[1:]
    arrays = read_matconvnet(write(net_config(thin, classes=1))).arrays
    assert arrays["conv1_filter"].shape == (3, 3, 1, 1)
    np.testing.assert_array_equal(arrays["filters"][..., 0], array("classifier", (3, 3, 6)))
    assert arrays["biases"].shape == (1,)


def test_a_trunk_alone_is_read(write):
    file = read_matconvnet(write(dag_net(*TRUNK)))
    assert file.arrays.keys() == {name for layer in TRUNK for name in layer[2]}
    assert "net_input_img_scales" not in file.facts


def test_a_network_of_one_layer_is_read(write):
    assert list(read_matconvnet(write({"net": dag_net(TRUNK[0])})).arrays) == ["conv1_filter"]


def test_class_names_are_told(write):
    variables = net_config() | {"class_info": {"class_names": ["background", "hand", "void"]}}
    assert read_matconvnet(write(variables)).facts["class_names"] == ["background", "hand", "void"]


def test_doubles_become_float32(write):
    net = dag_net(*TRUNK[:2])
    net["params"][1]["value"] = np.full((4, 1), 1 / 3)
    mult = read_matconvnet(write({"net": net})).arrays["bn_conv1_mult"]
    np.testing.assert_array_equal(mult, np.full(4, 1 / 3, np.float32))


def test_large_arrays_are_found_again_in_any_order(write):
    layers = [conv(f"conv{i}", (1, 1, 500, 600)) for i in range(3)]  # beyond what is held in memory, and many chunks
    arrays = read_matconvnet(write({"net": dag_net(*layers)})).arrays
    for i in (2, 0, 1, 0):
        np.testing.assert_array_equal(arrays[f"conv{i}_filter"], array(f"conv{i}_filter", (1, 1, 500, 600)))


def test_one_name_for_two_arrays_is_refused_unless_they_are_equal(write):
    net, other = dag_net(*TRUNK), dag_net(*TRUNK)
    assert len(read_matconvnet(write({"a": net, "b": other})).arrays) == 6
    other["params"][0]["value"] = other["params"][0]["value"] + 1
    assert_refused(write({"a": net, "b": other}), "two different arrays named 'conv1_filter'")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.zeros((0, 0)), "'conv1_filter' has no plain array"),
        ("text", "'conv1_filter' has no plain array"),
        (np.ones((7, 7, 3, 4), np.uint8), "'conv1_filter' is uint8"),
        (np.ones((7, 7, 4, 3)), r"'conv1_filter' has the shape \(7, 7, 4, 3\), but its layer says \[7, 7, 3, 4\]"),
    ],
)
def test_a_parameter_that_is_none_is_named(write, value, reason):
    net = dag_net(*TRUNK)
    net["params"][0]["value"] = value
    assert_refused(write({"net": net}), reason)


def test_other_files_of_matlab_are_told_by_their_variables(write):
    assert_refused(
        write({"boxes": np.ones((3, 4)), "video": {"name": "x"}}), "no network .*variables boxes, video. Give a file"
    )


def test_objects_alone_are_told(tmp_path):
    write_v7(tmp_path / "x.mat", {"a": np.ones((2, 2))}, compressed=False)
    name = struct.pack("<II8s", 1, 3, b"net")
    opaque = struct.pack("<IIIIII", 14, 16 + len(name), 6, 8, 17, 0) + name
    (tmp_path / "x.mat").write_bytes((tmp_path / "x.mat").read_bytes()[:128] + opaque)
    assert_refused(tmp_path / "x.mat", "variables net, objects among them. Save it again in MATLAB")


def test_many_ways_to_one_value_take_no_time(tmp_path):
    def damage(file):
        below = file["#refs#/v0"]
        for i in range(50):  # 100**50 ways
            below = file.create_dataset(f"cell{i}", data=np.array([[below.ref] * 100], h5py.ref_dtype))

    write_v73(tmp_path / "x.mat", net_config(), damage)
    assert len(read_all(tmp_path / "x.mat")) == 11


@pytest.mark.parametrize("content", [b"", b"x" * 2000, b"\0" * 500, b"MATLAB 7.3".ljust(124) + b"\0\2IM" + b"x" * 900])
def test_what_is_no_matlab_file_is_refused(tmp_path, content):
    (tmp_path / "x.mat").write_bytes(content)
    assert_refused(tmp_path / "x.mat", "no MATLAB file|v4|calls itself a MATLAB v7.3 file")


def test_every_truncation_is_refused(write):
    path = write(net_config())
    content = path.read_bytes()
    for length in range(0, len(content), 1 + len(content) // 60):
        path.write_bytes(content[:length])
        assert_refused(path, "truncated|damaged|no MATLAB file|calls itself|no network|has no chunk")


def test_mutated_files_are_refused_or_read(write):
    """Bytes changed at random, and whole words set to numbers that sizes and addresses are compared with."""
    path = write(net_config())
    content, rng, outcomes = path.read_bytes(), random.Random(0), set()
    for _ in range(60):
        mutant = bytearray(content)
        for _ in range(rng.choice((1, 4, 30))):
            mutant[rng.randrange(len(mutant))] = rng.randrange(256)
        place = rng.randrange(len(mutant) // 8) * 8
        mutant[place : place + 8] = rng.choice((0, 2**31 - 1, 2**32 - 1, 2**63, place)).to_bytes(8, "little")
        path.write_bytes(mutant)
        try:
            outcomes.add("read" if read_all(path) else "empty")
        except WeightsError:
            outcomes.add("refused")
    assert outcomes <= {"refused", "read"}
