"""Schedules and optimizers against formulas written out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from refinenet_jax import parallel
from refinenet_jax.errors import UsageError
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
        ({"name": "plateau", "warmup_steps": 4}, {0: 0.0, 1: 0.5, 4: 2.0, 99: 2.0}),
    ],
)
def test_schedule(settings, expected):
    schedule = optim.create_schedule(learning_rate=2.0, num_steps=100, **settings)
    actual = {step: float(schedule(step)) for step in expected}
    assert actual == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("decay_steps", [(5,), (10, 60)])
def test_a_decay_within_the_warm_up_is_refused(decay_steps):
    """It would cut the rate at the end of the warm-up, at a step that nobody named."""
    with pytest.raises(UsageError, match=r"decay_steps=.*warmup_steps=10"):
        optim.create_schedule("step", 2.0, 100, warmup_steps=10, decay_steps=decay_steps)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_a_long_gradient_is_clipped_to_its_norm_and_the_state_is_that_without_clipping(name):
    plain = optim.create_optimizer(name, optax.constant_schedule(0.01), weight_decay=0.2, epsilon=0.1)
    clipped = optim.create_optimizer(name, optax.constant_schedule(0.01), weight_decay=0.2, epsilon=0.1, clip_norm=2.0)
    norm = float(optax.tree.norm(_gradient(3.0)))
    expected = _run(plain, [_gradient(3.0 * 2.0 / norm), _gradient(0.1)])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        _run(clipped, [_gradient(3.0), _gradient(0.1)]),
        expected,
    )
    states = [jax.tree.structure(optimizer.init(PARAMS)) for optimizer in (plain, clipped)]
    assert states[0] == states[1]  # a run can be resumed with another clip_norm


def test_betas_and_epsilon_of_adamw_by_hand():
    optimizer = optim.create_optimizer("adamw", optax.constant_schedule(0.01), betas=(0.5, 0.75), epsilon=0.1)
    updates, _ = optimizer.update(_gradient(2.0), optimizer.init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["cascade"]["conv"]["kernel"], -0.01 * 2 / (2 + 0.1), rtol=1e-5)
    state = optimizer.update(_gradient(1.0), optimizer.init(PARAMS), PARAMS)[1]
    updates, _ = optimizer.update(_gradient(3.0), state, PARAMS)
    mean, square = (0.25 * 1 + 0.5 * 3) / (1 - 0.25), (0.1875 * 1 + 0.25 * 9) / (1 - 0.5625)
    np.testing.assert_allclose(updates["classifier"]["bias"], -0.01 * mean / (square**0.5 + 0.1), rtol=1e-5)


@pytest.mark.parametrize("settings", [{"clip_norm": -1.0}, {"betas": (0.9, 1.0)}, {"betas": (0.9,)}, {"epsilon": 0.0}])
def test_settings_out_of_their_range_are_refused(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        optim.create_optimizer("adamw", optax.constant_schedule(0.01), **settings)


def test_three_steps_of_the_matlab_recipe_by_hand():
    """MatConvNet: m = 0.9 m - 5e-4 w - g; w += rate m. A rate that falls leaves the momentum as large as it was."""
    schedule = optim.create_schedule("step", 0.5, 3, decay_steps=(2,))
    optimizer = optim.create_optimizer("sgd", schedule, momentum=0.9, weight_decay=5e-4, factors={"trunk": 0.1})
    params = {"trunk": jnp.ones(()), "cascade": jnp.ones(())}
    state, seen = optimizer.init(params), []
    for g in (0.2, -0.1, 0.4):
        updates, state = optimizer.update(jax.tree.map(lambda w, g=g: jnp.full_like(w, g), params), state, params)
        params = optax.apply_updates(params, updates)
        seen.append((float(params["cascade"]), float(params["trunk"])))
    # cascade: m = -0.2005, -0.080899875, -0.47323953753; trunk: m = -0.2005, -0.0809449875, -0.47334345263
    expected = [(0.89975, 0.989975), (0.8593000625, 0.985927750625), (0.83563808562, 0.98356103336)]
    np.testing.assert_allclose(seen, expected, rtol=3e-7)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_a_factor_of_0_freezes_to_the_bit(name):
    """Against decay, gradients that are not finite, and the loss of the sign of a zero."""
    optimizer = optim.create_optimizer(
        name, optax.linear_schedule(0.1, 0.0, 3), weight_decay=0.2, factors={"trunk": 0.0, "cascade": 1.0}
    )
    weights = jnp.array([1.0, -2.0, 0.5, 0.0, -0.0, -3e38])  # XLA takes 1e-40 for 0 on a CPU
    params = {room: {"kernel": weights} for room in ("trunk", "cascade")}
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for value in (1.0, -1.0, np.inf, 0.5):
        gradient = {"trunk": {"kernel": jnp.full(6, value)}, "cascade": {"kernel": jnp.full(6, min(value, 1.0))}}
        updates, state = update(gradient, state, params)
        params = jax.jit(optax.apply_updates)(params, updates)
    np.testing.assert_array_equal(params["trunk"]["kernel"].view(np.int32), weights.view(np.int32))
    assert (params["cascade"]["kernel"] != weights)[:3].all()


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_rate_factor_multiplies_the_learning_rate_and_touches_nothing_else(name):
    half = optim.create_optimizer(name, optax.constant_schedule(0.01), weight_decay=0.2, factors=FACTORS)
    full = optim.create_optimizer(
        name, lambda step: jnp.where(step < 1, 0.01, 0.0025), weight_decay=0.2, factors=FACTORS
    )
    params, states = [PARAMS, PARAMS], [half.init(PARAMS), full.init(PARAMS)]
    for number in range(3):
        for i, optimizer in enumerate((half, full)):
            updates, states[i] = optimizer.update(_gradient(0.5 - number), states[i], params[i])
            params[i] = optax.apply_updates(params[i], updates)
        states[0] = optim.set_rate_factor(states[0], 0.25)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *params)
    assert float(optax.tree.get(states[0], "rate_factor")) == 0.25


def test_rate_factor_stays_on_all_devices_without_recompilation():
    optimizer = optim.create_optimizer("sgd", optax.constant_schedule(0.01))
    state = parallel.replicate(jax.device_get(optimizer.init(PARAMS)))
    update = jax.jit(optimizer.update)
    update(_gradient(1.0), state, PARAMS)
    changed = optim.set_rate_factor(state, 0.5)
    update(_gradient(1.0), changed, PARAMS)
    assert update._cache_size() == 1
    assert all(leaf.sharding == parallel.replicated() for leaf in jax.tree.leaves(changed))


@pytest.mark.parametrize(
    ("scores", "falls"),
    [
        ([], 0),
        ([0.5], 0),
        ([0.5, 0.4], 0),
        ([0.5, 0.4, 0.5], 1),  # as good as the best is no better
        ([0.5, 0.4, 0.5, 0.51], 1),  # a fall stays
        ([0.5, 0.4, 0.51, 0.4, 0.52], 0),
        ([0.5, 0.4, 0.4, 0.4], 1),
        ([0.5, 0.4, 0.4, 0.4, 0.4], 2),
        ([0.5, 0.1, 0.2, 0.3, 0.4], 2),  # rising, but below the best
        ([0.5, None, float("nan"), 0.6, None, None], 2),
        ([None, None, 0.1], 1),
        ([-3.0, -2.0, -1.0], 0),
    ],
)
def test_plateau_falls_after_two_evaluations_without_a_new_best(scores, falls):
    assert optim.plateau_factor(scores, 2, 0.1) == pytest.approx(0.1**falls)


def test_early_stopping_counts_from_the_best_evaluation():
    scores = [0.1, 0.5, 0.4, 0.5, None, 0.6]
    stops = [optim.should_stop(scores[:n], 3) for n in range(len(scores) + 1)]
    assert stops == [False, False, False, False, False, True, False]
    assert not optim.should_stop([0.5] * 99, 0)


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


def test_unknown_groups_and_a_patience_of_0_are_refused():
    with pytest.raises(ValueError, match="parameter group of the learning-rate factors 'encoder'; did you mean"):
        optim.create_optimizer("sgd", optax.constant_schedule(1.0), factors={"encoder": 0.1}).init(PARAMS)
    with pytest.raises(ValueError, match="patience 0; choose 1"):
        optim.create_schedule("plateau", 1.0, 10, patience=0)
