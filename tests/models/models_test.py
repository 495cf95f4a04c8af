"""Sizes, shapes and options of the networks."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refinenet_jax import models

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
def test_parameter_count(variant, classes):
    shapes = models.variable_shapes(models.create_model(variant, classes))
    assert sum(x.size for x in jax.tree.leaves(shapes["params"])) == PARAMETERS[variant, classes]


def test_every_variant_is_counted():
    assert {variant for variant, _ in PARAMETERS} == set(models.VARIANTS)


@pytest.mark.parametrize("variant", models.VARIANTS)
@pytest.mark.parametrize("size", [(64, 64), (97, 130), (1, 1), (33, 224)])
def test_any_input_size_gives_a_quarter_rounded_up(variant, size):
    model = models.create_model(variant, 2, dtype="bfloat16")
    x = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    logits = jax.eval_shape(model.apply, models.variable_shapes(model), x)
    assert logits.shape == (2, -(-size[0] // 4), -(-size[1] // 4), 2)
    assert logits.dtype == jnp.float32


def test_parameters_stay_float32_in_bfloat16_computation():
    shapes = models.variable_shapes(models.create_model("rf_lw_mbv2", 2, dtype="bfloat16"))
    assert {x.dtype for x in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_every_layer_is_named():
    for variant in models.VARIANTS:
        names = {
            k.key
            for path, _ in jax.tree_util.tree_leaves_with_path(models.variable_shapes(models.create_model(variant, 2)))
            for k in path
        }
        assert not [name for name in names if name[0].isupper()], "Flax numbers unnamed layers, as in Conv_0"


@pytest.fixture(scope="module")
def small():
    """A whole network with variables and a batch of pictures."""
    model = models.create_model("rf_lw_mbv2", 2)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((4, 64, 64, 3)), jnp.float32)
    return jax.jit(model.init)(jax.random.key(0), x), x


def test_frozen_batch_norm_never_moves(small):
    variables, x = small
    model = models.create_model("rf_lw_mbv2", 2, batch_norm="frozen", dropout=0.0)
    logits, changed = model.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_array_equal(logits, model.apply(variables, x))
    jax.tree.map(np.testing.assert_array_equal, changed["batch_stats"], variables["batch_stats"])


def test_synchronized_batch_norm_on_four_devices_is_the_whole_batch_on_one(small):
    variables, x = small

    def run(model, x):
        return model.apply(variables, x, train=True, mutable=["batch_stats"])

    whole, whole_stats = run(models.create_model("rf_lw_mbv2", 2, batch_norm="local"), x)
    model = models.create_model("rf_lw_mbv2", 2, batch_norm="synchronized")
    parts, stats = jax.pmap(lambda x: run(model, x), axis_name="batch", devices=jax.devices()[:4])(x[:, None])
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
        ({"name": "rf101", "num_classes": 1}, "num_classes is 1"),
    ],
)
def test_unknown_options_are_refused_with_the_nearest(arguments, says):
    with pytest.raises(ValueError, match=says):
        models.create_model(**arguments)


@pytest.mark.parametrize("variant", ["rf50", "rf_lw50", "rf_lw_mbv2"])
def test_recomputed_blocks_have_gradients_of_the_same_shapes(variant):
    model = models.create_model(variant, 2, remat=True, dropout=0.0)
    variables = models.variable_shapes(model)

    def total(params, rest, x):
        return model.apply({"params": params, **rest}, x, train=True).sum()

    x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    rest = {"batch_stats": variables["batch_stats"]}
    assert jax.eval_shape(jax.grad(total), variables["params"], rest, x) == variables["params"]


def test_new_frozen_trunk_does_not_overflow():
    """With the moments at 0 and 1, 33 residual blocks would double the signal each."""
    model = models.create_model("rf_lw101", 2)
    x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 32, 32, 3)), jnp.float32)
    features, _ = jax.jit(partial(model.init_with_output, features_only=True))(jax.random.key(0), x)
    assert all(0.05 < float(feature.std()) < 20 for feature in features.values())


@pytest.mark.parametrize(
    ("variant", "size", "giga"),
    [("rf101", 400, 321.5), ("rf101", 512, 2 * 263), ("rf_lw101", 512, 2 * 51), ("rf_lw_mbv2", 512, 2 * 8.6)],
)
def test_work_is_that_of_the_published_networks(variant, size, giga):
    """As the authors count multiply-adds at 512x512, times two; of MobileNet-v2 theirs (9.3) are more than convolutions."""
    model = models.create_model(variant, 2 if size == 400 else 21)
    assert models.forward_flops(model, (size, size)) / 1e9 == pytest.approx(giga, rel=0.02)


def test_descriptions_of_earlier_versions_are_read():
    old = {"variant": "rf101", "normalisation": "minus_128", "licence": "MIT"}
    assert models.options_of(models.with_current_names(old)) == {"normalization": "minus_128"}
