"""A program has the forms of the platform that it is lowered for, on whatever machine."""

import re
from collections import Counter
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from refinenet_jax import models
from refinenet_jax.models import layers, mobilenet, resize

IMAGE = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
OTHERS = ("cuda", "tpu")


def operations(text: str) -> Counter:
    return Counter(re.findall(r"stablehlo\.(\w+)", text))


@cache
def traced(variant: str, train: bool, **options) -> tuple:
    """A network's forward pass or the gradient of all parameters, and how many convolutions it has."""
    model = models.create_model(variant, 2, dropout=0.0, **options)
    kernels = 0

    def count(method, args, kwargs, context):
        nonlocal kernels
        kernels += context.method_name == "__call__" and isinstance(context.module, layers.Conv | layers.DepthwiseConv)
        return method(*args, **kwargs)

    with nn.intercept_methods(count):
        variables = models.variable_shapes(model)

    def loss(params, batch_stats, x):
        return (model.apply({"params": params, "batch_stats": batch_stats}, x, train=train) ** 2).sum()

    function = jax.jit(jax.value_and_grad(loss) if train else loss)
    return function.trace(variables["params"], variables["batch_stats"], IMAGE), kernels


@pytest.mark.parametrize(
    ("variant", "train", "platforms"),  # deeper networks only repeat blocks
    [
        ("rf50", True, ("cuda",)),
        ("rf_lw50", True, ("cuda",)),
        ("rf_lw_mbv2", True, ("cuda",)),
        ("rf_lw_mbv2", False, OTHERS),
    ],
)
def test_a_gpu_and_a_tpu_get_plain_operations(variant, train, platforms):
    program, kernels = traced(variant, train)
    for platform in platforms:
        found = operations(program.lower(lowering_platforms=(platform,)).as_text())
        # Of the first convolution there is no gradient of the input.
        assert found["convolution"] == (3 * kernels - 1 if train else kernels)
        assert found["while"] == 0
        assert found["reduce_window"] > 0
        assert found["gather"] == found["scatter"] == 0


@pytest.mark.parametrize("variant", ["rf50", "rf_lw_mbv2"])
def test_a_cpu_gets_its_own_forms(variant):
    program, kernels = traced(variant, True)
    found = operations(program.lower(lowering_platforms=("cpu",)).as_text())
    assert found["convolution"] < 3 * kernels - 1
    assert found["while"] > 0
    assert found["reduce_window"] == found["select_and_scatter"] == 0


def test_forward_mode_differentiation_where_no_gradient_rule_prevents_it():
    model = models.create_model("rf_lw_mbv2", 2)
    pushed = jax.jit(lambda v, x: jax.jvp(partial(model.apply, v), (x,), (x,)))
    program = pushed.trace(models.variable_shapes(model), IMAGE)
    for platform in OTHERS:
        assert operations(program.lower(lowering_platforms=(platform,)).as_text())["while"] == 0


def test_every_product_has_the_precision_of_the_network():
    """Those of gradients, too."""
    program, _ = traced("rf_lw_mbv2", True, precision="highest")
    lines = program.lower(lowering_platforms=("cuda",)).as_text().splitlines()
    products = [line for line in lines if "stablehlo.convolution" in line or "stablehlo.dot_general" in line]
    assert len(products) > 100
    assert all(len(re.findall(r"\bHIGHEST\b", line)) == 2 and "DEFAULT" not in line for line in products)


def test_remat_computes_the_blocks_of_the_trunk_again():
    program, kernels = traced("rf_lw_mbv2", True, remat=True)
    found = operations(program.lower(lowering_platforms=("cuda",)).as_text())
    # All but each block's last, whose output no gradient needs.
    assert found["convolution"] > 3 * kernels + kernels // 4


def test_the_default_precision_leaves_that_of_jax():
    model = models.create_model("rf_lw_mbv2", 2)
    with jax.default_matmul_precision("highest"):
        program = jax.jit(model.apply).trace(models.variable_shapes(model), IMAGE)
    assert "HIGHEST" in program.lower(lowering_platforms=("cuda",)).as_text()


def test_an_export_to_three_platforms_runs_here(monkeypatch):
    """The choice is then made when the program is loaded; a batch of any size."""
    stages = tuple((expansion, width, 1, stride) for expansion, width, _, stride in mobilenet.STAGES)
    monkeypatch.setattr(mobilenet, "STAGES", stages)
    model = models.create_model("rf_lw_mbv2", 2)
    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
    variables = jax.tree.map(lambda leaf: np.full(leaf.shape, 0.1, np.float32), models.variable_shapes(model))
    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, *x.shape[1:]), jnp.float32)
    exported = jax.export.export(jax.jit(partial(model.apply, variables)), platforms=("cpu", *OTHERS))(shape)
    loaded = jax.export.deserialize(bytearray(exported.serialize()))
    np.testing.assert_allclose(jax.jit(loaded.call)(x), jax.jit(model.apply)(variables, x), rtol=1e-4)


def block(x, kernel):
    y = layers.max_pool_5x5(layers.conv(layers.shared_relu(x), kernel))
    return resize.align_corners(layers.depthwise_conv(y, kernel[:1, :1].repeat(3, 0).repeat(3, 1)[:, :, :1]), (9, 7))


def test_the_form_is_chosen_before_compilation():
    """No conditional remains in what XLA compiles for this machine."""
    program = jax.jit(block).lower(jnp.zeros((1, 6, 5, 4)), jnp.zeros((1, 1, 4, 4)))
    assert " conditional(" not in program.compile().as_text()


def test_transformations_of_operations_with_several_forms():
    """Mapped over devices by pmap and shard_map, over examples by vmap, and recomputed: the same values and gradients."""
    rng = np.random.default_rng(0)
    x, kernel = (jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((2, 1, 6, 5, 4), (1, 1, 4, 4)))

    def gradient(x, kernel, block=block):
        return jax.grad(lambda x, kernel: (block(x, kernel) ** 2).sum(), (0, 1))(x, kernel)

    expected = [gradient(one, kernel) for one in x]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected)
    mesh = jax.make_mesh((2,), ("batch",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])
    whole, share = jax.P(), jax.P("batch")

    def of_share(x, kernel):
        return jax.tree.map(lambda leaf: leaf[None], gradient(x[0], kernel))

    for mapped in (
        jax.vmap(gradient, (0, None)),
        jax.vmap(partial(gradient, block=jax.checkpoint(block)), (0, None)),
        jax.pmap(gradient, in_axes=(0, None), devices=jax.devices()[:2]),
        jax.shard_map(of_share, mesh=mesh, in_specs=(share, whole), out_specs=share, check_vma=False),
    ):
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-3), jax.jit(mapped)(x, kernel), expected
        )


@pytest.mark.parametrize("form", ["grouped", "shifted"])
def test_both_forms_of_a_depthwise_convolution_on_cuda(monkeypatch, form):
    monkeypatch.setattr(layers, "DEPTHWISE_ON_CUDA", form)
    shapes = jax.ShapeDtypeStruct((1, 8, 8, 4), jnp.float32), jax.ShapeDtypeStruct((3, 3, 1, 4), jnp.float32)
    program = jax.jit(jax.grad(lambda x, k: layers.depthwise_conv(x, k).sum(), (0, 1))).trace(*shapes)
    for platform, is_grouped in (("cuda", form == "grouped"), ("tpu", True)):
        found = operations(program.lower(lowering_platforms=(platform,)).as_text())
        assert (found["convolution"] > 0) == is_grouped
