"""All operations of the networks in ONNX Runtime agree with JAX, in few nodes and for any batch size."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refinenet_jax import models
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.export import onnx
from refinenet_jax.inference.export.network import Network
from refinenet_jax.inference.export.plain import plain
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.models import mobilenet, resnet

NAMES = ("background", "left hand", "right hand")


def lively(model: models.RefineNet, classifier: float) -> dict:
    """Random variables with which no activation vanishes, moments unlike 0 and 1, and uncertain classes."""
    rng = np.random.default_rng(0)

    def draw(place, leaf):
        name = place[-1].key
        if name == "kernel":
            fan_in = np.prod(leaf.shape[:-1])
            gain = classifier if "classifier" in jax.tree_util.keystr(place) else 1
            return rng.normal(0, gain * np.sqrt(2 / fan_in), leaf.shape).astype(np.float32)
        if name in ("scale", "var"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        return rng.normal(0, 0.1, leaf.shape).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, models.variable_shapes(model))


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    """One block per stage."""
    monkeypatch.setitem(resnet.STAGE_SIZES, 50, (1, 1, 1, 1))
    stages = tuple((expansion, width, 1, stride) for expansion, width, _, stride in mobilenet.STAGES)
    monkeypatch.setattr(mobilenet, "STAGES", stages)


def assert_equal_in_onnx_runtime(segmenter: Segmenter, size: tuple[int, int], path, **nodes: int):
    network = Network.of(segmenter, size)
    onnx.write(path, network, {}, [])
    images = np.random.default_rng(1).integers(0, 256, (2, *size, 3), np.uint8)
    mask, scores = onnx.load(path)[1](images)
    with jax.default_matmul_precision("highest"):
        padded = np.stack([segmenter.prepare(image).canvas for image in images])
        expected = jax.jit(segmenter.probabilities)(segmenter.variables, padded)[:, : size[0], : size[1]]
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert (mask == expected.argmax(-1)).mean() > 0.999
    assert len(np.unique(mask)) > 1
    kinds = Counter(node.op_type for node in onnx.onnx.load(path).graph.node)
    assert {kind: kinds[kind] for kind in nodes} == nodes


def test_mobilenet(tmp_path):
    """22 convolutions in the trunk, 25 in the cascade and the classifier; 16 pools; few transposes."""
    model = models.create_model("rf_lw_mbv2", 3)
    segmenter = Segmenter(model, lively(model, 0.03), NAMES)
    nodes = {"Conv": 48, "MaxPool": 16, "Clip": 19, "Relu": 0, "Transpose": 4, "Loop": 0, "Scan": 0}
    assert_equal_in_onnx_runtime(segmenter, (64, 96), tmp_path / "a.onnx", **nodes)


def test_resnet_with_every_option(tmp_path):
    """The authors' options: bicubic fusion, a channel for void, a test scale, and a size that is padded."""
    model = models.create_model(
        "rf_lw50",
        4,
        pool_order="conv_pool",
        pool_stages=2,
        stride_on="1x1",
        resize="bicubic",
        normalization="minus_128",
        input_scale=1.2,
    )
    segmenter = Segmenter(model, lively(model, 3e-5), NAMES, scales=(0.75,))
    assert_equal_in_onnx_runtime(segmenter, (50, 70), tmp_path / "a.onnx", Conv=36, MaxPool=9, Einsum=0)


def test_an_unsupported_operator_is_named():
    def function(x):
        y = jnp.sin(x.astype(jnp.float32))
        return y[..., 0].astype(jnp.uint8), y

    with pytest.raises(UsageError, match="'sin'"):
        onnx.to_onnx(plain(function, jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.uint8)))
