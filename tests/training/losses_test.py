"""The loss counts what it should: values by hand, void and weight 0 as if they were not there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refinenet_jax.training.losses import cross_entropy

LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 3)), jnp.float32)
LABELS = jnp.asarray(np.random.default_rng(1).integers(0, 3, (2, 3, 4)), jnp.uint8)


def test_values_by_hand():
    # Two classes, logits (0, log 3): probabilities 1/4 and 3/4.
    logits = jnp.broadcast_to(jnp.log(jnp.array([1.0, 3.0])), (1, 1, 3, 2))
    total, count = cross_entropy(logits, jnp.array([[[0, 1, 255]]], jnp.uint8))
    assert float(total) == pytest.approx(np.log(4) + np.log(4 / 3), rel=1e-6)
    assert float(count) == 2


def test_void_pixels_have_no_part():
    void = LABELS.at[:, 1].set(255)
    total, count = cross_entropy(LOGITS, void)
    without = cross_entropy(LOGITS[:, ::2], LABELS[:, ::2])
    np.testing.assert_allclose((total, count), without, rtol=1e-6)
    gradient = jax.grad(lambda x: cross_entropy(x, void)[0])(LOGITS)
    assert not gradient[:, 1].any()
    assert gradient[:, ::2].all()


def test_all_void_has_zero_loss_and_zero_gradients():
    void = jnp.full((2, 3, 4), 255, jnp.uint8)

    def mean(logits):
        total, count = cross_entropy(logits, void)
        return total / jnp.maximum(count, 1)

    for logits in (LOGITS, LOGITS * 1e30):
        value, gradient = jax.value_and_grad(mean)(logits)
        assert value == 0
        np.testing.assert_array_equal(gradient, 0)


def test_weight_zero_is_absence():
    total, count = cross_entropy(LOGITS, LABELS, jnp.array([0.0, 1.0]))
    np.testing.assert_allclose((total, count), cross_entropy(LOGITS[1:], LABELS[1:]), rtol=1e-6)


def test_weights_multiply_each_example():
    parts = [cross_entropy(LOGITS[i : i + 1], LABELS[i : i + 1]) for i in (0, 1)]
    total, count = cross_entropy(LOGITS, LABELS, jnp.array([2.0, 0.5]))
    assert float(total) == pytest.approx(float(2 * parts[0][0] + 0.5 * parts[1][0]), rel=1e-6)
    assert float(count) == 12 * 2.5
