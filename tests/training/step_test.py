"""A training step has the same result on any number of devices, under pmap and shard_map, and it is the right one."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from jax.sharding import NamedSharding, PartitionSpec

from refinenet_jax import models, parallel
from refinenet_jax.training import step
from refinenet_jax.training.losses import cross_entropy

RATE = 0.5
NUMBERS = ("image", "mask", "weight")
SYNCHRONISED = tiny.Tiny(3, "synchronized")


def _optimizer(rate=RATE):
    return optax.sgd(rate, momentum=0.9)


def _step(model, optimizer=None, **options):
    return partial(step.train_step, model=model, optimizer=optimizer or _optimizer(), seed=0, **options)


def _state(optimizer=None):
    return jax.device_get(step.create_state(jax.tree.map(jnp.asarray, tiny.variables()), optimizer or _optimizer()))


def _on(devices, train_step):
    """parallel.parallel_step by pmap, but on the first few devices only."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), ("batch",))
    mapped = jax.pmap(train_step, "batch", in_axes=(None, 0), out_axes=(None, None), devices=list(mesh.devices))

    def run(state, batch):
        state = jax.device_put(state, NamedSharding(mesh, PartitionSpec()))
        return mapped(state, {k: batch[k].reshape(devices, -1, *batch[k].shape[1:]) for k in NUMBERS})

    return run


def _assert_close(actual, expected, tolerance=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance), actual, expected)


def _batch():
    """One example is padding, one is all void, the others have void in unequal parts."""
    batch = tiny.batch()
    batch["weight"][2] = 0
    return batch


@pytest.fixture(scope="module")
def reference():
    """State and sums after two steps on one device."""
    run, state = _on(1, _step(SYNCHRONISED)), _state()
    for _ in range(2):
        state, sums = run(state, _batch())
    return jax.device_get((state, sums))


@pytest.mark.parametrize(("devices", "kind"), [(2, "pmap"), (8, "pmap"), (8, "shard_map")])
def test_any_number_of_devices_gives_the_same_update(reference, devices, kind):
    """Batch norm over the whole batch included."""
    expected_state, expected_sums = reference
    # Eight are all there are: the function that training uses.
    run = parallel.parallel_step(_step(SYNCHRONISED), kind) if devices == 8 else _on(2, _step(SYNCHRONISED))
    state = parallel.replicate(_state()) if devices == 8 else _state()
    for _ in range(2):
        state, sums = run(state, _batch())
    np.testing.assert_array_equal(sums["confusion"], expected_sums["confusion"])
    _assert_close(sums, expected_sums, 1e-4)
    _assert_close(state, expected_state)
    assert int(state.step) == 2
    if devices == 8:
        assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state))


@pytest.fixture(scope="module")
def plain():
    """The step of a network with frozen batch norm, compiled once."""
    return parallel.parallel_step(_step(tiny.Tiny(3)))


def test_update_is_the_gradient_of_the_mean_over_pixels_that_count(plain):
    """Against one plain jax.grad: no factor of the number of devices is in it, and no mean of means."""
    model, batch, variables = tiny.Tiny(3), _batch(), tiny.variables()
    labels = batch["mask"][:, 2::4, 2::4].astype(int)
    counted = (labels != 255) & (batch["weight"] > 0)[:, None, None]

    def loss(params):
        logits = model.apply({**variables, "params": params}, models.normalize(batch["image"]))
        log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), np.where(counted, labels, 0)[..., None], -1)[..., 0]
        return -(log_p * counted).sum() / counted.sum()

    value, gradient = jax.jit(jax.value_and_grad(loss))(variables["params"])
    expected = jax.tree.map(lambda w, g: w - RATE * g, variables["params"], gradient)
    state, sums = plain(parallel.replicate(_state()), batch)
    _assert_close(state.params, expected)
    assert float(sums["gradient_norm"]) == pytest.approx(float(optax.tree.norm(gradient)), rel=1e-4)
    assert float(sums["pixels"]) == counted.sum() == sums["confusion"].sum()
    assert float(sums["loss"]) == pytest.approx(float(value), rel=1e-5)


def test_batch_of_void_changes_nothing(plain):
    batch = tiny.batch()
    batch["mask"][:] = 255
    state, sums = plain(parallel.replicate(_state()), batch)
    jax.tree.map(np.testing.assert_array_equal, state.params, _state().params)
    assert {key: float(sums[key]) for key in ("loss", "pixels", "gradient_norm")} == dict.fromkeys(
        ("loss", "pixels", "gradient_norm"), 0
    )


def test_frozen_moments_stay_while_scale_and_shift_are_trained(plain):
    before = _state()
    state = parallel.replicate(before)
    for _ in range(2):
        state, _ = plain(state, tiny.batch())
    jax.tree.map(np.testing.assert_array_equal, state.batch_stats, before.batch_stats)
    for name in ("scale", "bias"):
        assert (np.asarray(state.params["trunk"]["bn1"][name]) != before.params["trunk"]["bn1"][name]).any()


def test_labels_at_the_logits_are_nearest_never_mixed(plain):
    """Only the pixel at the center of each 4 x 4 cell has a label; ids 0 and 2 alternate, and 1 would be their mean."""
    batch = tiny.batch()
    centers = np.indices((8, 4, 6)).sum(0) % 2 * 2
    batch["mask"][:] = 1
    batch["mask"][:, 2::4, 2::4] = centers
    batch["mask"][0] = 255
    _, sums = plain(parallel.replicate(_state()), batch)
    assert sums["confusion"].sum(-1).tolist() == [7 * 12, 0, 7 * 12]


def test_loss_at_the_labels_counts_every_pixel():
    batch = _batch()
    run = parallel.parallel_step(_step(tiny.Tiny(3), loss_resolution="labels"))
    _, sums = run(parallel.replicate(_state()), batch)
    counted = (batch["mask"] != 255) & (batch["weight"] > 0)[:, None, None]
    truth = [int(((batch["mask"] == i) & counted).sum()) for i in range(3)]
    assert sums["confusion"].sum(-1).tolist() == truth
    assert float(sums["pixels"]) == sum(truth)

    @jax.jit
    def total(image):
        logits = tiny.Tiny(3).apply(tiny.variables(), models.normalize(image))
        logits = jax.image.resize(logits, (8, 16, 24, 3), "bilinear")
        return cross_entropy(logits, batch["mask"], batch["weight"])[0]

    assert float(sums["loss"]) == pytest.approx(float(total(batch["image"])) / sum(truth), rel=1e-4)


def test_input_scale_enlarges_what_the_network_sees():
    seen = []

    class Seen(tiny.Tiny):
        @nn.compact
        def __call__(self, x, train=False):
            seen.append(x.shape)
            return tiny.Tiny.__call__(self, x, train)

    train_step = _step(Seen(3, input_scale=1.2))
    batch = tiny.batch()
    batch["mask"][:] = 1
    _, sums = parallel.parallel_step(train_step)(parallel.replicate(_state()), batch)
    assert set(seen) == {(1, 19, 29, 3)}
    assert float(sums["pixels"]) == 8 * 5 * 8
    assert np.isfinite(float(sums["loss"]))


def test_dropout_is_a_function_of_seed_step_and_device():
    """At a rate of 0, steps differ only by their dropout."""
    optimizer = _optimizer(0.0)
    run = parallel.parallel_step(_step(tiny.Tiny(3, dropout=0.5), optimizer))
    batch = {key: np.repeat(value[:1], 8, 0) for key, value in tiny.batch().items()}

    def losses():
        state, values = parallel.replicate(_state(optimizer)), []
        for _ in range(3):
            state, sums = run(state, batch)
            values.append(float(sums["loss"]))
            # Were the masks of all devices alike, eight equal pictures would count eightfold.
            assert (np.asarray(sums["confusion"]) % 8).any()
        return values

    first = losses()
    assert len(set(first)) == 3
    assert losses() == first


ALL_TERMS = {
    "weights": {"cross_entropy": 1.0, "dice": 0.5, "focal": 2.0, "lovasz": 0.25},
    "class_weights": (1.0, 2.0, 3.0),
}


def _repeated(batch, times):
    """Examples enough for every device to have several."""
    return {key: np.concatenate([value] * times) for key, value in batch.items()}


@pytest.mark.parametrize("loss", [step.CROSS_ENTROPY, ALL_TERMS], ids=["cross_entropy", "all terms"])
def test_accumulated_gradient_is_the_gradient(loss):
    """In parts with unequally much void, which have unequal shares in the mean."""
    batch = _repeated(_batch(), 4)
    batch["mask"][8:20] = 255
    results = []
    for accumulate in (1, 4):
        run = parallel.parallel_step(_step(tiny.Tiny(3), loss=loss, accumulate=accumulate))
        results.append(jax.device_get(run(parallel.replicate(_state()), batch)))
    (expected, figures), (state, accumulated) = results
    _assert_close(state.params, expected.params)
    _assert_close(accumulated, figures, 1e-4)
    assert figures["terms"].keys() == loss["weights"].keys()
    weighted = sum(loss["weights"][term] * mean for term, mean in figures["terms"].items())
    assert float(figures["loss"]) == pytest.approx(float(weighted), rel=1e-6)


def test_accumulation_updates_moments_with_each_microbatch():
    """The second part starts from the moments of the first."""
    run = parallel.parallel_step(_step(tiny.Tiny(3, "local"), accumulate=2))
    state, _ = run(parallel.replicate(_state()), _repeated(tiny.batch(), 2))
    single = parallel.parallel_step(_step(tiny.Tiny(3, "local")))
    other, _ = single(parallel.replicate(_state()), _repeated(tiny.batch(), 2))
    means = [np.asarray(s.batch_stats["trunk"]["bn1"]["mean"]) for s in (state, other, _state())]
    assert np.abs(means[0] - means[2]).max() > 1.5 * np.abs(means[1] - means[2]).max() > 0


def test_averaged_variables_follow_and_are_evaluated():
    """Moments of batch norm that are not averaged would not go with averaged weights."""
    optimizer = _optimizer()
    run = parallel.parallel_step(_step(tiny.Tiny(3, "local"), optimizer, ema_decay=0.5))
    plain = parallel.parallel_step(_step(tiny.Tiny(3, "local"), optimizer))

    def start(ema):  # from arrays of its own, which are donated
        return parallel.replicate(step.create_state(jax.tree.map(jnp.array, tiny.variables()), optimizer, ema))

    state, other = start(ema=True), start(ema=False)
    average = tiny.variables()
    for number in range(3):
        state, _ = run(state, tiny.batch(seed=number))
        other, _ = plain(other, tiny.batch(seed=number))
        decay = min(0.5, (1 + number) / (10 + number))
        average = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * np.asarray(p), average, other.variables)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state.params), jax.device_get(other.params))
    _assert_close(state.ema, average)
    assert state.variables is state.ema
    assert other.variables["params"] is other.params


def test_a_step_that_is_not_finite_changes_nothing_but_the_count():
    optimizer = _optimizer()
    run = parallel.parallel_step(_step(tiny.Tiny(3, "local"), optimizer, ema_decay=0.9))
    variables = jax.tree.map(jnp.asarray, tiny.variables())
    state, figures = run(parallel.replicate(step.create_state(variables, optimizer, ema=True)), tiny.batch())
    before = jax.device_get(state)
    assert int(figures["skipped"]) == 0
    bad = {**tiny.batch(), "weight": np.full(8, 1e38, np.float32)}  # the sum over pixels overflows
    state, figures = run(state, bad)
    assert int(figures["skipped"]) == 1
    after = jax.device_get(state)
    assert int(after.step) == 2
    for name in ("params", "batch_stats", "opt_state", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(after, name), getattr(before, name))
    state, figures = run(state, tiny.batch(seed=1))
    assert int(figures["skipped"]) == 0
    assert np.isfinite(float(figures["loss"]))
