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
    """Returns the learning rate as a function of the step.

    Args:
      name: 'constant'; 'poly', (1 - t)^power; 'step', multiplied by `decay_rate` at each of `decay_steps`; 'cosine', to 0;
        'plateau', constant here, because its decay depends on the scores (`plateau_factor`, `set_rate_factor`).
      learning_rate: highest learning rate.
      num_steps: length of the run, including the warm-up.
      warmup_steps: number of steps in which the rate grows linearly from 0 to `learning_rate`.
      power: exponent of 'poly'.
      decay_steps: steps of the run at which 'step' decays, after the warm-up.
      decay_rate: factor of each decay of 'step' and 'plateau'.
      patience: number of evaluations without improvement before 'plateau' decays, 1 or more.

    Raises:
      UsageError: the name is unknown, patience is below 1, or a decay step lies within the warm-up.
    """
    require(name, SCHEDULES, "schedule")
    if name == "step" and min(decay_steps, default=math.inf) <= warmup_steps:
        raise UsageError(
            f"schedule.decay_steps={decay_steps} has a step within the warm-up (schedule.warmup_steps={warmup_steps}), while "
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
    """Returns SGD with momentum, or AdamW.

    Args:
      name: 'sgd' (weight decay is added to the gradient before the momentum, as in the paper's code) or 'adamw' (decoupled).
      schedule: learning rate by step.
      momentum: momentum of 'sgd', in [0, 1).
      betas: decay rates of the two moments of 'adamw', in [0, 1).
      epsilon: constant added to the denominator of 'adamw', above 0.
      clip_norm: largest norm of the gradient over all parameters; a larger gradient is scaled down to it, before weight
        decay. 0 disables clipping.
      weight_decay: strength of the weight decay.
      decay_all: whether to decay every parameter, as in the paper; otherwise kernels only, not biases and batch-norm scales.
      factors: learning-rate factor by parameter group (trunk, cascade, classifier); 1 if not named. 0 freezes the group
        exactly, including decay.

    Returns:
      The optimizer. Its state holds a factor on the learning rate, initially 1, for `set_rate_factor`; `clip_norm`, `betas`
      and `epsilon` do not change its structure.

    Raises:
      UsageError: the name is unknown, or a number is out of its range; at `init`, a parameter group is unknown.
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
    """Returns the optimizer state with the learning rate set to the schedule's times `factor`."""
    old = optax.tree.get(opt_state, "rate_factor")
    return optax.tree.set(opt_state, rate_factor=jnp.full_like(old, factor))  # on the same devices


def plateau_factor(scores: Sequence[float | None], patience: int, decay_rate: float) -> float:
    """Returns the learning-rate factor of the 'plateau' schedule after the given scores.

    It depends only on the history, so that a run that restores the history from its checkpoint resumes exactly.
    optax.contrib.reduce_on_plateau does the same with a loss, but evaluates it at every step.

    Args:
      scores: scores of all evaluations, in order; higher is better, None and NaN are not an improvement.
      patience: number of evaluations without a new best score after which the rate decays, and decays again.
      decay_rate: factor of each decay.

    Returns:
      `decay_rate` to the power of the number of decays.
    """
    return decay_rate ** sum(since > 0 and since % patience == 0 for since in _since_best(scores))


def should_stop(scores: Sequence[float | None], patience: int) -> bool:
    """Returns whether the last `patience` evaluations had no new best score (scores as above); False for patience 0."""
    return bool(scores) and 0 < patience <= _since_best(scores)[-1]


def _since_best(scores: Sequence[float | None]) -> list[int]:
    """Returns for each evaluation the number of evaluations since the best one so far."""
    best, since, counts = -math.inf, 0, []
    for score in scores:
        if score is not None and score > best:
            best, since = score, 0
        else:
            since += 1
        counts.append(since)
    return counts


def _clipped(optimizer: optax.GradientTransformation, norm: float) -> optax.GradientTransformation:
    """Clips the gradient before the optimizer, with the same state, so that a run can resume with another `clip_norm`."""
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
        if not factor:  # a product may be NaN; and w + 0.0 differs from w for w = -0.0, while w + -0.0 never does
            return optax.tree.full_like(tree, -0.0)
        return optax.tree.scale(factor * rate_factor, tree)

    def update(updates: dict, state: _RateState, params: dict | None = None) -> tuple[dict, _RateState]:
        del params
        return {group: scale(group, tree, state.rate_factor) for group, tree in updates.items()}, state

    return optax.GradientTransformation(init, update)


def _kernels(params: dict) -> dict:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
