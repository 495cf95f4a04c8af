"""Work on all devices of all processes; the only module that uses pmap, shard_map and meshes.

State is passed and returned replicated (never stacked); batches are split along their first axis.
"""

import json
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from refinenet_jax.errors import UsageError, require

AXIS = "batch"
KINDS = ("pmap", "shard_map")

Step = Callable[[Any, dict], tuple[Any, Any]]


class StopSignal:
    """Context in which SIGTERM and Ctrl-C stop a training after the current step, the same step on all processes.

    The first signal is recorded; a second one has its usual effect and ends the process at once. In a run of several processes
    JAX catches SIGTERM on any of them and chooses, within about two seconds, a step that all can reach; further signals are
    lost until then.

    Attributes:
      is_interrupt: whether the signal was Ctrl-C, in this process.
    """

    def __enter__(self) -> "StopSignal":
        self._asked = self.is_interrupt = False
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # only this thread may handle signals
            caught = [signal.SIGINT] if jax.distributed.is_initialized() else [signal.SIGINT, signal.SIGTERM]
            self._before = {number: signal.signal(number, self._note) for number in caught}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self, step: int) -> bool:
        """Returns whether to stop after `step`, the same on all processes; each must call it after every step."""
        if not jax.distributed.is_initialized():
            return self._asked
        stop = multihost_utils.reached_preemption_sync_point(step)
        if stop and self._before:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # otherwise JAX would ignore a second one
        return stop

    def _note(self, number: int, frame: object) -> None:
        del frame
        self._asked, self.is_interrupt = True, number == signal.SIGINT
        signal.signal(number, self._before[number])
        if jax.distributed.is_initialized():
            os.kill(os.getpid(), signal.SIGTERM)  # JAX notifies the other processes


def check_batch_size(batch_size: int, name: str) -> None:
    """Raises UsageError unless all devices of all processes get the same number of examples."""
    devices = jax.device_count()
    if batch_size < 1 or batch_size % devices:
        near = max(batch_size // devices, 1) * devices
        raise UsageError(
            f"{name} is {batch_size}, which the {devices} devices do not divide. Set --{name}={near}, "
            "or use fewer devices (CUDA_VISIBLE_DEVICES)."
        )


def parallel_step(step: Step, kind: str = "pmap") -> Step:
    """Runs a training step on all devices.

    Args:
      step: function (state, batch) -> (state, metrics) for one device's share of the batch, under a mapped axis called
        'batch'; both results must be equal on all devices.
      kind: one of KINDS.

    Returns:
      Function (state, batch) -> (state, metrics) for this process's share of the batch: either NumPy arrays [b, ...], of
      which entries that are not numbers, such as ids, are ignored, or a result of `prefetch`. The state is donated.
    """
    require(kind, KINDS, "config.parallel")
    if kind == "pmap":
        mapped = jax.pmap(step, AXIS, in_axes=(None, 0), out_axes=(None, None), donate_argnums=0)
    else:
        mapped = _shard_mapped(step, _mesh())

    def run(state: Any, batch: dict) -> tuple[Any, Any]:
        state, metrics = mapped(state, _to_devices(batch, kind))
        return (_across_processes(state) if kind == "pmap" else state), metrics

    return run


def compile_for_one(step: Step, state: Any, batch: dict) -> jax.stages.Compiled:
    """Compiles a training step for one device and its share of the batch, from shapes, to analyze memory and compute."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()[:1]), (AXIS,))
    return _shard_mapped(step, mesh).lower(state, batch).compile()


def _shard_mapped(step: Step, mesh: jax.sharding.Mesh) -> Any:
    share, whole = PartitionSpec(AXIS), PartitionSpec()
    # check_vma would sum the gradient of the replicated parameters over devices before the step does.
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(whole, share), out_specs=(whole, whole), check_vma=False)
    return jax.jit(mapped, donate_argnums=0)


def prefetch(batches: Iterator[dict], kind: str = "pmap") -> Iterator[tuple[dict, dict]]:
    """Transfers each batch to its devices while the previous step runs.

    Args:
      batches: dicts of NumPy arrays [b, ...]; closing the result closes them.
      kind: kind of the `parallel_step` that uses them.

    Yields:
      The numeric entries of a batch, on the devices, and its other entries unchanged, such as ids.
    """

    def run() -> Iterator[tuple[dict, dict] | None]:
        with closing(batches):
            yield None
            ready: deque[tuple[dict, dict]] = deque()
            for batch in batches:
                ready.append((_to_devices(batch, kind), {k: v for k, v in batch.items() if not _is_number(v)}))
                if len(ready) == 2:
                    yield ready.popleft()
            yield from ready

    iterator = run()
    next(iterator)  # start it, because closing a generator that was never started has no effect
    return iterator


def parallel_map(function: Callable[..., Any]) -> Callable[..., Any]:
    """Runs function(variables, *arrays) on this process's devices, with the arrays [b, ...] and results split among them.

    A batch that the devices do not divide is padded with copies of its last example, and the results are cut to size.
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


def on_local_devices(tree: Any) -> Any:
    """Replicates arrays on all devices of this process, so that `parallel_map` uses them without a copy."""
    return jax.device_put(tree, NamedSharding(_local_mesh(), PartitionSpec()))


def share(total: int) -> range:
    """Returns which of `total` items belong to this process; `gather_rows` combines the results."""
    return range(jax.process_index(), total, jax.process_count())


def gather_rows(indices: np.ndarray, rows: np.ndarray, total: int) -> np.ndarray:
    """Combines rows [n, ...] at `indices` [n] from all processes into an array [total, ...] on each of them."""
    whole = np.zeros((total, *rows.shape[1:]), rows.dtype)
    fill = -(-total // jax.process_count()) - len(rows)  # all processes must contribute equally many
    indices = np.pad(indices, (0, fill), constant_values=-1)
    rows = np.pad(rows, ((0, fill), *[(0, 0)] * (rows.ndim - 1)))
    if jax.process_count() > 1:
        indices, rows = multihost_utils.process_allgather((indices, rows), tiled=True)
    whole[indices[indices >= 0]] = rows[indices >= 0]
    return whole


def replicate(tree: Any) -> Any:
    """Replicates arrays on all devices with the sharding that the steps use and return, so that they compile only once."""
    return jax.device_put(tree, replicated())


def replicated() -> NamedSharding:
    """Returns the sharding of an array that is replicated on all devices of all processes."""
    return NamedSharding(_mesh(), PartitionSpec())


def gather_json(value: Any) -> list[Any]:
    """Returns the values (JSON of any length) of all processes, on all of them. All processes must call it."""
    if jax.process_count() == 1:
        return [value]
    mine = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.array([len(mine)])).ravel()
    rows = multihost_utils.process_allgather(np.pad(mine, (0, int(sizes.max()) - len(mine))))
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


@contextmanager
def raise_on_all_processes() -> Iterator[None]:
    """Raises a UsageError that one process raises within the context on all processes, so that none waits for it.

    All processes must enter it, and its body must not communicate: the others would wait there for a process that failed.
    """
    error = None
    try:
        yield
    except UsageError as raised:
        error = raised
    messages = [message for message in gather_json(error and str(error)) if message]
    if error:
        raise error
    if messages:
        raise UsageError(f"Another process of this run stopped: {messages[0]}")


def require_same_on_all_processes(values: dict[str, Any], fix: str) -> None:
    """Raises UsageError on all processes unless all have the same values. All processes must call it.

    Args:
      values: JSON values, by their names in messages.
      fix: sentence at the end of the message.
    """
    first, *others = gather_json(values)
    for index, other in enumerate(others, 1):
        different = [name for name in {**first, **other} if first.get(name) != other.get(name)]
        if different:
            listed = "; ".join(f"{name} is {first.get(name)} and {other.get(name)}" for name in different)
            raise UsageError(f"Processes 0 and {index} of this run differ: {listed}. {fix}")


def wait_for_all(what: str) -> None:
    """Waits until all processes of the run have called it; `what` names the position, the same on all."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def is_main_process() -> bool:
    """Returns whether this is the process that writes files and messages."""
    return jax.process_index() == 0


def _mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def _local_mesh() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))


def _stack_by_device(tree: Any) -> Any:
    """Reshapes [b, ...] to [local devices, b / local devices, ...]."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda a: a.reshape(devices, -1, *a.shape[1:]), tree)


def _to_devices(batch: dict, kind: str) -> dict[str, jax.Array]:
    """Transfers the numeric entries of a batch for a step of this kind; those already on devices are kept."""
    numbers = {key: array for key, array in batch.items() if _is_number(array)}
    if all(isinstance(array, jax.Array) for array in numbers.values()):
        return numbers
    if kind == "pmap":
        return jax.device_put(_stack_by_device(numbers), NamedSharding(_local_mesh(), PartitionSpec(AXIS)))
    split = NamedSharding(_mesh(), PartitionSpec(AXIS))
    return {key: jax.make_array_from_process_local_data(split, array) for key, array in numbers.items()}


def _across_processes(tree: Any) -> Any:
    """Joins the replicated arrays of all processes that pmap returns into global replicated arrays, without a copy."""
    if jax.process_count() == 1:
        return tree
    sharding = replicated()

    def joined(array: jax.Array) -> jax.Array:
        parts = [shard.data for shard in array.addressable_shards]
        return jax.make_array_from_single_device_arrays(array.shape, sharding, parts)

    return jax.tree.map(joined, tree)


def _is_number(array: Any) -> bool:
    return hasattr(array, "dtype") and array.dtype.kind not in "USO"
