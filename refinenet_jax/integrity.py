"""What a training folder survives: damaged checkpoints are found, a second process is refused, a full disk is explained.

Beside model.json and checkpoints/STEP/ a folder then holds

    manifests/STEP.json   size and SHA-256 of every file below checkpoints/STEP/
    damaged/STEP.N/       checkpoints that did not match their manifest, set aside
    .lock                 held by the process that trains here

Manifests lie beside the checkpoints and not in them: Orbax removes an old checkpoint file by file, and a process killed
meanwhile leaves a rest under the old name. Were the manifest among the first to go, that rest would look whole.
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
except ImportError:  # Windows has none
    fcntl = None

_CHECKPOINTS, _MANIFESTS, _DAMAGED, _LOCK = "checkpoints", "manifests", "damaged", ".lock"
_STEP = re.compile(r"0|[1-9][0-9]*")
_MANIFEST = re.compile(r"([0-9]+)\.json(\.partial)?")
_MANIFEST_LIMIT = 64 * 2**20  # bytes; the largest network takes some 10 KB


def steps(workdir: str | os.PathLike) -> list[int]:
    """Steps of the finished checkpoints in a folder, ascending; creates nothing."""
    folders = (Path(workdir) / _CHECKPOINTS).glob("*")
    return sorted(int(path.name) for path in folders if _STEP.fullmatch(path.name) and path.is_dir())


def files(workdir: str | os.PathLike, step: int) -> dict[str, int]:
    """Bytes of every file of a checkpoint by its relative name, sorted; -1 for links, pipes and the like, never to be opened.

    Raises:
      FileNotFoundError: the checkpoint is being removed.
    """
    folder = _folder(workdir, step)
    found = {}
    for root, folders, names in os.walk(folder):
        for name in (*names, *folders):
            status = os.lstat(os.path.join(root, name))
            if not stat.S_ISDIR(status.st_mode):
                relative = Path(root, name).relative_to(folder).as_posix()
                found[relative] = status.st_size if stat.S_ISREG(status.st_mode) else -1
    return dict(sorted(found.items()))


def complete_manifests(workdir: str | os.PathLike) -> None:
    """Writes the manifests that finished checkpoints still lack, and removes those of removed checkpoints; main process only.

    It reads about 1 GB/s on a processor with SHA instructions, and lets other threads run. It may run beside a save.

    A manifest proves that the files are those it was made from. It is made when Orbax has given a checkpoint its name, which
    is when all of it was written; what became wrong before, in memory or while writing, it cannot tell. Where a process was
    killed in between, call this once that checkpoint has been restored.

    Raises:
      OSError: a file cannot be read, or a manifest cannot be written.
    """
    if not parallel.is_main_process():
        return
    for step in steps(workdir):
        if not _manifest(workdir, step).exists():
            _write_manifest(workdir, step)
    finished = set(steps(workdir))
    for path in (Path(workdir) / _MANIFESTS).glob("*.json*"):
        if (match := _MANIFEST.fullmatch(path.name)) and int(match[1]) not in finished:
            path.unlink(missing_ok=True)


def remove_manifest(workdir: str | os.PathLike, step: int) -> None:
    """Removes the manifest of a checkpoint whose files are about to change; `complete_manifests` writes a new one."""
    _manifest(workdir, step).unlink(missing_ok=True)


def read_manifest(workdir: str | os.PathLike, step: int) -> dict[str, tuple[int, str]] | None:
    """(bytes, SHA-256 in hexadecimal) of every file of a checkpoint by its relative name; None where there is no manifest.

    Raises:
      UsageError: the manifest itself is damaged.
    """
    path = _manifest(workdir, step)
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    try:
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MANIFEST_LIMIT:
            raise ValueError("no file that was written here")
        listed = json.loads(path.read_bytes())["files"]
        return {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in listed.items()}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(
            f"{_MANIFESTS}/{path.name} is damaged ({error}); if you trust the checkpoint, delete that file."
        ) from error


def check(workdir: str | os.PathLike, step: int) -> list[str]:
    """What is wrong with a checkpoint, a line for every file that is missing, extra, of another size or of other content.

    Without a manifest only an empty folder is wrong: Orbax names a checkpoint once it is whole.
    """
    try:
        expected = read_manifest(workdir, step)
        actual = files(workdir, step)
    except (UsageError, OSError) as error:
        return [str(error)]
    if not actual:
        return ["it holds no files"]
    if expected is None:
        return []
    faults = []
    for name in sorted(expected.keys() | actual.keys()):
        fault = _fault(_folder(workdir, step) / name, actual.get(name), expected.get(name))
        if fault:
            faults.append(f"{name if name.isprintable() else ascii(name)} {fault}")
    return faults


def latest_whole_step(workdir: str | os.PathLike) -> tuple[int | None, dict[int, list[str]]]:
    """The newest checkpoint without faults, None if there is none, and the faults (`check`) of all that have some.

    All are read, not only the newest: Orbax opens no folder where as much as the metrics of an old checkpoint are damaged.
    """
    finished = steps(workdir)
    faults = {step: reasons for step in finished if (reasons := check(workdir, step))}
    return max((step for step in finished if step not in faults), default=None), faults


def set_aside(workdir: str | os.PathLike, step: int) -> Path:
    """Moves a damaged checkpoint and its manifest to damaged/STEP.N, which is returned.

    For the main process, before the folder is opened for training: Orbax silently skips the saving of steps up to the
    newest one that it finds.
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
    """Keeps other processes from training in a folder, which it creates, for as long as the context lasts; main process only.

    The kernel releases the lock (flock) with the process, whatever ends it; the file stays and means nothing by itself. Over
    NFS it holds between machines if the mount passes locks on (not `nolock` or `local_lock`). Where a file system has no
    locks, as Lustre without the mount option `flock`, that is said and nothing is held.

    Raises:
      UsageError: another process holds the folder.
    """
    if not parallel.is_main_process():
        yield
        return
    path = Path(workdir) / _LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", errors="replace") as file:  # what the holder wrote must outlast our opening
        try:
            if fcntl is None:
                raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.readline(200).strip()
            raise UsageError(
                f"{workdir} is in use by {holder if holder.isprintable() and holder else 'another process'}. "
                "Wait for it, stop it, or give another --workdir."
            ) from error
        except OSError as error:
            say(f"{path} cannot be locked ({error.strerror}); see to it that nothing else trains in {workdir}.")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
        file.flush()
        yield


def disk_full_message(error: BaseException, workdir: str | os.PathLike) -> str | None:
    """Returns a message for the user where `error` comes from a full disk or quota; None where it does not.

    Orbax writes in the background, so the error appears with the next save or on closing: as OSError, or as a ValueError
    of TensorStore that has the number in its text. Earlier checkpoints are not touched by it.
    """
    in_text = re.search(r"os_error_code='([0-9]+)'", str(error))
    number = int(in_text[1]) if in_text else getattr(error, "errno", None)
    if number not in (errno.ENOSPC, errno.EDQUOT):
        return None
    finished = steps(workdir)
    free = shutil.disk_usage(workdir).free
    message = f"No room in {workdir} ({os.strerror(number).lower()}): {free / 1e6:.0f} MB are free"
    if finished:
        message += f", a checkpoint takes about {sum(files(workdir, finished[-1]).values()) / 1e6:.0f} MB"
    further = (
        f"resumes from step {finished[-1]}" if finished else "starts from scratch, as no checkpoint is written yet"
    )
    return f"{message}. Make room and start again with the same command: training {further}."


def _folder(workdir: str | os.PathLike, step: int) -> Path:
    return Path(workdir) / _CHECKPOINTS / str(step)


def _manifest(workdir: str | os.PathLike, step: int) -> Path:
    return Path(workdir) / _MANIFESTS / f"{step}.json"


def _write_manifest(workdir: str | os.PathLike, step: int) -> None:
    """Whole or not at all; none for a checkpoint that is being removed, or holds nothing."""
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
        os.fsync(file.fileno())  # or a power failure could leave the name and no content
    partial.replace(path)


def _fault(path: Path, size: int | None, expected: tuple[int, str] | None) -> str:
    """What is wrong with one file, '' if nothing."""
    if size is None:
        return "is missing"
    if size < 0:
        return "is no ordinary file"
    if expected is None:
        return "does not belong here"
    if size != expected[0]:
        return f"has {size:,} bytes instead of {expected[0]:,}"
    try:
        return "" if _sha256(path) == expected[1] else "has other content"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
