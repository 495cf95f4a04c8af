"""Devices and processes: the one file that knows pmap, shard_map and meshes.

State goes in and out replicated (never stacked); batches are split along their first axis.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from refinenet_jax.errors import UsageError, require

AXIS = "batch"
KINDS = ("pmap", "shard_map")

Step = Callable[[Any, dict], tuple[Any, Any]]


def check_batch_size(batch_size: int, name: str) -> None:
    """Raises UsageError unless every device of every process gets the same number of examples."""
    devices = jax.device_count()
    if batch_size < 1 or batch_size % devices:
        near = max(batch_size // devices, 1) * devices
        raise UsageError(
            f"{name} is {batch_size}, which the {devices} devices do not divide; set --{name}={near}, "
            "or show fewer devices (CUDA_VISIBLE_DEVICES)."
        )


def parallel_step(step: Step, kind: str = "pmap") -> Step:
    """Runs a training step on all devices.

    Args:
      step: (state, batch) -> (state, metrics) on one device's share of the batch, under a mapped axis called 'batch'; both
        results must come out the same on every device.
      kind: one of KINDS.

    Returns:
      (state, batch) -> (state, metrics) on this process's share of the batch, NumPy arrays [b, ...]; entries that are not
      numbers, such as ids, are left out. The state is donated.
    """
    require(kind, KINDS, "config.parallel")
    if kind == "pmap":
        mapped = jax.pmap(step, AXIS, in_axes=(None, 0), out_axes=(None, None), donate_argnums=0)
        return lambda state, batch: mapped(state, _stack_by_device(batch))
    mesh = _mesh()
    share, whole = PartitionSpec(AXIS), PartitionSpec()
    # check_vma would sum the gradient of the replicated parameters over the devices before the step's own sum does.
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(whole, share), out_specs=(whole, whole), check_vma=False)
    mapped = jax.jit(mapped, donate_argnums=0)
    split = NamedSharding(mesh, share)

    def run(state: Any, batch: dict) -> tuple[Any, Any]:
        batch = {key: jax.make_array_from_process_local_data(split, array) for key, array in _numbers(batch).items()}
        return mapped(state, batch)

    return run


def parallel_map(function: Callable[..., Any]) -> Callable[..., Any]:
    """Runs function(variables, *arrays) on this process's devices, the arrays [b, ...] and the results split among them.

    A batch that the devices do not divide is filled up with copies of its last example, and the results are cut back.
    """
    devices = jax.local_devices()
    mapped = jax.pmap(function, AXIS, in_axes=(None, 0), devices=devices)

    def run(variables: Any, arrays: Any) -> Any:
        size = len(jax.tree.leaves(arrays)[0])
        fill = -size % len(devices)
        arrays = jax.tree.map(lambda a: np.concatenate([a, np.repeat(a[-1:], fill, 0)]) if fill else a, arrays)
        results = mapped(variables, _stack_by_device(arrays))
        return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:size], results)

    return run


def gather_rows(indices: np.ndarray, rows: np.ndarray, total: int) -> np.ndarray:
    """Rows [n, ...] that belong at `indices` [n] of the whole, from all processes -> [total, ...] on each of them."""
    whole = np.zeros((total, *rows.shape[1:]), rows.dtype)
    fill = -(-total // jax.process_count()) - len(rows)  # every process must bring equally many
    indices = np.pad(indices, (0, fill), constant_values=-1)
    rows = np.pad(rows, ((0, fill), *[(0, 0)] * (rows.ndim - 1)))
    if jax.process_count() > 1:
        indices, rows = multihost_utils.process_allgather((indices, rows), tiled=True)
    whole[indices[indices >= 0]] = rows[indices >= 0]
    return whole


def replicate(tree: Any) -> Any:
    """Puts arrays whole on every device, where the steps expect and leave the state: one compilation serves all."""
    return jax.device_put(tree, replicated())


def replicated() -> NamedSharding:
    """Sharding of an array that every device of every process holds whole."""
    return NamedSharding(_mesh(), PartitionSpec())


def is_main_process() -> bool:
    """Whether this process writes what only one should write."""
    return jax.process_index() == 0


def _mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def _stack_by_device(batch: Any) -> Any:
    """[b, ...] -> [local devices, b / local devices, ...]."""
    devices = jax.local_device_count()
    batch = _numbers(batch) if isinstance(batch, dict) else batch
    return jax.tree.map(lambda a: a.reshape(devices, -1, *a.shape[1:]), batch)


def _numbers(batch: dict) -> dict:
    return {key: array for key, array in batch.items() if array.dtype.kind not in "US"}
