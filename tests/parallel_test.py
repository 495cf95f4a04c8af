"""Batches are shared without a loss by devices and by processes; two real processes give the numbers of one."""

import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from refinenet_jax import parallel
from refinenet_jax.checkpoint import Checkpoints, load_model, write_description
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation.evaluate import make_evaluate
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.training import step

SIZES = [(24, 32), (17, 30), (24, 32), (40, 20), (24, 32)]  # of pictures to evaluate; two processes have three and two


@pytest.mark.parametrize(("size", "near"), [(7, 8), (12, 8), (17, 16), (0, 8), (-8, 8)])
def test_batch_size_that_does_not_divide_is_refused_with_one_that_does(size, near):
    with pytest.raises(UsageError, match=rf"config.x is {size}, which the 8 devices .* set --config.x={near},"):
        parallel.check_batch_size(size, "config.x")


@pytest.mark.parametrize("size", [8, 16, 24])
def test_batch_size_that_divides_is_accepted(size):
    parallel.check_batch_size(size, "config.batch_size")


def test_unknown_kind_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"Unknown config.parallel 'pmapp'; did you mean 'pmap'"):
        parallel.parallel_step(lambda state, batch: (state, batch), "pmapp")


@pytest.mark.parametrize("size", [1, 3, 8, 11, 16])
def test_parallel_map_of_any_number_of_rows(size):
    """Each row once and in order, whatever the devices fill up with."""
    run = parallel.parallel_map(lambda k, pair: {"sum": k * pair[0] + pair[1].sum(-1), "first": pair[0]})
    a, b = np.arange(size), np.arange(size * 2).reshape(size, 2)
    result = run(3, (a, b))
    np.testing.assert_array_equal(result["sum"], 3 * a + b.sum(-1))
    np.testing.assert_array_equal(result["first"], a)


@pytest.mark.parametrize("kind", parallel.KINDS)
def test_step_sees_its_share_and_no_text(kind):
    def count(state, batch):
        assert batch["x"].shape == (2, 3)
        assert batch.keys() == {"x"}
        index = jax.lax.axis_index("batch")
        return state + jax.lax.psum(batch["x"].sum(), "batch"), jax.lax.psum(batch["x"][0, 0] * index, "batch")

    x = np.arange(48, dtype=np.float32).reshape(16, 3)
    state, weighted = parallel.parallel_step(count, kind)(jnp.float32(1), {"x": x, "id": np.array(["a"] * 16)})
    assert float(state) == 1 + x.sum()
    assert float(weighted) == sum(6 * i * i for i in range(8))


def test_state_is_donated():
    run = parallel.parallel_step(lambda state, batch: (state + batch["x"].sum() * 0, batch["x"].sum() * 0))
    state = parallel.replicate(np.ones(1000, np.float32))
    run(state, {"x": np.zeros(8, np.float32)})
    assert state.is_deleted()


def test_gather_rows_of_one_process():
    rows = np.arange(12, dtype=np.int64).reshape(4, 3) + 2**40
    gathered = parallel.gather_rows(np.array([2, 0, 3, 1]), rows, 4)
    assert gathered.dtype == np.int64
    np.testing.assert_array_equal(gathered, rows[[1, 3, 0, 2]])
    assert parallel.gather_rows(np.array([], int), np.zeros((0, 3)), 0).shape == (0, 3)


def _train_and_evaluate(folder: Path) -> dict[str, np.ndarray]:
    """Some steps in each way on this process's share of the batches, an evaluation, a checkpoint and its return."""
    results = {}
    model, optimizer = tiny.Tiny(3, "synchronised"), optax.sgd(0.2, momentum=0.9)
    pictures = tiny.Pictures(SIZES)
    share = slice(jax.process_index() * 8 // jax.process_count(), (jax.process_index() + 1) * 8 // jax.process_count())
    evaluate = make_evaluate(Segmenter(model, {}, tiny.SQUARES.class_names))
    for kind in parallel.KINDS:
        state = step.create_state(jax.tree.map(jnp.asarray, tiny.variables()), optimizer)
        state = parallel.replicate(state)
        results[f"{kind} counts"] = evaluate(state.variables, pictures, 4)
        run = parallel.parallel_step(partial(step.train_step, model=model, optimizer=optimizer, seed=0), kind)
        for number in range(3):
            state, sums = run(state, {key: array[share] for key, array in tiny.batch(seed=number).items()})
            results |= {f"{kind} {number} {key}": np.asarray(value) for key, value in sums.items()}
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.variables):
            results[f"{kind} {jax.tree_util.keystr(path)}"] = np.asarray(leaf)

    checkpoints = Checkpoints(folder / "run")
    checkpoints.save(3, state.variables, {"step": state.step, "opt_state": state.opt_state}, {}, {"mean_iou": 0.5})
    checkpoints.close()
    if parallel.is_main_process():
        write_description(folder / "run", {})
    # All wait until the description is there.
    parallel.gather_rows(np.array([jax.process_index()]), np.zeros((1, 1), np.float32), jax.process_count())
    _, variables = load_model(folder / "run")
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)), variables, state.variables)
    results["counts after restoring"] = evaluate(variables, pictures, 4)
    return results


def test_two_processes_of_two_devices_give_the_numbers_of_one_process(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    logs = [tmp_path / f"{index}.log" for index in (0, 1)]
    processes = []
    for index, log in enumerate(logs):
        with log.open("w") as file:
            command = [sys.executable, __file__, str(port), str(index), str(tmp_path)]
            processes.append(subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT))
    try:
        expected = _train_and_evaluate(tmp_path / "one")
        deadline = time.monotonic() + 150
        while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
            if any(process.poll() for process in processes):
                break  # the other would wait for it
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
    codes = [process.wait() for process in processes]
    assert codes == [0, 0], "\n".join(log.read_text()[-3000:] for log in logs)
    for index in (0, 1):
        results = dict(np.load(tmp_path / f"{index}.npz"))
        assert results.keys() == expected.keys()
        for name, value in expected.items():
            tolerance = 0 if "counts" in name or "confusion" in name else 1e-4
            np.testing.assert_allclose(results[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


if __name__ == "__main__":
    jax.distributed.initialize(f"127.0.0.1:{sys.argv[1]}", 2, int(sys.argv[2]))
    assert (jax.process_count(), jax.device_count(), jax.local_device_count()) == (2, 4, 2)
    np.savez(Path(sys.argv[3], sys.argv[2]), **_train_and_evaluate(Path(sys.argv[3])))
