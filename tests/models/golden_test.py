"""The published networks, number for number: logits, features, loss and every parameter's gradient."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden.weights_rule import state_dict
from plain_forms import QUICK

from refinenet_jax import models, weights
from refinenet_jax.models.resize import half_pixel
from refinenet_jax.training.losses import cross_entropy
from refinenet_jax.weights.names import pytorch_name

NETWORKS = {
    "rf101_c21": "rf101",
    "rf_lw_seed101_c7": "rf_lw101",
    "rf_lw50_c2": "rf_lw50",
    "rf_lw_mbv2_c21": "rf_lw_mbv2",
}


def assert_close(ours, theirs):
    """Largest difference within 1e-4 of the standard deviation (around 1e-5 is usual)."""
    assert ours.shape == theirs.shape
    assert float(abs(ours - theirs).max()) < 1e-4 * float(theirs.std())


@pytest.mark.parametrize("file", NETWORKS)
def test_network_computes_what_the_published_one_computes(golden, file):
    expected = np.load(golden(f"{file}.npz"))
    model = models.create_model(NETWORKS[file], expected["logits"].shape[-1], batch_norm="local", dropout=0.0)
    variables = weights.load_weights(state_dict(golden(f"{file}.json")), model)
    image, label = models.normalize(expected["image"]), jnp.asarray(expected["label"])

    @partial(jax.jit, compiler_options=QUICK)
    def compute(variables):
        def loss(params):
            capture = {"capture_intermediates": lambda module, _: module.name == "trunk"}
            logits, state = model.apply({**variables, "params": params}, image, **capture)
            total, pixels = cross_entropy(half_pixel(logits, label.shape[1:]), label)
            return total / pixels, (logits, state["intermediates"]["trunk"]["__call__"][0])

        (value, (logits, features)), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        with_batch_stats, _ = model.apply(variables, image, train=True, mutable=["batch_stats"])
        return value, logits, with_batch_stats, features, jax.tree.map(jnp.linalg.norm, gradient)

    with jax.default_matmul_precision("highest"):
        value, logits, with_batch_stats, features, norms = compute(variables)

    assert_close(logits, expected["logits"])
    assert_close(with_batch_stats, expected["logits_batch_stats"])
    for name in [name for name in expected.files if name.startswith("feature_layer")]:
        assert_close(features[name.replace("feature_layer", "stage")], expected[name])
    np.testing.assert_allclose(value, expected["loss"], rtol=1e-5)
    norms = {
        pytorch_name(tuple(key.key for key in path), model.trunk_name): float(norm)
        for path, norm in jax.tree_util.tree_leaves_with_path(norms)
    }
    assert set(norms) == set(expected["grad_names"])
    theirs = dict(zip(expected["grad_names"], expected["grad_norms"], strict=True))
    for name, norm in norms.items():
        assert norm == pytest.approx(float(theirs[name]), rel=1e-3), name
