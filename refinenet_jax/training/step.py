"""The numbers of training: pure functions of state and batch, the same on one device and on many."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import optax

from refinenet_jax import models
from refinenet_jax.data import VOID
from refinenet_jax.evaluation.metrics import confusion
from refinenet_jax.models import layers
from refinenet_jax.parallel import AXIS
from refinenet_jax.training.losses import cross_entropy

RESOLUTIONS = ("logits", "labels")


@partial(jax.tree_util.register_dataclass, data_fields=("step", "params", "batch_stats", "opt_state"), meta_fields=())
@dataclass(frozen=True)
class TrainState:
    """All that training changes. Randomness is a function of seed and step, so it is not carried."""

    step: jax.Array
    params: dict
    batch_stats: dict
    opt_state: optax.OptState

    @property
    def variables(self) -> dict:
        return {"params": self.params, "batch_stats": self.batch_stats}


def create_state(variables: dict, optimizer: optax.GradientTransformation) -> TrainState:
    """State before the first step, from the model's variables."""
    params = variables["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, variables["batch_stats"], optimizer.init(params))


def train_step(
    state: TrainState,
    batch: dict[str, jax.Array],
    *,
    model: models.RefineNet,
    optimizer: optax.GradientTransformation,
    seed: int,
    input_scale: float = 1.0,
    loss_resolution: str = "logits",
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step on one device's share of the batch, under a mapped axis called 'batch'.

    The loss is the mean over all pixels of the whole batch that are not void, wherever they lie: each device divides its
    sum by the global count, and gradients are summed.

    Args:
      state: the same on every device.
      batch: image uint8 [b, h, w, 3], mask uint8 [b, h, w], weight float32 [b].
      model: the network.
      optimizer: from `create_optimizer`.
      seed: of dropout.
      input_scale: pictures are enlarged by this before the network, as the paper does with 1.2.
      loss_resolution: 'logits' takes the loss at 1/4 of the network's input, labels by nearest neighbour (the paper's
        way); 'labels' enlarges the logits to the labels' size.

    Returns:
      The next state, and sums over all devices: loss (a sum), pixels, confusion int32 [c, c] (rows are the truth),
      gradient_norm.
    """
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), state.step), jax.lax.axis_index(AXIS))
    image = models.prepare(batch["image"], input_scale)
    labels = _labels(batch["mask"], image, loss_resolution)
    pixels = jax.lax.psum((batch["weight"][:, None, None] * (labels != VOID)).sum(), AXIS)

    def loss(params: dict) -> tuple[jax.Array, tuple]:
        variables = {"params": params, "batch_stats": state.batch_stats}
        logits, changed = model.apply(variables, image, train=True, mutable=["batch_stats"], rngs={"dropout": key})
        if loss_resolution == "labels":
            logits = layers.resize_half_pixel(logits, labels.shape[1:])
        total, _ = cross_entropy(logits, labels, batch["weight"])
        counts = confusion(labels, jnp.argmax(logits, -1), model.num_classes)
        counts = (counts * batch["weight"].astype(jnp.int32)[:, None, None]).sum(0)
        return total / jnp.maximum(pixels, 1), (total, counts, changed["batch_stats"])

    gradient, (total, counts, batch_stats) = jax.grad(loss, has_aux=True)(state.params)
    gradient, total, counts = jax.lax.psum((gradient, total, counts), AXIS)
    if model.batch_norm == "local":  # otherwise all devices have the same, which a mean would round
        batch_stats = jax.lax.pmean(batch_stats, AXIS)
    updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    state = replace(state, step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state)
    metrics = {"loss": total, "pixels": pixels, "confusion": counts, "gradient_norm": optax.global_norm(gradient)}
    return state, metrics


def _labels(mask: jax.Array, image: jax.Array, resolution: str) -> jax.Array:
    """The labels the loss reads: the mask itself, or its nearest neighbours at a quarter of the network's input."""
    if resolution == "labels":
        return mask
    return layers.nearest_labels(mask, tuple(-(-n // 4) for n in image.shape[1:3]))
