"""Batches are split exactly among devices and processes; two real processes give the numbers of one."""

import importlib.util
import os
import re
import signal
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

from refinenet_jax import parallel, processes
from refinenet_jax.checkpoint import Checkpoints, load_model, write_description
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import evaluate
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.training import step

ROOT = Path(__file__).resolve().parents[1]
SIZES = [(24, 32), (17, 30), (24, 32), (40, 20), (24, 32)]  # of pictures to evaluate; two processes have three and two


@pytest.mark.parametrize(("size", "near"), [(7, 8), (12, 8), (17, 16), (0, 8), (-8, 8)])
def test_batch_size_that_the_devices_do_not_divide_is_refused(size, near):
    with pytest.raises(UsageError, match=rf"config.x is {size}, which the 8 devices .*--config.x={near},"):
        parallel.check_batch_size(size, "config.x")
    parallel.check_batch_size(near, "config.x")


def test_unknown_kind_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match=r"config.parallel.*'pmap'"):
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
def test_step_gets_the_numbers_of_its_share(kind):
    def count(state, batch):
        assert batch["x"].shape == (2, 3)
        assert batch.keys() == {"x"}
        index = jax.lax.axis_index("batch")
        return state + jax.lax.psum(batch["x"].sum(), "batch"), jax.lax.psum(batch["x"][0, 0] * index, "batch")

    x = np.arange(48, dtype=np.float32).reshape(16, 3)
    run, batch = parallel.parallel_step(count, kind), {"x": x, "id": np.array(["a"] * 16)}
    first = parallel.replicate(np.float32(1))
    state, weighted = run(first, batch)
    assert first.is_deleted()  # donated
    assert float(state) == 1 + x.sum()
    assert float(weighted) == sum(6 * i * i for i in range(8))
    ((prefetched, others),) = parallel.prefetch((batch for _ in range(1)), kind)
    assert others.keys() == {"id"}
    with jax.transfer_guard("disallow"):
        again, _ = run(state, prefetched)
    assert float(again) == 1 + 2 * x.sum()


def test_prefetch_reads_one_batch_ahead_and_closes_its_source():
    events = []

    def batches():
        try:
            for i in range(100):
                events.append(i)
                yield {"x": np.zeros(8, np.float32)}
        finally:
            events.append("closed")

    ahead = parallel.prefetch(batches())
    for expected in ([0, 1], [0, 1, 2]):
        next(ahead)
        assert events == expected
    ahead.close()
    assert events == [0, 1, 2, "closed"]
    source = batches()
    parallel.prefetch(source).close()
    assert next(source, None) is None  # closed, though nothing was read from it


@pytest.fixture
def usual_signals():
    """Python's own handlers, also where these tests run in the background of a shell, which ignores Ctrl-C."""
    usual = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("usual_signals")
def test_the_second_signal_has_its_usual_effect():
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with parallel.StopSignal() as stop:
        assert not stop.requested(1)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested(2)
        assert signal.getsignal(signal.SIGTERM) == before[signal.SIGTERM]
    with parallel.StopSignal() as stop:
        assert not stop.is_interrupt
        signal.raise_signal(signal.SIGINT)
        assert stop.requested(3)
        assert stop.is_interrupt
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("127.0.0.1:9876", 2, None), "all of --coordinator"),
        ((None, 2, 0), "all of --coordinator"),
        ((None, None, 0), "all of --coordinator"),
        (("127.0.0.1", 2, 0), "HOST:PORT"),
        (("127.0.0.1:port", 2, 0), "HOST:PORT"),
        (("127.0.0.1:9876", 2, 2), "--process_id=2 .*from 0 to 1"),
    ],
)
def test_missing_and_invalid_arguments_of_processes_are_refused(given, says):
    with pytest.raises(UsageError, match=says):
        processes.initialize(*given)


def test_a_port_in_use_and_a_silent_coordinator_are_usage_errors(monkeypatch):
    """JAX itself would end the process: with a segmentation fault, and SIGABRT."""
    monkeypatch.setattr(processes, "CONNECT_SECONDS", 0.1)
    with socket.create_server(("", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match=r"in use"):
            processes.initialize(address, 2, 0)
    with pytest.raises(UsageError, match=f"did not answer at --coordinator={address} within 0.1 s .*refused"):
        processes.initialize(address, 2, 1)


@pytest.fixture
def no_launcher(monkeypatch):
    for name in ("SLURM_STEP_NODELIST", "OMPI_COMM_WORLD_SIZE", "JOB_COMPLETION_INDEX"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_launcher")
@pytest.mark.parametrize("tasks", ["1", "2"])
def test_a_single_process_is_not_connected(monkeypatch, tasks):
    """Devices are in use here: connecting would raise."""
    monkeypatch.setenv("SLURM_NTASKS", tasks)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    jax.devices()
    processes.initialize()
    processes.initialize(num_processes=1)
    assert not jax.distributed.is_initialized()


@pytest.mark.usefixtures("no_launcher")
def test_hosts_of_a_tpu_that_cannot_be_connected_do_not_train_alone(monkeypatch):
    """Each would be process 0 of a run of its own, in the same folder."""

    def fail(**_):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr(jax.distributed, "initialize", fail)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    processes.initialize()  # libtpu, and no TPU
    monkeypatch.setattr(processes, "_has_tpu", lambda: True)
    with pytest.raises(UsageError, match=r"coordinator_address.*--coordinator.*--num_processes=1"):
        processes.initialize()
    processes.initialize(num_processes=1)


def test_tasks_of_slurm_are_connected_without_arguments():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = (
        "import jax; from refinenet_jax import processes; processes.initialize(); "
        "print(jax.process_index(), jax.process_count(), jax.device_count())"
    )
    tasks = []
    for index in "01":
        environment = _environment(1) | {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
        environment |= {"SLURM_PROCID": index, "SLURM_LOCALID": index, "JAX_COORDINATOR_PORT": str(port)}
        command = [sys.executable, "-c", code]
        tasks.append(subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE))
    try:
        outputs = [task.communicate(timeout=100)[0] for task in tasks]
    finally:
        for task in tasks:
            task.kill()
    for index, output in enumerate(outputs):
        assert f"{index} 2 2" in output.splitlines()[-1]


def _leaves(prefix: str, tree: dict) -> dict[str, np.ndarray]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {f"{prefix} {jax.tree_util.keystr(path)}": np.asarray(leaf) for path, leaf in leaves}


def _train_and_evaluate(folder: Path) -> dict[str, np.ndarray]:
    """Takes some steps of each kind on this process's share of the batches; evaluates; saves and restores a checkpoint."""
    results = {}
    model, optimizer = tiny.Tiny(3, "synchronized"), optax.sgd(0.2, momentum=0.9)
    pictures = tiny.Pictures(SIZES)
    share = slice(jax.process_index() * 8 // jax.process_count(), (jax.process_index() + 1) * 8 // jax.process_count())
    segmenter = Segmenter(model, {}, tiny.SQUARES.class_names)
    for kind in parallel.KINDS:
        state = step.create_state(jax.tree.map(jnp.asarray, tiny.variables()), optimizer)
        state = parallel.replicate(state)
        results[f"{kind} counts"] = evaluate.count(segmenter.with_variables(state.variables), pictures, 4)
        run = parallel.parallel_step(partial(step.train_step, model=model, optimizer=optimizer, seed=0), kind)
        batches = ({key: array[share] for key, array in tiny.batch(seed=number).items()} for number in range(3))
        for number, (batch, _) in enumerate(parallel.prefetch(batches, kind)):
            state, sums = run(state, batch)
            results |= _leaves(f"{kind} {number}", sums)
        results |= _leaves(kind, state.variables)
        checkpoints = Checkpoints(folder / kind)
        checkpoints.save(3, state.variables, {"step": state.step, "opt_state": state.opt_state}, {}, {"mean_iou": 0.5})
        checkpoints.close()
        if parallel.is_main_process():
            write_description(folder / kind, {})
        parallel.wait_for_all(f"description of {kind}")
        _, variables = load_model(folder / kind)
        for saved, leaf in zip(jax.tree.leaves(variables), jax.tree.leaves(state.variables), strict=True):
            np.testing.assert_array_equal(np.asarray(saved), np.asarray(leaf))
    results["counts after restoring"] = evaluate.count(segmenter.with_variables(variables), pictures, 4)
    return results


def _environment(devices: int) -> dict[str, str]:
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }


def _stop_of_all() -> int:
    """Returns the step after which all stop when the last process alone gets SIGTERM."""
    with parallel.StopSignal() as stop:
        for number in range(1, 1000):
            if number == 20 and jax.process_index() == jax.process_count() - 1:
                os.kill(os.getpid(), signal.SIGTERM)
            parallel.gather_rows(np.array([jax.process_index()]), np.zeros((1, 1)), jax.process_count())
            if stop.requested(number):
                return number
            time.sleep(0.02)
    return -1


def test_two_processes_of_two_devices_give_the_numbers_of_one_process(tmp_path):
    """They are started by launch/processes.sh; after a SIGTERM to one of them both stop after the same step."""
    script = ["bash", str(ROOT / "launch" / "processes.sh"), "2", sys.executable, __file__, str(tmp_path)]
    with (tmp_path / "log").open("w") as file:
        launcher = subprocess.Popen(script, env=_environment(2), stdout=file, stderr=subprocess.STDOUT)
    try:
        expected = _train_and_evaluate(tmp_path / "one")
        code = launcher.wait(timeout=150)
    finally:
        launcher.terminate()  # it passes that on
    log = (tmp_path / "log").read_text()
    assert code == 143, log[-5000:]
    steps = re.findall(r"^\[(.)\] stopped after step (\d+)$", log, re.MULTILINE)
    assert sorted(index for index, _ in steps) == ["0", "1"]
    assert len({step for _, step in steps}) == 1
    assert int(steps[0][1]) >= 20
    for index in (0, 1):
        results = dict(np.load(tmp_path / f"{index}.npz"))
        assert results.keys() == expected.keys()
        for name, value in expected.items():
            tolerance = 0 if "counts" in name or "confusion" in name else 1e-4
            np.testing.assert_allclose(results[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


if __name__ == "__main__":
    given = dict(flag.removeprefix("--").split("=") for flag in sys.argv[2:])
    processes.initialize(given["coordinator"], int(given["num_processes"]), int(given["process_id"]))
    assert (jax.process_count(), jax.device_count(), jax.local_device_count()) == (2, 4, 2)
    np.savez(Path(sys.argv[1], given["process_id"]), **_train_and_evaluate(Path(sys.argv[1])))
    print(f"\nstopped after step {_stop_of_all()}", flush=True)
    sys.exit(143)
