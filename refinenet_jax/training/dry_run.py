"""Compiles the training step and reports its memory and compute, without writing anything."""

import os

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from refinenet_jax import models, parallel
from refinenet_jax.training.setup import Setup, prepare


def dry_run(config: ConfigDict, workdir: str | os.PathLike) -> str:
    """Makes all checks of `train`, compiles the step for one device, and describes it.

    Returns:
      Text of at most 80 columns: the parameters by module, and memory and compute of a step on each device.

    Raises:
      UsageError: as in `train`.
    """
    setup = prepare(config, workdir)
    share = config.batch_size // jax.device_count()
    state = jax.eval_shape(setup.create_state, models.variable_shapes(setup.model))
    height, width = setup.augmentation.shape
    batch = {
        "image": jax.ShapeDtypeStruct((share, height, width, 3), jnp.uint8),
        "mask": jax.ShapeDtypeStruct((share, height, width), jnp.uint8),
        "weight": jax.ShapeDtypeStruct((share,), jnp.float32),
    }
    compiled = parallel.compile_for_one(setup.train_step, state, batch)
    return "\n".join([*parameter_table(state.params), "", *_step_lines(config, setup, state, compiled)])


def parameter_table(params: dict) -> list[str]:
    """Returns lines with the parameter count of each module."""
    counts = {name: sum(leaf.size for leaf in jax.tree.leaves(module)) for name, module in params.items()}
    rows = {**counts, "all": sum(counts.values())}
    return [f"{'parameters':<40}{'number':>14}", *(f"{name:<40}{count:>14,}" for name, count in rows.items())]


def _step_lines(config: ConfigDict, setup: Setup, state: object, compiled: jax.stages.Compiled) -> list[str]:
    memory = compiled.memory_analysis()
    state_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    height, width = models.prepared_size(setup.model, setup.augmentation.shape)
    share = config.batch_size // jax.device_count()
    rows = [
        ("network", f"{config.model.variant}, input {height} x {width}, computed in {config.model.dtype}"),
        ("devices", f"{jax.device_count()} of kind {jax.devices()[0].device_kind}"),
        ("batch", f"{config.batch_size}, {share} on each device"),
        ("state on each device", f"{state_bytes / 2**20:,.0f} MiB (parameters, moments, optimizer)"),
    ]
    if memory is not None:  # not every backend reports it
        peak = memory.argument_size_in_bytes + memory.temp_size_in_bytes + memory.output_size_in_bytes
        peak -= memory.alias_size_in_bytes
        rows.append(("memory of a step", f"{peak / 2**20:,.0f} MiB on each device, planned by XLA"))
    work = 3 * share * models.forward_flops(setup.model, (height, width))
    rows.append(("compute of a step", f"{work / 1e9:,.0f} GFLOP on each device, three times the forward pass"))
    length = sum(len(source) for source, _ in setup.mix)
    rows.append(
        ("run", f"{config.num_steps:,} steps, {config.num_steps * config.batch_size / length:.3g} epochs of {length:,}")
    )
    return [f"{name:<22}{text}" for name, text in rows]
