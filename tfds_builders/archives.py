"""Unpacks untrusted archives safely: nothing is written outside the folder, and sizes are limited.

`zipfile` and `tarfile` silently change or skip names that leave the folder, so that files would be missing. Here such a name
is an error, and the limits apply to the bytes that are actually written.
"""

import contextlib
import gzip
import os
import pathlib
import shutil
import stat
import tarfile
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

_CHUNK = 1 << 20

# Name, kind ('file', 'folder' or anything else) and a function that opens the file.
_Member = tuple[str, str, Callable[[], IO[bytes]]]


class UnsafeArchiveError(ValueError):
    """The archive is damaged, exceeds a limit, or has a member that is unsafe to unpack."""


def safe_extract(
    path: str | os.PathLike, into: str | os.PathLike, *, max_members: int, max_bytes: int, max_ratio: float
) -> pathlib.Path:
    """Unpacks an archive into a new folder, completely or not at all.

    Args:
      path: path of a zip, tar or tar.gz, detected by content.
      into: folder to create; it must not exist, and appears only when everything is written.
      max_members: maximum number of files and folders.
      max_bytes: maximum size of all files together.
      max_ratio: maximum number of bytes written per byte of the archive.

    Returns:
      `into`.

    Raises:
      UnsafeArchiveError: the file is not an archive, is damaged or encrypted, exceeds a limit, or has a member that is neither
        a file nor a folder, or whose name is absolute, contains '..', or is not unique.
      FileExistsError: `into` exists.
    """
    path, into = pathlib.Path(path), pathlib.Path(into)
    if into.exists():
        raise FileExistsError(f"{into} exists, and {path} would be unpacked into it. Remove it.")
    limit = min(max_bytes, int(max_ratio * path.stat().st_size))
    into.parent.mkdir(parents=True, exist_ok=True)
    partial = into.with_name(f".{into.name}.{uuid.uuid4().hex}")
    partial.mkdir()
    try:
        with _open(path, limit) as members:
            left = limit
            for count, (name, kind, open_member) in enumerate(members, 1):
                if count > max_members:
                    raise UnsafeArchiveError(f"{path} has more than {max_members} members. Get the official file.")
                _check(path, name, kind)
                try:
                    target = partial / name
                    (target if kind == "folder" else target.parent).mkdir(parents=True, exist_ok=True)
                    if kind == "file":
                        with open_member() as source, target.open("xb") as sink:
                            left = _copy(path, source, sink, left, limit)
                except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                    raise UnsafeArchiveError(f"{path} has {name!r} twice. Get the official file.") from error
        partial.rename(into)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return into


def refuse_web_page(path: pathlib.Path) -> None:
    """Raises UnsafeArchiveError if a file is a web page, which some servers send instead of an archive."""
    with path.open("rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head")):
        raise UnsafeArchiveError(
            f"{path} is a web page, not an archive. Open its address in a browser and save the archive."
        )


def _check(path: pathlib.Path, name: str, kind: str) -> None:
    # A backslash or a drive letter leaves the folder on Windows.
    parts = name.removesuffix("/").split("/")
    if "\\" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts):
        raise UnsafeArchiveError(f"{path} has the unsafe name {name!r}. Get the official file.")
    if kind not in ("file", "folder"):
        raise UnsafeArchiveError(f"{path} has {name!r}, a {kind} instead of a file or folder. Get the official file.")


def _copy(path: pathlib.Path, source: IO[bytes], sink: IO[bytes], left: int, limit: int) -> int:
    """Copies at most `left` bytes; returns the number of bytes that may still be written."""
    while chunk := source.read(_CHUNK):
        left -= len(chunk)
        if left < 0:
            raise UnsafeArchiveError(f"{path} unpacks to more than {limit} bytes. Get the official file.")
        sink.write(chunk)
    return left


@contextlib.contextmanager
def _open(path: pathlib.Path, limit: int) -> Iterator[Iterator[_Member]]:
    """Yields the members; an error while reading becomes an UnsafeArchiveError that names the archive."""
    refuse_web_page(path)
    with path.open("rb") as file:
        start = file.read(8)
    try:
        with contextlib.ExitStack() as stack:
            if start.startswith(b"PK"):
                archive = stack.enter_context(zipfile.ZipFile(path))
                yield (_zip_member(archive, info) for info in archive.infolist())
                return
            plain = stack.enter_context(path.open("rb"))
            if start.startswith(b"\x1f\x8b"):  # gzip, decompressed to a file, whose size limits how much tarfile reads
                plain = stack.enter_context(tempfile.TemporaryFile())
                # Headers and padding can double the size of small files.
                tar_limit = 2 * limit + 4 * _CHUNK
                _copy(path, stack.enter_context(gzip.open(path, "rb")), plain, tar_limit, tar_limit)
                plain.seek(0)
            archive = stack.enter_context(tarfile.open(mode="r:", fileobj=plain))
            yield (_tar_member(archive, info) for info in archive if info.name not in (".", "./"))
    # zipfile raises RuntimeError for an encrypted member, NotImplementedError for an unknown compression.
    except (
        *(zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile),
        *(EOFError, RuntimeError, NotImplementedError, MemoryError, OverflowError),
    ) as error:
        raise UnsafeArchiveError(f"{path} cannot be read as a zip or tar ({error}). Download it again.") from error


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    mode = info.external_attr >> 16  # Unix file mode
    kind = "folder" if info.is_dir() else "file"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "link or special file"
    return info.filename, kind, lambda: archive.open(info)


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    kind = "file" if info.isreg() else "folder" if info.isdir() else "link or special file"
    return info.name.removeprefix("./"), kind, lambda: archive.extractfile(info)
