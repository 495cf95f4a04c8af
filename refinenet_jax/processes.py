"""Sets up the processes of a run, before anything uses devices."""

import importlib.util
import os
import socket
import sys
import time
from pathlib import Path

import jax

from refinenet_jax.errors import UsageError

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"  # in XLA_FLAGS, which XLA reads when JAX starts
CONNECT_SECONDS = 300  # timeout for connecting the processes of a run


def use_deterministic_operations() -> None:
    """Makes XLA choose operations on a GPU that give the same bits in every run; before anything asks for devices."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()


def initialize(coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None) -> None:
    """Connects the processes of a run, if there are several; call it before anything uses devices.

    Without arguments, processes started by Slurm (srun with more than one task), Open MPI 4, an indexed Kubernetes job or on a
    TPU are connected automatically by JAX; any other process runs alone. On CPUs the collectives use Gloo.

    Args:
      coordinator: HOST:PORT at which process 0 listens; the same for all processes.
      num_processes: number of processes; 1 without other arguments makes this process run alone, whatever started it.
      process_id: index of this process, from 0 to num_processes - 1.

    Raises:
      UsageError: arguments are missing or invalid, the port is in use, process 0 does not answer within CONNECT_SECONDS, or
        the hosts of a TPU cannot be found. If another process is missing, JAX aborts this one (SIGABRT) after the same time
        again.
    """
    if num_processes == 1:
        return
    given = coordinator, num_processes, process_id
    if given == (None, None, None):
        if _launched_as_one_of_several():
            jax.distributed.initialize(initialization_timeout=CONNECT_SECONDS)
        elif importlib.util.find_spec("libtpu") and _has_tpu():
            try:
                jax.distributed.initialize(initialization_timeout=CONNECT_SECONDS)
            except (ValueError, LookupError, OSError, RuntimeError) as error:
                # Otherwise each host would train alone, as process 0.
                raise UsageError(
                    f"This machine has TPUs, but JAX cannot connect the hosts that share them ({error}). Set --coordinator, "
                    "--num_processes and --process_id, or --num_processes=1 for a TPU with a single host."
                ) from error
        return
    if None in given:
        raise UsageError(
            "Several processes need all of --coordinator=HOST:PORT of process 0, --num_processes=N, and --process_id=I "
            "from 0 to N-1. Omit all of them to run alone."
        )
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 2**16 and 0 <= process_id < num_processes):
        raise UsageError(
            f"--coordinator={coordinator} must be HOST:PORT of process 0, as 10.0.0.1:9876, and --process_id={process_id} "
            f"must be from 0 to {num_processes - 1}, because of --num_processes."
        )
    # If one of these fails, JAX kills the process with nothing but a C++ stack trace.
    if process_id == 0:
        try:
            socket.create_server(("", int(port))).close()
        except OSError as error:
            raise UsageError(f"--coordinator={coordinator}: {error.strerror}. Choose another port.") from error
        print(f"Waiting up to {CONNECT_SECONDS} s for all {num_processes} processes", file=sys.stderr, flush=True)
    else:
        _await_answer(host.strip("[]"), int(port), coordinator)
    jax.distributed.initialize(coordinator, num_processes, process_id, initialization_timeout=CONNECT_SECONDS)


def _launched_as_one_of_several() -> bool:
    """Returns whether a launcher that JAX supports started this process together with others."""
    slurm = "SLURM_STEP_NODELIST" in os.environ and int(os.environ.get("SLURM_NTASKS", 1)) > 1
    mpi = "OMPI_MCA_orte_hnp_uri" in os.environ and int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1
    # Every pod has the first variable; only those of an indexed job have the second, which JAX needs.
    return slurm or mpi or {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= os.environ.keys()


def _has_tpu() -> bool:
    """Returns whether this machine has TPU chips, by the files of their drivers."""
    return any(Path("/dev").glob("accel[0-9]*")) or any(Path("/dev/vfio").glob("[0-9]*"))


def _await_answer(host: str, port: int, coordinator: str) -> None:
    """Waits until process 0 listens; raises UsageError after CONNECT_SECONDS."""
    deadline = time.monotonic() + CONNECT_SECONDS
    while True:
        try:
            return socket.create_connection((host, port), timeout=5).close()
        except OSError as error:
            if time.monotonic() > deadline:
                message = (
                    f"Process 0 did not answer at --coordinator={coordinator} within {CONNECT_SECONDS} s ({error})."
                )
                raise UsageError(f"{message} Check that it runs, its address, and that the port is open.") from error
        time.sleep(0.5)
