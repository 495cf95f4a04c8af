"""Learning-rate schedules and optimisers."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from refinenet_jax.errors import UsageError, require

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "poly", "step", "cosine", "plateau")


def create_schedule(
    name: str,
    learning_rate: float,
    num_steps: int,
    *,
    warmup_steps: int = 0,
    power: float = 0.9,
    decay_steps: tuple[int, ...] = (),
    decay_rate: float = 0.1,
    patience: int = 5,
) -> optax.Schedule:
    """Learning rate by step.

    Args:
      name: 'constant'; 'poly' (1 - t)^power; 'step', times `decay_rate` at each of `decay_steps`; 'cosine' to 0; 'plateau',
        constant here, for its falls depend on the scores (`plateau_factor`, `set_rate_factor`).
      learning_rate: at the top.
      num_steps: of the run, the warm-up included.
      warmup_steps: linear from 0 up to `learning_rate`.
      power: of 'poly'.
      decay_steps: steps of the run at which 'step' falls.
      decay_rate: of 'step' and 'plateau'.
      patience: of 'plateau', in evaluations, 1 or more.

    Raises:
      UsageError: unknown name, or a plateau without patience.
    """
    require(name, SCHEDULES, "schedule")
    if name == "plateau" and patience < 1:
        raise UsageError(f"The plateau schedule has patience {patience}; choose 1 evaluation or more.")
    after_warmup = max(num_steps - warmup_steps, 1)
    if name in ("constant", "plateau"):
        schedule = optax.constant_schedule(learning_rate)
    elif name == "poly":
        schedule = optax.polynomial_schedule(learning_rate, 0.0, power, after_warmup)
    elif name == "step":
        boundaries = {step - warmup_steps: decay_rate for step in decay_steps}
        schedule = optax.piecewise_constant_schedule(learning_rate, boundaries)
    else:
        schedule = optax.cosine_decay_schedule(learning_rate, after_warmup)
    if not warmup_steps:
        return schedule
    return optax.join_schedules([optax.linear_schedule(0.0, learning_rate, warmup_steps), schedule], [warmup_steps])


def create_optimizer(
    name: str,
    schedule: optax.Schedule,
    *,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    decay_all: bool = True,
    factors: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """SGD with momentum, or AdamW.

    Args:
      name: 'sgd' (weight decay joins the gradient before the momentum, as in the paper's code) or 'adamw' (decoupled).
      schedule: learning rate by step.
      momentum: of 'sgd'.
      weight_decay: strength.
      decay_all: decay every parameter, as the paper does; else kernels only, not biases and batch-norm scales.
      factors: learning-rate factor by room of the parameter tree: trunk, cascade, classifier. 1 where not named; 0 freezes
        the room, decay included, to the bit.

    Returns:
      The optimiser. Its state holds a factor on the learning rate, 1 at first, for `set_rate_factor`.

    Raises:
      UsageError: unknown name; an unknown room, at `init`.
    """
    require(name, OPTIMIZERS, "optimizer")
    decay = optax.add_decayed_weights(weight_decay, None if decay_all else _kernels)
    core = [decay, optax.trace(momentum)] if name == "sgd" else [optax.scale_by_adam(), decay]
    return optax.chain(*core, optax.scale_by_learning_rate(schedule), _scale_rates(factors or {}))


def set_rate_factor(opt_state: optax.OptState, factor: float) -> optax.OptState:
    """The state of an optimiser of `create_optimizer`, whose learning rate is then the schedule's times `factor`."""
    old = optax.tree.get(opt_state, "rate_factor")
    return optax.tree.set(opt_state, rate_factor=jnp.full_like(old, factor))  # on the same devices


def plateau_factor(scores: Sequence[float | None], patience: int, decay_rate: float) -> float:
    """What the scores so far make of the learning rate in the 'plateau' schedule.

    A function of the history alone: a run that goes on with the history of its checkpoint goes on exactly.
    optax.contrib.reduce_on_plateau makes the same of a loss, but looks at it in every step.

    Args:
      scores: of all evaluations, the first one first; higher is better, None and NaN are no improvement.
      patience: after so many evaluations without a new best score the rate falls, and after as many again once more.
      decay_rate: by which it falls.

    Returns:
      `decay_rate` to the power of the number of falls.
    """
    return decay_rate ** sum(since > 0 and since % patience == 0 for since in _since_best(scores))


def should_stop(scores: Sequence[float | None], patience: int) -> bool:
    """Whether the last `patience` evaluations had no new best score; never for a patience of 0. Scores as above."""
    return bool(scores) and 0 < patience <= _since_best(scores)[-1]


def _since_best(scores: Sequence[float | None]) -> list[int]:
    """At each evaluation, how many there were since the best one so far."""
    best, since, counts = -math.inf, 0, []
    for score in scores:
        if score is not None and score > best:
            best, since = score, 0
        else:
            since += 1
        counts.append(since)
    return counts


class _RateState(NamedTuple):
    rate_factor: jax.Array  # float32 scalar


def _scale_rates(factors: Mapping[str, float]) -> optax.GradientTransformation:
    def init(params: dict) -> _RateState:
        for room in factors:
            require(room, params, "room of the learning-rate factors")
        return _RateState(jnp.ones((), jnp.float32))

    def scale(room: str, tree: dict, rate_factor: jax.Array) -> dict:
        factor = factors.get(room, 1.0)
        if not factor:  # a product may be NaN; and w + 0.0 is not w where that is -0.0, w + -0.0 always is
            return optax.tree.full_like(tree, -0.0)
        return optax.tree.scale(factor * rate_factor, tree)

    def update(updates: dict, state: _RateState, params: dict | None = None) -> tuple[dict, _RateState]:
        del params
        return {room: scale(room, tree, state.rate_factor) for room, tree in updates.items()}, state

    return optax.GradientTransformation(init, update)


def _kernels(params: dict) -> dict:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
