"""Protects training folders: finds damaged checkpoints, refuses a second process, and explains a full disk.

In addition to model.json and checkpoints/STEP/ a folder then contains

    manifests/STEP.json   size and SHA-256 of every file below checkpoints/STEP/
    damaged/STEP.N/       checkpoints that did not match their manifest, set aside
    .lock                 locked by the process that trains here

Manifests are stored next to the checkpoints, not in them: Orbax deletes an old checkpoint file by file, and a process killed
meanwhile leaves a partial one under the old name. If its manifest were deleted first, it would look intact.

A folder in an object store (gs://bucket/run) has none of these: there are no locks, and the store keeps checksums itself.
"""

import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from refinenet_jax import parallel
from refinenet_jax.errors import UsageError
from refinenet_jax.progress import say

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

_CHECKPOINTS, _MANIFESTS, _DAMAGED, _LOCK = "checkpoints", "manifests", "damaged", ".lock"
_STEP = re.compile(r"0|[1-9][0-9]*")
_MANIFEST = re.compile(r"([0-9]+)\.json(\.partial)?")
_MANIFEST_LIMIT = 64 * 2**20  # bytes; that of the largest network has some 10 KB


def is_remote(workdir: str | os.PathLike) -> bool:
    """Returns whether a folder is in an object store, such as gs://bucket/run: no locks, no renaming, no appending."""
    return "://" in os.fspath(workdir)


def steps(workdir: str | os.PathLike) -> list[int]:
    """Returns the steps of the complete checkpoints in a folder, ascending; creates nothing."""
    folders = (Path(workdir) / _CHECKPOINTS).glob("*")
    return sorted(int(path.name) for path in folders if _STEP.fullmatch(path.name) and path.is_dir())


def files(workdir: str | os.PathLike, step: int) -> dict[str, int]:
    """Returns the size in bytes of each file of a checkpoint by relative name; -1 for links, pipes and other special files.

    Raises:
      FileNotFoundError: the checkpoint is being deleted.
    """
    folder = _folder(workdir, step)
    sizes = {}
    for root, folders, names in os.walk(folder):
        for name in (*names, *folders):
            status = os.lstat(os.path.join(root, name))
            if not stat.S_ISDIR(status.st_mode):
                relative = Path(root, name).relative_to(folder).as_posix()
                sizes[relative] = status.st_size if stat.S_ISREG(status.st_mode) else -1
    return dict(sorted(sizes.items()))


def complete_manifests(workdir: str | os.PathLike) -> None:
    """Writes missing manifests of complete checkpoints, and deletes those of deleted checkpoints; in the main process only.

    In an object store it does nothing.

    It reads about 1 GB/s on a processor with SHA instructions, and other threads can run. It may run during a save.

    A manifest proves that the files have not changed since it was made. It is made after Orbax has renamed a checkpoint, which
    is when it is complete; earlier errors, in memory or while writing, are not detected. If a process was killed in between,
    call this after that checkpoint has been restored.

    Raises:
      OSError: a file cannot be read, or a manifest cannot be written.
    """
    if not parallel.is_main_process() or is_remote(workdir):
        return
    for step in steps(workdir):
        if not _manifest(workdir, step).exists():
            _write_manifest(workdir, step)
    finished = set(steps(workdir))
    for path in (Path(workdir) / _MANIFESTS).glob("*.json*"):
        if (match := _MANIFEST.fullmatch(path.name)) and int(match[1]) not in finished:
            path.unlink(missing_ok=True)


def remove_manifest(workdir: str | os.PathLike, step: int) -> None:
    """Deletes the manifest of a checkpoint whose files are about to change; `complete_manifests` writes a new one."""
    _manifest(workdir, step).unlink(missing_ok=True)


def read_manifest(workdir: str | os.PathLike, step: int) -> dict[str, tuple[int, str]] | None:
    """Returns (bytes, hexadecimal SHA-256) of each file of a checkpoint by relative name; None if it has no manifest.

    Raises:
      UsageError: the manifest is damaged.
    """
    path = _manifest(workdir, step)
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MANIFEST_LIMIT:
            raise ValueError("not a manifest")
        listed = json.loads(path.read_bytes())["files"]
        return {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in listed.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{_MANIFESTS}/{path.name} is damaged ({error}). If you trust the checkpoint, delete that file."
        ) from error


def check(workdir: str | os.PathLike, step: int) -> list[str]:
    """Lists the faults of a checkpoint: a line for each file that is missing, unexpected, or differs in size or content.

    Without a manifest only an empty folder is a fault, because Orbax renames a checkpoint when it is complete.
    """
    try:
        expected = read_manifest(workdir, step)
        actual = files(workdir, step)
    except (UsageError, OSError) as error:
        return [str(error)]
    if not actual:
        return ["it has no files"]
    if expected is None:
        return []
    faults = []
    for name in sorted(expected.keys() | actual.keys()):
        fault = _fault(_folder(workdir, step) / name, actual.get(name), expected.get(name))
        if fault:
            faults.append(f"{name if name.isprintable() else ascii(name)} {fault}")
    return faults


def latest_whole_step(workdir: str | os.PathLike) -> tuple[int | None, dict[int, list[str]]]:
    """Returns the newest checkpoint without faults, None if there is none, and the faults (`check`) of all damaged ones.

    All are read, not only the newest, because Orbax cannot open a folder if even the metrics of an old checkpoint are damaged.
    """
    finished = steps(workdir)
    faults = {step: reasons for step in finished if (reasons := check(workdir, step))}
    return max((step for step in finished if step not in faults), default=None), faults


def set_aside(workdir: str | os.PathLike, step: int) -> Path:
    """Moves a damaged checkpoint and its manifest to damaged/STEP.N, and returns that path.

    Call it in the main process, before the folder is opened for training: Orbax silently skips saving steps up to the newest
    checkpoint in the folder.
    """
    folder = Path(workdir) / _DAMAGED
    folder.mkdir(exist_ok=True)
    target = next(path for n in itertools.count(1) if not (path := folder / f"{step}.{n}").exists())
    _folder(workdir, step).rename(target)
    if _manifest(workdir, step).exists():
        _manifest(workdir, step).rename(target / "manifest.json")
    return target


@contextmanager
def lock_workdir(workdir: str | os.PathLike) -> Iterator[None]:
    """Locks a folder, which it creates, against training by other processes; in the main process only.

    The kernel releases the lock (flock) when the process ends; the file remains and has no meaning by itself. Over NFS the lock
    works between machines if the mount forwards locks (not `nolock` or `local_lock`). In an object store, and on a file system
    without locks, such as Lustre without the mount option `flock`, a warning is printed and nothing is locked.

    Raises:
      UsageError: another process has locked the folder.
    """
    if not parallel.is_main_process():
        yield
        return
    if is_remote(workdir):
        say(f"{workdir} cannot be locked. Make sure that no other process trains in it.")
        yield
        return
    path = Path(workdir) / _LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", errors="replace") as file:  # opening must not delete what the owner of the lock wrote
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = file.readline(200).strip()
            raise UsageError(
                f"{workdir} is in use by {owner if owner.isprintable() and owner else 'another process'}. "
                "Wait for it, stop it, or choose another --workdir."
            ) from error
        except OSError as error:
            say(f"{path} cannot be locked ({error.strerror}). Make sure that no other process trains in {workdir}.")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        file.flush()
        yield


def disk_full_message(error: BaseException, workdir: str | os.PathLike) -> str | None:
    """Returns a message for the user if `error` comes from a full disk or quota; None otherwise.

    Orbax writes in the background, so the error appears at the next save or on closing: as an OSError, or as a ValueError of
    TensorStore with the error number in its text. Earlier checkpoints are not affected.
    """
    in_text = re.search(r"os_error_code='([0-9]+)'", str(error))
    number = int(in_text[1]) if in_text else getattr(error, "errno", None)
    if number not in (errno.ENOSPC, errno.EDQUOT) or is_remote(workdir):
        return None
    finished = steps(workdir)
    free = shutil.disk_usage(workdir).free
    message = f"No room in {workdir} ({os.strerror(number).lower()}): {free / 1e6:.0f} MB are free"
    if finished:
        message += f", and a checkpoint needs about {sum(files(workdir, finished[-1]).values()) / 1e6:.0f} MB"
    further = (
        f"resumes from step {finished[-1]}" if finished else "starts from scratch, because there is no checkpoint yet"
    )
    return f"{message}. Free some space and run the same command again: training {further}."


def _folder(workdir: str | os.PathLike, step: int) -> Path:
    return Path(workdir) / _CHECKPOINTS / str(step)


def _manifest(workdir: str | os.PathLike, step: int) -> Path:
    return Path(workdir) / _MANIFESTS / f"{step}.json"


def _write_manifest(workdir: str | os.PathLike, step: int) -> None:
    """Writes a manifest atomically; none for a checkpoint that is being deleted or is empty."""
    try:
        before = files(workdir, step)
        listed = {
            name: {"bytes": size, "sha256": _sha256(_folder(workdir, step) / name)}
            for name, size in before.items()
            if size >= 0
        }
        if not listed or files(workdir, step) != before:
            return
    except FileNotFoundError:
        return
    path = _manifest(workdir, step)
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".json.partial")
    with partial.open("w") as file:
        json.dump({"files": listed}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())  # otherwise a power failure could leave an empty file
    partial.replace(path)


def _fault(path: Path, size: int | None, expected: tuple[int, str] | None) -> str:
    """Returns the fault of one file, '' if there is none."""
    if size is None:
        return "is missing"
    if size < 0:
        return "is not a regular file"
    if expected is None:
        return "is unexpected"
    if size != expected[0]:
        return f"has {size:,} bytes instead of {expected[0]:,}"
    try:
        return "" if _sha256(path) == expected[1] else "has changed"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
