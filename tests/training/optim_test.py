"""Schedules and optimisers against formulas written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from refinenet_jax.training import optim

PARAMS = {
    "trunk": {
        "conv1": {"kernel": jnp.array([1.0, -2.0])},
        "bn1": {"scale": jnp.array([1.5]), "bias": jnp.array([0.5])},
    },
    "cascade": {"conv": {"kernel": jnp.array([3.0]), "bias": jnp.array([-1.0])}},
    "classifier": {"kernel": jnp.array([0.25]), "bias": jnp.array([4.0])},
}
FACTORS = {"trunk": 0.1, "classifier": 10.0}  # the cascade has 1


def _run(optimizer, gradients):
    params, state = PARAMS, optimizer.init(PARAMS)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def _gradient(value):
    return jax.tree.map(lambda w: jnp.full_like(w, value), PARAMS)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"name": "constant"}, {0: 2.0, 5: 2.0, 99: 2.0}),
        ({"name": "poly"}, {0: 2.0, 50: 2 * 0.5**0.9, 90: 2 * 0.1**0.9, 100: 0.0}),
        ({"name": "poly", "power": 2.0}, {25: 2 * 0.75**2}),
        ({"name": "poly", "warmup_steps": 20}, {0: 0.0, 10: 1.0, 20: 2.0, 60: 2 * 0.5**0.9, 100: 0.0}),
        ({"name": "cosine"}, {0: 2.0, 25: 1 + np.cos(np.pi / 4), 50: 1.0, 100: 0.0}),
        ({"name": "cosine", "warmup_steps": 20}, {5: 0.5, 20: 2.0, 60: 1.0, 100: 0.0}),
        ({"name": "constant", "warmup_steps": 4}, {0: 0.0, 1: 0.5, 4: 2.0, 50: 2.0}),
        ({"name": "step", "decay_steps": (30, 60)}, {29: 2.0, 30: 0.2, 59: 0.2, 60: 0.02, 99: 0.02}),
        ({"name": "step", "decay_steps": (30,), "decay_rate": 0.5}, {29: 2.0, 30: 1.0}),
        ({"name": "step", "decay_steps": (30,), "warmup_steps": 10}, {5: 1.0, 10: 2.0, 29: 2.0, 30: 0.2}),
        ({"name": "step"}, {0: 2.0, 99: 2.0}),
    ],
)
def test_schedule(settings, expected):
    schedule = optim.create_schedule(learning_rate=2.0, num_steps=100, **settings)
    actual = {step: float(schedule(step)) for step in expected}
    assert actual == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_two_steps_of_sgd_by_hand():
    """m = 0.9 m + (g + decay w); w -= rate factor m: the factor does not touch the momentum, the decay joins it."""
    optimizer = optim.create_optimizer("sgd", optax.constant_schedule(0.01), weight_decay=0.2, factors=FACTORS)
    params = _run(optimizer, [_gradient(1.0), _gradient(-0.5)])

    def by_hand(room, w):
        w, m = np.float64(w), 0.0
        for g in (1.0, -0.5):
            m = 0.9 * m + (g + 0.2 * w)
            w = w - 0.01 * FACTORS.get(room, 1.0) * m
        return w

    for room, tree in PARAMS.items():
        expected = jax.tree.map(lambda w, room=room: by_hand(room, w), tree)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params[room], expected)


def test_learning_rate_follows_the_schedule_from_step_zero():
    rates = [0.5, 0.25, 0.125]
    optimizer = optim.create_optimizer("sgd", lambda step: jnp.array(rates)[step], momentum=0.0)
    params = _run(optimizer, [_gradient(1.0)] * 3)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b - sum(rates), rtol=1e-6), params, PARAMS)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
@pytest.mark.parametrize("decay_all", [True, False])
def test_decay_of_kernels_only(name, decay_all):
    """With gradients of zero, only the decay moves anything."""
    optimizer = optim.create_optimizer(name, optax.constant_schedule(0.1), weight_decay=0.2, decay_all=decay_all)
    params = _run(optimizer, [_gradient(0.0)])
    for path, after in jax.tree_util.tree_leaves_with_path(params):
        before = PARAMS
        for key in path:
            before = before[key.key]
        decayed = decay_all or path[-1].key == "kernel"
        np.testing.assert_allclose(after, before * (1 - 0.1 * 0.2) if decayed else before, rtol=1e-6)


def test_adamw_takes_factors_and_first_step_is_the_sign():
    optimizer = optim.create_optimizer("adamw", optax.constant_schedule(0.01), factors=FACTORS)
    params = _run(optimizer, [_gradient(-3.0)])
    for room in PARAMS:
        step = 0.01 * FACTORS.get(room, 1.0)
        jax.tree.map(lambda a, b, s=step: np.testing.assert_allclose(a, b + s, rtol=1e-5), params[room], PARAMS[room])


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="Unknown schedule 'polly'; did you mean 'poly'"):
        optim.create_schedule("polly", 1.0, 10)
    with pytest.raises(ValueError, match="Unknown optimizer 'adam'; did you mean 'adamw'"):
        optim.create_optimizer("adam", optax.constant_schedule(1.0))
