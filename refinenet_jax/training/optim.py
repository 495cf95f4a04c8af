"""Learning-rate schedules and optimisers."""

from collections.abc import Mapping

import jax
import optax

from refinenet_jax.errors import require

OPTIMIZERS = ("sgd", "adamw")
SCHEDULES = ("constant", "poly", "step", "cosine")


def create_schedule(
    name: str,
    learning_rate: float,
    num_steps: int,
    *,
    warmup_steps: int = 0,
    power: float = 0.9,
    decay_steps: tuple[int, ...] = (),
    decay_rate: float = 0.1,
) -> optax.Schedule:
    """Learning rate by step.

    Args:
      name: 'constant'; 'poly' (1 - t)^power; 'step', times `decay_rate` at each of `decay_steps`; 'cosine' to 0.
      learning_rate: at the top.
      num_steps: of the run, the warm-up included.
      warmup_steps: linear from 0 up to `learning_rate`.
      power: of 'poly'.
      decay_steps: steps of the run at which 'step' falls.
      decay_rate: of 'step'.

    Raises:
      UsageError: unknown name.
    """
    require(name, SCHEDULES, "schedule")
    after_warmup = max(num_steps - warmup_steps, 1)
    if name == "constant":
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
      factors: learning-rate factor by room of the parameter tree: trunk, cascade, classifier. 1 where not named.

    Raises:
      UsageError: unknown name.
    """
    require(name, OPTIMIZERS, "optimizer")
    decay = optax.add_decayed_weights(weight_decay, None if decay_all else _kernels)
    core = [decay, optax.trace(momentum)] if name == "sgd" else [optax.scale_by_adam(), decay]
    return optax.chain(*core, _scale_rooms(factors or {}), optax.scale_by_learning_rate(schedule))


def _scale_rooms(factors: Mapping[str, float]) -> optax.GradientTransformation:
    def scale(updates: dict, params: dict | None = None) -> dict:
        del params
        return {room: optax.tree.scale(factors.get(room, 1.0), tree) for room, tree in updates.items()}

    return optax.stateless(scale)


def _kernels(params: dict) -> dict:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)
