"""Loading weights fails on anything missing, left over or misshapen, and names all of it."""

import jax
import numpy as np
import pytest

from refinenet_jax import models, weights
from refinenet_jax.weights.names import pytorch_name


@pytest.fixture
def state_dict():
    """A PyTorch state dict that fits rf_lw_mbv2 with two classes."""
    shapes = models.variable_shapes(models.create_model("rf_lw_mbv2", 2))
    rng = np.random.default_rng(0)
    entries = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        shape = tuple(leaf.shape[i] for i in (3, 2, 0, 1)) if len(leaf.shape) == 4 else leaf.shape
        entries[pytorch_name(tuple(k.key for k in path)[1:], "mobilenet_v2")] = rng.random(shape, np.float32)
    return entries | {"layer1.1.num_batches_tracked": np.zeros((), np.int64)}


def test_npz_file_and_dict_give_the_same(state_dict, tmp_path):
    model = models.create_model("rf_lw_mbv2", 2)
    np.savez(tmp_path / "weights.npz", **state_dict)
    from_file = weights.load_weights(tmp_path / "weights.npz", model)
    from_dict = weights.load_weights(state_dict, model)
    jax.tree.map(np.testing.assert_array_equal, from_file, from_dict)
    kernel = from_dict["params"]["classifier"]["kernel"]
    np.testing.assert_array_equal(kernel[1, 2, 5, 1], state_dict["segm.weight"][1, 5, 1, 2])


def test_all_faults_are_listed(state_dict):
    state_dict["fc.weight"] = np.zeros((1000, 1280), np.float32)
    del state_dict["conv7.weight"]
    faults = r"(?s)4 faults.*missing: conv7\.weight.*shape: segm\.(bias|weight).*left over: fc"
    with pytest.raises(ValueError, match=faults):
        weights.load_weights(state_dict, models.create_model("rf_lw_mbv2", 21))
