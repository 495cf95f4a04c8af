"""MatConvNet's files of every version give the same arrays; damaged and crafted ones are refused."""

import h5py
import numpy as np
import pytest
from matlab_files import (
    CASCADE,
    TRUNK,
    Object,
    array,
    assert_refused,
    conv,
    dag_net,
    net_config,
    write_v7,
    write_v73,
)

from refinenet_jax.weights.matconvnet import read_matconvnet

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


def test_every_version_gives_all_arrays_and_strides(write):
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
    assert file.facts == {
        "strides": {"conv1": 2, "pool1": 2, "res3a_branch2a": 2, "res3a_branch2b": 1}
        | {layer[0]: 1 for layer in CASCADE},
        "net_input_img_scales": 1.2,
    }


def test_axes_that_matlab_drops_are_restored(write):
    thin = conv("conv1", (3, 3, 1, 1), dropped=(3, 3)), *TRUNK[1:]
    arrays = read_matconvnet(write(net_config(thin, classes=1))).arrays
    assert arrays["conv1_filter"].shape == (3, 3, 1, 1)
    np.testing.assert_array_equal(arrays["filters"][..., 0], array("classifier", (3, 3, 6)))
    assert arrays["biases"].shape == (1,)


@pytest.mark.parametrize("variables", [dag_net(*TRUNK), {"net": dag_net(TRUNK[0])}], ids=["trunk", "one layer"])
def test_a_graph_alone_is_read(write, variables):
    file = read_matconvnet(write(variables))
    layers = TRUNK if "params" in variables else TRUNK[:1]
    assert file.arrays.keys() == {name for layer in layers for name in layer[2]}
    assert "net_input_img_scales" not in file.facts


@pytest.mark.parametrize("scales", [np.array([[0.6, 1.2]]), np.array([[np.nan]]), "text"])
def test_a_network_of_several_input_scales_is_refused(write, scales):
    variables = net_config()
    variables["net_config"].value["ref"]["net_input_img_scales"] = scales
    assert_refused(write(variables), "net_input_img_scales")


def test_one_name_for_two_arrays_is_refused_unless_they_are_equal(write):
    net, other = dag_net(*TRUNK), dag_net(*TRUNK)
    assert len(read_matconvnet(write({"a": net, "b": other})).arrays) == 6
    other["params"][0]["value"] = other["params"][0]["value"] + 1
    assert_refused(write({"a": net, "b": other}), "two different arrays named 'conv1_filter'")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.zeros((0, 0)), "'conv1_filter' has no array"),
        ("text", "'conv1_filter' has no array"),
        (np.ones((7, 7, 3, 4), np.uint8), "'conv1_filter' has no array"),
        (np.ones((7, 7, 1, 4, 3)), r"'conv1_filter' has the shape \(7, 7, 1, 4, 3\)"),
    ],
)
def test_parameters_without_an_array_are_named(write, value, reason):
    net = dag_net(*TRUNK)
    net["params"][0]["value"] = value
    assert_refused(write({"net": net}), reason)


def test_files_without_a_network_are_refused_with_their_variables(write):
    assert_refused(write({"boxes": np.ones((3, 4)), "video": {"name": "x"}}), "no network .*variables boxes, video")


def test_objects_alone_are_refused(tmp_path):
    write_v73(tmp_path / "x.mat", {"net": Object({"ref": "x"})})
    assert_refused(tmp_path / "x.mat", "variables net. Some are objects")


def test_many_references_to_one_value_take_no_time(tmp_path):
    def damage(file):
        below = file["#refs#/v0"]
        for i in range(50):  # 100**50 ways
            below = file.create_dataset(f"cell{i}", data=np.array([[below.ref] * 100], h5py.ref_dtype))

    write_v73(tmp_path / "x.mat", net_config(), damage)
    assert len(read_matconvnet(tmp_path / "x.mat").arrays) == 11
