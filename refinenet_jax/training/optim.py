"""Learning-rate schedules and optimizers."""

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
      learning_rate: highest learning rate.
      num_steps: length of the run, warm-up included.
      warmup_steps: steps in which the rate grows linearly from 0 to `learning_rate`.
      power: exponent of 'poly'.
      decay_steps: steps of the run at which 'step' falls, after the warm-up.
      decay_rate: factor of each fall of 'step' and 'plateau'.
      patience: evaluations of 'plateau', 1 or more.

    Raises:
      UsageError: unknown name, a plateau without patience, or a decay step within the warm-up.
    """
    require(name, SCHEDULES, "schedule")
    if name == "step" and min(decay_steps, default=math.inf) <= warmup_steps:
        raise UsageError(
            f"schedule.decay_steps={decay_steps} has a step within the warm-up (schedule.warmup_steps={warmup_steps}), where "
            "the rate still grows. Choose later decay steps or a shorter warm-up."
        )
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
    betas: tuple[float, float] = (0.9, 0.999),
    epsilon: float = 1e-8,
    clip_norm: float = 0.0,
    weight_decay: float = 0.0,
    decay_all: bool = True,
    factors: Mapping[str, float] | None = None,
) -> optax.GradientTransformation:
    """SGD with momentum, or AdamW.

    Args:
      name: 'sgd' (weight decay joins the gradient before the momentum, as in the paper's code) or 'adamw' (decoupled).
      schedule: learning rate by step.
      momentum: momentum of 'sgd', in [0, 1).
      betas: decay rates of the two moments of 'adamw', in [0, 1).
      epsilon: added to the denominator of 'adamw', above 0.
      clip_norm: largest norm of the whole gradient, all parameters together; a longer one is scaled down to it, before
        weight decay. 0 for no clipping.
      weight_decay: strength of the weight decay.
      decay_all: decay every parameter, as the paper does; else kernels only, not biases and batch-norm scales.
      factors: learning-rate factor by parameter group: trunk, cascade, classifier. 1 where not named; 0 freezes the group,
        decay included, to the bit.

    Returns:
      The optimizer. Its state holds a factor on the learning rate, 1 at first, for `set_rate_factor`; `clip_norm`, `betas`
      and `epsilon` do not change its structure.

    Raises:
      UsageError: unknown name, or a number out of its range; an unknown parameter group, at `init`.
    """
    require(name, OPTIMIZERS, "optimizer")
    if clip_norm < 0:
        raise UsageError(f"optimizer.clip_norm is {clip_norm}; choose a norm above 0, or 0 for no clipping.")
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas) or epsilon <= 0:
        raise UsageError(
            f"optimizer.betas={betas} and optimizer.epsilon={epsilon}: choose two betas in [0, 1) and an epsilon above 0."
        )
    decay = optax.add_decayed_weights(weight_decay, None if decay_all else _kernels)
    core = [decay, optax.trace(momentum)] if name == "sgd" else [optax.scale_by_adam(*betas, epsilon), decay]
    optimizer = optax.chain(*core, optax.scale_by_learning_rate(schedule), _scale_rates(factors or {}))
    return _clipped(optimizer, clip_norm) if clip_norm else optimizer


def set_rate_factor(opt_state: optax.OptState, factor: float) -> optax.OptState:
    """The state of an optimizer of `create_optimizer`, whose learning rate is then the schedule's times `factor`."""
    old = optax.tree.get(opt_state, "rate_factor")
    return optax.tree.set(opt_state, rate_factor=jnp.full_like(old, factor))  # on the same devices


def plateau_factor(scores: Sequence[float | None], patience: int, decay_rate: float) -> float:
    """What the scores so far make of the learning rate in the 'plateau' schedule.

    A function of the history alone: a run that resumes with the history of its checkpoint resumes exactly.
    optax.contrib.reduce_on_plateau does the same with a loss, but looks at it in every step.

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


def _clipped(optimizer: optax.GradientTransformation, norm: float) -> optax.GradientTransformation:
    """The optimizer after clipping, with the same state: a run can be resumed with another `clip_norm`, or without."""
    clip = optax.clip_by_global_norm(norm)

    def update(gradient: dict, state: optax.OptState, params: dict | None = None) -> tuple[dict, optax.OptState]:
        return optimizer.update(clip.update(gradient, clip.init(gradient))[0], state, params)

    return optax.GradientTransformation(optimizer.init, update)


class _RateState(NamedTuple):
    rate_factor: jax.Array  # float32 scalar


def _scale_rates(factors: Mapping[str, float]) -> optax.GradientTransformation:
    def init(params: dict) -> _RateState:
        for group in factors:
            require(group, params, "parameter group of the learning-rate factors")
        return _RateState(jnp.ones((), jnp.float32))

    def scale(group: str, tree: dict, rate_factor: jax.Array) -> dict:
        factor = factors.get(group, 1.0)
        if not factor:  # a product may be NaN; and w + 0.0 is not w where that is -0.0, w + -0.0 always is
            return optax.tree.full_like(tree, -0.0)
        return optax.tree.scale(factor * rate_factor, tree)

    def update(updates: dict, state: _RateState, params: dict | None = None) -> tuple[dict, _RateState]:
        del params
        return {group: scale(group, tree, state.rate_factor) for group, tree in updates.items()}, state

    return optax.GradientTransformation(init, update)


def _kernels(params: dict) -> dict:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
