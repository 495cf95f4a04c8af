"""The published networks, number for number: logits, features, loss and every parameter's gradient."""

from functools import partial
from importlib.util import find_spec

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


@pytest.fixture(params=NETWORKS)
def published(request, golden):
    """Outputs of a published network, our model and its variables."""
    expected = np.load(golden(f"{request.param}.npz"))
    classes = expected["logits"].shape[-1]
    model = models.create_model(NETWORKS[request.param], classes, batch_norm="local", dropout=0.0)
    return expected, model, weights.load_weights(state_dict(golden(f"{request.param}.json")), model)


def assert_close(ours, theirs):
    """Largest difference within 1e-4 of the standard deviation (around 1e-5 is usual)."""
    assert ours.shape == theirs.shape
    assert float(abs(ours - theirs).max()) < 1e-4 * float(theirs.std())


def test_network_computes_what_the_published_one_computes(published):
    expected, model, variables = published
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
    theirs = dict(zip(expected["grad_names"].tolist(), expected["grad_norms"].tolist(), strict=True))
    assert norms == pytest.approx(theirs, rel=1e-3)


@pytest.mark.skipif(find_spec("torch") is None, reason="PyTorch is not installed: pip install -e .[bench]")
def test_pytorch_network_of_the_benchmarks_computes_the_same(published):
    """So that the comparison of speed is fair."""
    import torch

    from benchmarks.pytorch.twin import Twin, load

    expected, model, variables = published
    variant = next(name for name, parts in models.VARIANTS.items() if parts == (model.trunk_name, model.light))
    twin = load(Twin(variant, model.num_classes), variables).eval()
    image = torch.tensor(np.array(models.normalize(expected["image"]))).permute(0, 3, 1, 2)
    label = torch.tensor(expected["label"].astype(np.int64))
    logits = twin(image)
    enlarged = torch.nn.functional.interpolate(logits, label.shape[1:], mode="bilinear", align_corners=False)
    loss = torch.nn.functional.cross_entropy(enlarged, label, ignore_index=255)
    loss.backward()
    assert_close(logits.detach().permute(0, 2, 3, 1).numpy(), expected["logits"])
    assert loss.item() == pytest.approx(float(expected["loss"]), rel=1e-5)
    norms = sorted(float(parameter.grad.norm()) for parameter in twin.parameters())
    np.testing.assert_allclose(norms, sorted(expected["grad_norms"]), rtol=1e-3)
