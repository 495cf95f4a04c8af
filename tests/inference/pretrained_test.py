"""The packaged network is complete and small, agrees with its model card, and finds hands."""

import hashlib
from pathlib import Path

import jax
import numpy as np
import pytest

from refinenet_jax import models, pretrained, weights
from refinenet_jax.inference import reading
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.weights.files import read
from refinenet_jax.weights.flat import description_of
from tfds_builders.synthetic_hands import scene, tabletop

ROOT = Path(__file__).resolve().parents[2]
CARD = pretrained.PATH.with_name("model_card.md")


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_checkpoint(pretrained.PATH)


def test_file_is_small_and_described_by_the_card():
    assert pretrained.PATH.stat().st_size < 8_000_000
    digest = hashlib.sha256(pretrained.PATH.read_bytes()).hexdigest()
    assert digest in CARD.read_text(encoding="utf-8")


def test_description():
    description = description_of(read(pretrained.PATH))
    assert description["variant"] == "rf_lw_mbv2"
    assert description["class_names"] == ["background", "hand"]
    assert "research and teaching" in description["license"]
    plain = models.create_model("rf_lw_mbv2", 2)  # the default options
    assert all(getattr(plain, name) == value for name, value in models.options_of(description).items())
    assert all(0.1 <= scale <= 2 for scale in description["scales"])
    assert 128 <= description["longest_side"] <= 640


def test_weights_are_float32_in_memory():
    model, variables = weights.load(pretrained.PATH)
    expected = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    assert jax.tree.map(lambda x: (x.shape, np.dtype(x.dtype)), variables) == jax.tree.map(
        lambda x: (x.shape, np.dtype(np.float32)), dict(expected)
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables))


@pytest.mark.parametrize(("pictures", "least"), [(scene, 0.7), (tabletop, 0.4)])
def test_finds_drawn_hands_of_other_datasets(segmenter, pictures, least):
    images, masks = zip(*(pictures.generate("test", index) for index in range(6)), strict=True)
    found = np.concatenate([result.mask.ravel() > 0 for result in segmenter.batch(images)])
    true = np.concatenate([mask.ravel() > 0 for mask in masks])
    assert (found & true).sum() / (found | true).sum() > least


def test_no_layer_is_dead():
    """An earlier network had a path of the cascade whose ReLU never opened: its gradients are zero."""
    model, variables = weights.load(pretrained.PATH)
    image = models.normalize(reading.read(ROOT / "docs" / "hands.jpg")[None, :96, :160])

    @jax.jit
    def gradient(params):
        return jax.grad(lambda params: jax.numpy.abs(model.apply({**variables, "params": params}, image)).sum())(params)

    norms = jax.tree.map(lambda leaf: float(jax.numpy.linalg.norm(leaf)), gradient(variables["params"]))
    assert min(jax.tree.leaves(norms)) > 0
