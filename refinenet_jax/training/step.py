"""The training step: pure functions of state and batch, the same on one device and on many."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax

from refinenet_jax import models
from refinenet_jax.data.examples import VOID
from refinenet_jax.evaluation.metrics import confusion
from refinenet_jax.models import resize
from refinenet_jax.parallel import AXIS
from refinenet_jax.training.losses import loss_terms

RESOLUTIONS = ("logits", "labels")
CROSS_ENTROPY = {"weights": {"cross_entropy": 1.0}}

_FIELDS = ("step", "params", "batch_stats", "opt_state", "ema")


@partial(jax.tree_util.register_dataclass, data_fields=_FIELDS, meta_fields=())
@dataclass(frozen=True)
class TrainState:
    """Everything that training changes. Randomness is a function of seed and step, so it is not stored.

    Attributes:
      step: number of steps, including those skipped because they were not finite.
      params: parameters that the optimizer updates.
      batch_stats: batch-norm moments.
      opt_state: state of the optimizer.
      ema: exponential moving averages of params and batch_stats, {'params': ..., 'batch_stats': ...}; None if disabled.
    """

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState
    ema: dict | None = None

    @property
    def trained(self) -> dict:
        """Variables that the steps change."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def variables(self) -> dict:
        """Variables that are evaluated and used: the averages if enabled."""
        return self.trained if self.ema is None else self.ema


def create_state(variables: dict, optimizer: optax.GradientTransformation, ema: bool = False) -> TrainState:
    """Returns the state before the first step, from the model's variables."""
    params, batch_stats = variables["params"], variables["batch_stats"]
    state = TrainState(jnp.zeros((), jnp.int32), params, batch_stats, optimizer.init(params))
    # Copied, because both are donated to the step.
    return replace(state, ema=jax.tree.map(jnp.copy, state.trained)) if ema else state


def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    model: models.RefineNet,
    optimizer: optax.GradientTransformation,
    seed: int,
    loss: Mapping[str, Any] = CROSS_ENTROPY,
    loss_resolution: str = "logits",
    accumulate: int = 1,
    ema_decay: float = 0.0,
) -> tuple[TrainState, dict[str, Any]]:
    """Runs one step on one device's share of the batch, under a mapped axis called 'batch'.

    Each term of the loss is a mean over the whole batch, however it is divided: sums are divided by the global divisor, and
    gradients are summed. A step whose loss or gradient is not finite changes only the step count.

    Args:
      state: state, the same on every device.
      batch: image uint8 [b, h, w, 3], mask uint8 [b, h, w], weight float32 [b].
      model: the network.
      optimizer: from `create_optimizer`.
      seed: random seed of dropout.
      loss: arguments of `losses.loss_terms`.
      loss_resolution: 'logits' computes the loss at 1/4 of the network's input, with labels by nearest neighbor (as in the
        paper); 'labels' resizes the logits to the size of the labels.
      accumulate: microbatches per device (gradient accumulation steps), computed in sequence to save memory.
      ema_decay: decay of the averages, if the state has them; smaller in the first steps.

    Returns:
      The next state, and figures of the whole batch: loss and terms (means), pixels, confusion int32 [c, c] (rows are the
      truth), gradient_norm, skipped (1 if the step was skipped).
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), state.step), jax.lax.axis_index(AXIS))
    parts = jax.tree.map(lambda a: a.reshape(accumulate, -1, *a.shape[1:]), batch)

    def labels_of(part: dict) -> jax.Array:
        return _labels(part["mask"], models.prepared_size(model, part["image"].shape[1:3]), loss_resolution)

    def sums_without_logits(part: dict) -> tuple[dict, jax.Array]:
        """Returns divisors and pixels, which depend only on the labels; XLA removes the computation of these logits."""
        labels = labels_of(part)
        terms = loss_terms(jnp.zeros((*labels.shape, model.num_classes)), labels, part["weight"], **loss)
        pixels = (part["weight"][:, None, None] * (labels != VOID)).sum()
        return {term: divisor for term, (_, divisor) in terms.items()}, pixels

    divisors, pixels = jax.lax.psum(jax.tree.map(lambda a: a.sum(0), jax.lax.map(sums_without_logits, parts)), AXIS)
    divisors = jax.tree.map(lambda divisor: jnp.where(divisor > 0, divisor, 1), divisors)

    def of_part(params: dict, batch_stats: dict, part: dict, key: jax.Array) -> tuple[jax.Array, tuple]:
        labels = labels_of(part)
        variables = {"params": params, "batch_stats": batch_stats}
        image = models.prepare(model, part["image"])
        logits, changed = model.apply(variables, image, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        if loss_resolution == "labels":
            logits = resize.half_pixel(logits, labels.shape[1:])
        terms = loss_terms(logits, labels, part["weight"], **loss)
        means = {term: total / divisors[term] for term, (total, _) in terms.items()}
        counts = confusion(labels, jnp.argmax(logits, -1), model.num_classes)
        counts = (counts * part["weight"].astype(jnp.int32)[:, None, None]).sum(0)
        objective = sum(loss["weights"][term] * mean for term, mean in means.items())
        return objective, (objective, means, counts, changed["batch_stats"])

    gradient_of_part = jax.grad(of_part, has_aux=True)
    if accumulate == 1:
        gradient, figures = gradient_of_part(state.params, state.batch_stats, jax.tree.map(lambda a: a[0], parts), key)
        *figures, batch_stats = figures
    else:

        def add(carry: tuple, part: tuple) -> tuple[tuple, None]:
            sums, batch_stats = carry
            gradient, (*figures, batch_stats) = gradient_of_part(state.params, batch_stats, *part)
            return (jax.tree.map(jnp.add, sums, (gradient, figures)), batch_stats), None

        keys = jax.random.split(key, accumulate)
        first = jax.tree.map(lambda a: a[0], (parts, keys))
        shapes = jax.eval_shape(gradient_of_part, state.params, state.batch_stats, *first)
        zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), (shapes[0], list(shapes[1][:-1])))
        ((gradient, figures), batch_stats), _ = jax.lax.scan(add, (zeros, state.batch_stats), (parts, keys))

    gradient, (objective, means, counts) = jax.lax.psum((gradient, figures), AXIS)
    if model.batch_norm == "local":  # otherwise they are equal on all devices, and a mean would round them
        batch_stats = jax.lax.pmean(batch_stats, AXIS)
    norm = optax.tree.norm(gradient)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    is_finite = jnp.isfinite(objective) & jnp.isfinite(norm)
    changed = replace(state, params=params, batch_stats=batch_stats, opt_state=opt_state)
    if state.ema is not None:
        decay = jnp.minimum(ema_decay, (1 + state.step) / (10 + state.step))
        ema = jax.tree.map(lambda old, new: old + (1 - decay) * (new - old), state.ema, changed.trained)
        changed = replace(changed, ema=ema)
    kept = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), changed, state)
    metrics = {"loss": objective, "terms": means, "pixels": pixels, "confusion": counts, "gradient_norm": norm}
    return replace(kept, step=state.step + 1), {**metrics, "skipped": 1 - is_finite.astype(jnp.int32)}


def _labels(mask: jax.Array, size: tuple[int, int], resolution: str) -> jax.Array:
    """Returns the labels of the loss: the mask itself, or its nearest neighbors at a quarter of the network's input size."""
    if resolution == "labels":
        return mask
    return resize.nearest_labels(mask, tuple(-(-n // 4) for n in size))
