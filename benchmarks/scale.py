"""Measures memory and time of a training step by batch size, dtype, rematerialization and gradient accumulation.

    python -m benchmarks.scale [--variants rf101 rf_lw_mbv2] [--crop=480] [--no-time]

Compiles the step of one device for crops of that size and prints a Markdown table: the memory of the state, the memory of a
step as planned by XLA (state, activations and temporaries), and the minimum time of three steps.
"""

import argparse
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import tables
from refinenet_jax import models, parallel
from refinenet_jax.training import optim, step

ROWS = (  # batch, options of the network, microbatches
    (1, {}, 1),
    (2, {}, 1),
    (4, {}, 1),
    (4, {}, 4),
    (4, {"remat": True}, 1),
    (4, {"dtype": "bfloat16"}, 1),
)


def measure(
    variant: str, crop: int, batch: int, options: dict, accumulate: int, timed: bool
) -> tuple[float, float, float]:
    """Returns MiB of the state, MiB of a step, and seconds of a step (NaN if it is not timed)."""
    model = models.create_model(variant, 2, batch_norm="frozen", dropout=0.0, **options)
    schedule = optim.create_schedule(name="constant", num_steps=1, learning_rate=1e-5)
    optimizer = optim.create_optimizer(name="sgd", schedule=schedule, momentum=0.9, weight_decay=5e-4)
    state = jax.eval_shape(partial(step.create_state, optimizer=optimizer), models.variable_shapes(model))
    example = {
        "image": np.zeros((batch, crop, crop, 3), np.uint8),
        "mask": np.zeros((batch, crop, crop), np.uint8),
        "weight": np.ones(batch, np.float32),
    }
    function = partial(step.train_step, model=model, optimizer=optimizer, seed=0, accumulate=accumulate)
    compiled = parallel.compile_for_one(function, state, jax.tree.map(jnp.asarray, example))
    memory = compiled.memory_analysis()
    planned = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    planned -= memory.alias_size_in_bytes
    held = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    seconds = []
    if timed:
        now = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), state)
        for _ in range(3):
            began = time.perf_counter()
            now, figures = compiled(now, example)
            jax.block_until_ready((now, figures))
            seconds.append(time.perf_counter() - began)
    return held / 2**20, planned / 2**20, min(seconds, default=float("nan"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", nargs="+", default=["rf101", "rf_lw_mbv2"])
    parser.add_argument("--crop", type=int, default=480)
    parser.add_argument("--time", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    tables.header("network", "crops per device", "options", "state, MiB", "step, MiB", "s per step", "s per crop")
    for variant in args.variants:
        for batch, options, accumulate in ROWS:
            if "remat" in options and variant == "rf_lw_mbv2":
                continue  # it has nothing to recompute
            how = ", ".join(str(value) if key != "remat" else "remat" for key, value in options.items()) or "float32"
            how += f", accumulate {accumulate}" if accumulate > 1 else ""
            held, planned, seconds = measure(variant, args.crop, batch, options, accumulate, args.time)
            times = [f"{value:.2f}" if args.time else "-" for value in (seconds, seconds / batch)]
            tables.row(variant, batch, how, f"{held:,.0f}", f"{planned:,.0f}", *times)


if __name__ == "__main__":
    main()
