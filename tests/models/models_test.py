"""Sizes, shapes and options of the networks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from refinenet_jax import models
from refinenet_jax.models import layers, mobilenet, resnet

# As the published networks have them.
PARAMETERS = {
    ("rf50", 3): 99_018_819,
    ("rf101", 2): 118_008_642,
    ("rf101", 21): 118_052_437,
    ("rf152", 7): 133_663_815,
    ("rf_lw50", 2): 27_313_730,
    ("rf_lw101", 2): 46_305_858,
    ("rf_lw101", 7): 46_317_383,
    ("rf_lw152", 7): 61_961_031,
    ("rf_lw_mbv2", 21): 3_284_565,
}


@pytest.mark.parametrize(("variant", "classes"), PARAMETERS)
def test_parameter_counts_and_names(variant, classes):
    params = models.variable_shapes(models.create_model(variant, classes))["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == PARAMETERS[variant, classes]
    names = {key.key for path, _ in jax.tree_util.tree_leaves_with_path(params) for key in path}
    assert not [name for name in names if name[0].isupper()], "Flax numbers unnamed layers, as in Conv_0"


def test_every_variant_is_counted():
    assert {variant for variant, _ in PARAMETERS} == set(models.VARIANTS)


@pytest.mark.parametrize("variant", ["rf50", "rf_lw50", "rf_lw_mbv2"])  # deeper ones only repeat blocks
def test_logits_have_a_quarter_of_any_input_size_rounded_up(variant):
    model = models.create_model(variant, 2, dtype="bfloat16")
    variables = models.variable_shapes(model)
    for height, width in ((97, 130), (1, 1), (32, 224)):
        logits = jax.eval_shape(model.apply, variables, jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32))
        assert logits.shape == (2, -(-height // 4), -(-width // 4), 2)
        assert logits.dtype == jnp.float32


def test_parameters_stay_float32_in_bfloat16_computation():
    shapes = models.variable_shapes(models.create_model("rf_lw_mbv2", 2, dtype="bfloat16"))
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


@pytest.fixture
def small(monkeypatch):
    """Variables of a network with one block in each stage, and a batch of pictures."""
    stages = tuple((expansion, width, 1, stride) for expansion, width, _, stride in mobilenet.STAGES)
    monkeypatch.setattr(mobilenet, "STAGES", stages)
    rng = np.random.default_rng(0)
    shapes = models.variable_shapes(models.create_model("rf_lw_mbv2", 2))
    draw = {"kernel": (0, 0.1), "scale": (1, 0.1), "var": (1, 0.1), "bias": (0, 0.1), "mean": (0, 0.1)}
    variables = jax.tree_util.tree_map_with_path(
        lambda path, leaf: rng.normal(*draw[path[-1].key], leaf.shape).astype(np.float32), shapes
    )
    return variables, rng.standard_normal((4, 32, 32, 3)).astype(np.float32)


def test_training_with_frozen_batch_norm_is_the_program_of_inference(small):
    def program(train, **options):
        model = models.create_model("rf_lw_mbv2", 2, dropout=0.0, **options)
        run = jax.jit(lambda *args: model.apply(*args, train=train, mutable=["batch_stats"]))
        return run.lower(*small).as_text()

    assert program(True, batch_norm="frozen") == program(False, batch_norm="local")
    assert program(True, batch_norm="local") != program(False, batch_norm="local")


def test_synchronized_batch_norm_on_four_devices_is_the_whole_batch_on_one(small):
    variables, x = small

    def run(batch_norm, x):
        model = models.create_model("rf_lw_mbv2", 2, batch_norm=batch_norm)
        return model.apply(variables, x, train=True, mutable=["batch_stats"])

    whole, whole_stats = jax.jit(run, static_argnums=0)("local", x)
    mapped = jax.pmap(run, axis_name="batch", static_broadcasted_argnums=0, devices=jax.devices()[:4])
    parts, stats = mapped("synchronized", x[:, None])
    np.testing.assert_allclose(parts[:, 0], whole, atol=1e-3 * float(whole.std()))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, atol=1e-4), stats, whole_stats)


def test_precision_is_read_from_the_description_and_is_the_default_without_one():
    for description, precision in (({}, "default"), ({"precision": "highest"}, "highest")):
        model = models.create_model("rf_lw_mbv2", 2, **models.options_of(description))
        assert model.precision == precision


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name": "rf_lw_mbv3", "num_classes": 2}, "did you mean 'rf_lw_mbv2'"),
        ({"name": "rf101", "num_classes": 2, "batch_norm": "sync"}, "did you mean 'synchronized'"),
        ({"name": "rf101", "num_classes": 2, "dtype": "float16"}, "did you mean 'bfloat16'"),
        ({"name": "rf101", "num_classes": 2, "precision": "float32"}, "precision"),
        ({"name": "rf101", "num_classes": 1}, "num_classes"),
    ],
)
def test_unknown_options_are_refused_with_the_nearest(arguments, says):
    with pytest.raises(ValueError, match=says):
        models.create_model(**arguments)


def test_recomputed_blocks_have_gradients_of_the_same_shapes():
    model = models.create_model("rf_lw50", 2, remat=True, dropout=0.0)
    variables = models.variable_shapes(model)

    def total(params, rest, x):
        return model.apply({"params": params, **rest}, x, train=True).sum()

    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    rest = {"batch_stats": variables["batch_stats"]}
    assert jax.eval_shape(jax.grad(total), variables["params"], rest, x) == variables["params"]


def test_a_new_residual_block_returns_its_input():
    """With a scale of 1, frozen moments of 0 and 1 would let 33 blocks double the signal each, until it overflows."""
    norm = partial(nn.BatchNorm, use_running_average=True)
    x = jnp.arange(64.0).reshape(1, 2, 2, 16)
    y, _ = resnet.Bottleneck(4, 1, layers.Conv, norm, "3x3").init_with_output(jax.random.key(0), x)
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize(
    ("variant", "size", "giga"),
    [("rf101", 512, 2 * 263), ("rf_lw101", 512, 2 * 51), ("rf_lw_mbv2", 512, 2 * 8.6)],
)
def test_operations_are_those_of_the_published_networks(variant, size, giga):
    """As the authors count multiply-adds at 512x512, times two; of MobileNet-v2 theirs (9.3) are more than convolutions."""
    model = models.create_model(variant, 21)
    assert models.forward_flops(model, (size, size)) / 1e9 == pytest.approx(giga, rel=0.02)


def test_descriptions_of_earlier_versions_are_read():
    old = {"variant": "rf101", "normalisation": "minus_128", "licence": "MIT"}
    assert models.options_of(models.with_current_names(old)) == {"normalization": "minus_128"}
