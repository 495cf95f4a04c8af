"""The PyTorch networks that benchmarks compare with compute what the published ones compute, so the comparison is fair."""

import numpy as np
import pytest
from golden.weights_rule import state_dict

from refinenet_jax import models, weights

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install -e .[bench]")

NETWORKS = {
    "rf101_c21": "rf101",
    "rf_lw_seed101_c7": "rf_lw101",
    "rf_lw50_c2": "rf_lw50",
    "rf_lw_mbv2_c21": "rf_lw_mbv2",
}


@pytest.mark.parametrize("file", NETWORKS)
def test_twin_computes_what_the_published_network_computes(golden, file):
    from benchmarks import torch_twin

    expected = np.load(golden(f"{file}.npz"))
    classes = expected["logits"].shape[-1]
    model = models.create_model(NETWORKS[file], classes)
    variables = weights.load_weights(state_dict(golden(f"{file}.json")), model)
    twin = torch_twin.load(torch_twin.Twin(NETWORKS[file], classes), variables).eval()
    image = torch.tensor(np.array(models.normalize(expected["image"]))).permute(0, 3, 1, 2)
    label = torch.tensor(expected["label"].astype(np.int64))
    logits = twin(image)
    enlarged = torch.nn.functional.interpolate(logits, label.shape[1:], mode="bilinear", align_corners=False)
    loss = torch.nn.functional.cross_entropy(enlarged, label, ignore_index=255)
    loss.backward()
    ours = logits.detach().permute(0, 2, 3, 1).numpy()
    assert abs(ours - expected["logits"]).max() < 1e-4 * expected["logits"].std()
    assert loss.item() == pytest.approx(float(expected["loss"]), rel=1e-5)
    norms = sorted(float(parameter.grad.norm()) for parameter in twin.parameters())
    np.testing.assert_allclose(norms, sorted(expected["grad_norms"]), rtol=1e-3)
