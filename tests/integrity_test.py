"""Damage is found and named, a folder has one master, a full disk leaves what was there, and all is explained."""

import errno
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refinenet_jax import integrity, parallel
from refinenet_jax.checkpoint import Checkpoints
from refinenet_jax.errors import UsageError

MODEL = {"params": {"w": np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)}}
ENVIRONMENT = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": os.pathsep.join(sys.path)}


def _save(workdir, steps):
    checkpoints = Checkpoints(workdir)
    for step in steps:
        checkpoints.save(step, MODEL, {"step": step}, {"seed": 7})
    checkpoints.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Checkpoints 1 and 2 with their manifests."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    _save(folder, [1, 2])
    integrity.complete_manifests(folder)
    return folder


@pytest.fixture
def workdir(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / "run"))


def _weights_file(workdir, step):
    """The file with the numbers."""
    return max((workdir / "checkpoints" / str(step) / "model").rglob("d/*"), key=lambda path: path.stat().st_size)


def _flip(path, position=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 1
    path.write_bytes(content)


def test_a_manifest_has_size_and_sum_of_every_file(workdir):
    folder = workdir / "checkpoints" / "2"
    content = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert integrity.read_manifest(workdir, 2) == {
        name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in content.items()
    }
    listed = json.loads((workdir / "manifests" / "2.json").read_text())["files"]
    assert list(listed) == sorted(content)
    assert sorted(path.name for path in (workdir / "manifests").iterdir()) == ["1.json", "2.json"]
    assert integrity.latest_whole_step(workdir) == (2, {})


def test_wrong_numbers_that_orbax_restores_without_a_word_are_found(workdir):
    weights = _weights_file(workdir, 2)
    _flip(weights)
    checkpoints = Checkpoints(workdir)
    restored = checkpoints.restore(MODEL, {"step": 0})[0]
    checkpoints.close()
    assert not np.array_equal(restored["params"]["w"], MODEL["params"]["w"])
    name = weights.relative_to(workdir / "checkpoints" / "2")
    assert integrity.check(workdir, 2) == [f"{name} has changed"]


def _replace(path, make):
    path.unlink()
    make(path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: _flip(path, 0), "has changed"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "has 10 bytes instead of 11"),
        (lambda path: path.write_bytes(b""), "has 0 bytes instead of 11"),
        (Path.unlink, "is missing"),
        (lambda path: _replace(path, os.mkfifo), "is not a regular file"),  # reading would wait for ever
        (lambda path: _replace(path, lambda p: p.symlink_to("/dev/zero")), "is not a regular file"),
    ],
)
def test_every_damage_is_named_with_its_file(workdir, damage, says):
    damage(workdir / "checkpoints/2/data/metadata")
    assert integrity.check(workdir, 2) == [f"data/metadata {says}"]
    assert integrity.latest_whole_step(workdir) == (1, {2: [f"data/metadata {says}"]})


def test_files_that_do_not_belong_are_named_and_terminals_left_in_peace(workdir):
    (workdir / "checkpoints/1/data/x\x1b[2J").write_bytes(b"")
    (workdir / "checkpoints/1/model/elsewhere").symlink_to("/")
    assert integrity.check(workdir, 1) == [
        r"'data/x\x1b[2J' is unexpected",
        "model/elsewhere is not a regular file",
    ]


def test_training_resumes_from_the_previous_checkpoint_and_saves_the_damaged_step_again(workdir):
    _flip(_weights_file(workdir, 2))
    step, faults = integrity.latest_whole_step(workdir)
    for damaged in faults:
        assert integrity.set_aside(workdir, damaged) == workdir / "damaged" / f"{damaged}.1"
    checkpoints = Checkpoints(workdir)
    assert checkpoints.latest_step == step == 1
    checkpoints.save(2, MODEL, {"step": 2}, {"seed": 7})
    checkpoints.close()
    integrity.complete_manifests(workdir)
    assert integrity.latest_whole_step(workdir) == (2, {})
    _flip(_weights_file(workdir, 2))
    integrity.set_aside(workdir, 2)
    assert sorted(path.name for path in (workdir / "damaged").iterdir()) == ["2.1", "2.2"]
    assert integrity.steps(workdir) == [1]


def test_no_whole_checkpoint_is_left(workdir):
    for step in (1, 2):
        _flip(_weights_file(workdir, step))
    whole, faults = integrity.latest_whole_step(workdir)
    assert whole is None
    assert sorted(faults) == [1, 2]
    assert integrity.latest_whole_step(workdir / "nowhere") == (None, {})


def test_manifests_come_and_go_with_the_checkpoints(workdir):
    _save(workdir, [3, 4])  # 1 and 2 are removed
    (workdir / "checkpoints" / "5.orbax-checkpoint-tmp" / "model").mkdir(parents=True)  # under way
    (workdir / "manifests" / "2.json.partial").write_text("{")
    integrity.complete_manifests(workdir)
    assert sorted(path.name for path in (workdir / "manifests").iterdir()) == ["3.json", "4.json"]


def test_manifest_is_not_rewritten_for_changed_files(workdir):
    (workdir / "checkpoints/2/data/metadata").unlink()
    integrity.complete_manifests(workdir)
    assert integrity.check(workdir, 2) == ["data/metadata is missing"]


def test_without_a_manifest_all_but_an_empty_folder_is_taken_for_whole(workdir):
    (workdir / "manifests" / "1.json").unlink()
    (workdir / "checkpoints" / "3" / "model").mkdir(parents=True)
    integrity.complete_manifests(workdir)
    assert integrity.read_manifest(workdir, 3) is None
    (workdir / "manifests" / "1.json").unlink()
    assert integrity.latest_whole_step(workdir) == (2, {3: ["it has no files"]})
    assert integrity.check(workdir, 1) == []


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"files": [1]}', '{"files": {"a": {"bytes": Infinity, "sha256": ""}}}', "[" * 10**5, b"\xff"],
)
def test_a_damaged_manifest_is_a_fault_with_a_cure(workdir, content):
    content = content if isinstance(content, bytes) else content.encode()
    (workdir / "manifests" / "2.json").write_bytes(content)
    (fault,) = integrity.check(workdir, 2)
    assert fault.startswith("manifests/2.json is damaged")
    assert fault.endswith("delete that file.")


def test_only_the_main_process_writes(workdir, monkeypatch, tmp_path):
    shutil.rmtree(workdir / "manifests")
    monkeypatch.setattr(parallel, "is_main_process", lambda: False)
    integrity.complete_manifests(workdir)
    assert not (workdir / "manifests").exists()
    with integrity.lock_workdir(tmp_path / "new"), integrity.lock_workdir(tmp_path / "new"):
        assert not (tmp_path / "new").exists()


HOLDER = """
import sys, time
from refinenet_jax import integrity
with integrity.lock_workdir(sys.argv[1]):
    print("held", flush=True)
    time.sleep(100)
"""


def test_a_folder_in_use_is_refused_until_its_process_is_killed(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / "run"], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        says = rf"run is in use by process {holder.pid} on {socket.gethostname()} since 20\S+ \S+\. Wait.*another --workdir"
        for _ in range(2):  # being refused changes nothing
            with pytest.raises(UsageError, match=says), integrity.lock_workdir(tmp_path / "run"):
                pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with integrity.lock_workdir(tmp_path / "run"):
            assert f"process {os.getpid()} " in (tmp_path / "run" / ".lock").read_text()
            with pytest.raises(UsageError, match=f"process {os.getpid()} "), integrity.lock_workdir(tmp_path / "run"):
                pass  # nor twice in one process
    finally:
        holder.kill()
        holder.communicate()


def test_lock_is_released_even_after_an_error(tmp_path):
    with pytest.raises(RuntimeError), integrity.lock_workdir(tmp_path):
        raise RuntimeError
    with integrity.lock_workdir(tmp_path):
        pass


def test_file_system_without_locks_is_reported_and_used(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(integrity.fcntl, "flock", flock)
    with integrity.lock_workdir(tmp_path):
        assert "cannot be locked (Function not implemented)" in capsys.readouterr().err


FILL_A_DISK = """
import pathlib, subprocess, sys
import numpy as np
import orbax.checkpoint as ocp
from refinenet_jax import integrity

subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2560k", "none", sys.argv[1]], check=True)
workdir = pathlib.Path(sys.argv[1]) / "run"
manager = ocp.CheckpointManager(workdir / "checkpoints")
weights = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
for step in (1, 2, 3):
    try:
        manager.save(step, args=ocp.args.StandardSave({"w": weights}))
        manager.wait_until_finished()
        integrity.complete_manifests(workdir)
    except Exception as error:
        print(step, integrity.disk_full_message(error, workdir))
        break
print(integrity.latest_whole_step(workdir))
"""


def test_a_full_disk_leaves_the_earlier_checkpoints_and_is_explained(tmp_path):
    own_mounts = ["unshare", "--mount", "--user", "--map-root-user"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*own_mounts, "mount", "-t", "tmpfs", "none", tmp_path]).returncode
    ):
        pytest.skip("this system lets nobody mount a small disk")
    done = subprocess.run(
        [*own_mounts, sys.executable, "-c", FILL_A_DISK, tmp_path],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    message, whole = done.stdout.splitlines()
    assert re.fullmatch(
        rf"3 No room in {tmp_path}/run \(no space left on device\): \d MB are free, and a checkpoint needs about 1 MB\. "
        r"Free some space and run the same command again: training resumes from step 2\.",
        message,
    )
    assert whole == "(2, {})"


def test_only_a_full_disk_or_quota_is_called_so(tmp_path):
    quota = integrity.disk_full_message(OSError(errno.EDQUOT, "quota"), tmp_path)
    assert quota.startswith(f"No room in {tmp_path} (disk quota exceeded): ")
    assert "training starts from scratch" in quota
    for other in (OSError(errno.EIO, "disk"), ValueError("RESOURCE_EXHAUSTED: Out of memory"), ValueError("28")):
        assert integrity.disk_full_message(other, tmp_path) is None
