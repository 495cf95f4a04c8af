"""Unpacking archives that somebody else made: nothing lands outside the folder, and nothing grows without bound.

`zipfile` and `tarfile` already drop or mend names that leave the folder, but silently, and a frame that lands elsewhere is
a frame that is missing. Here every odd name is refused, by name, and the limits count the bytes that really come out of the
decompressor: the sizes that an archive states are part of what is not trusted.
"""

import bz2
import contextlib
import dataclasses
import gzip
import lzma
import os
import pathlib
import shutil
import stat
import tarfile
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

_CHUNK = 1 << 20
# tarfile reads long names and other headers in one piece; the true ones have some hundred bytes.
_LONGEST_READ = 4 << 20
_DECOMPRESSORS = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


class UnsafeArchiveError(ValueError):
    """The archive is broken, over a limit, or holds a member that may not be unpacked."""


@dataclasses.dataclass(frozen=True)
class _Member:
    """One entry of an archive, whatever its format. `kind` is 'file', 'folder' or what else it claims to be."""

    name: str
    kind: str
    open: Callable[[], IO[bytes]]


def safe_extract(
    path: str | os.PathLike, into: str | os.PathLike, *, max_members: int, max_bytes: int, max_ratio: float
) -> pathlib.Path:
    """Unpacks an archive into a new folder, whole or not at all.

    Args:
      path: The archive: zip, tar, tar.gz, tar.bz2 or tar.xz, told by content.
      into: The folder to make. It must not exist: it appears, complete, once the last byte is written.
      max_members: The most files and folders the archive may list.
      max_bytes: The most bytes its files may unpack to, all together.
      max_ratio: The most bytes that may come out for each byte of the archive on disk.

    Returns:
      `into`.

    Raises:
      UnsafeArchiveError: The archive is none, damaged or encrypted, goes over a limit, or has a member with an absolute
        name, with '..', with a name seen before, or one that is neither a file nor a folder.
      FileExistsError: `into` exists.
    """
    path, into = pathlib.Path(path), pathlib.Path(into)
    if into.exists():
        raise FileExistsError(f"{into} exists; unpacking {path} would mix with what is in it.")
    limit = min(max_bytes, int(max_ratio * path.stat().st_size))
    too_large = (
        f"{path} unpacks to more than {limit} bytes, the limit ({max_bytes} bytes in all, "
        f"{max_ratio:g} for each byte of the archive)"
    )
    into.parent.mkdir(parents=True, exist_ok=True)
    partial = into.with_name(f".{into.name}.{uuid.uuid4().hex}")
    partial.mkdir()
    try:
        with _open(path, limit, too_large) as members:
            kinds: dict[str, str] = {}
            written = 0
            for count, member in enumerate(members, 1):
                if count > max_members:
                    raise UnsafeArchiveError(f"{path} lists more than {max_members} members, the limit.")
                _check_name(path, member, kinds)
                target = partial / member.name
                if member.kind == "folder":
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as source, target.open("xb") as sink:
                    while chunk := source.read(_CHUNK):
                        written += len(chunk)
                        if written > limit:
                            raise UnsafeArchiveError(f"{too_large}; stopped in {member.name!r}.")
                        sink.write(chunk)
        partial.rename(into)
    finally:
        # After the rename there is nothing left here; before it, this is the half that must not stay.
        shutil.rmtree(partial, ignore_errors=True)
    return into


def _check_name(path: pathlib.Path, member: _Member, kinds: dict[str, str]) -> None:
    """Raises UnsafeArchiveError, naming the member, unless it can be unpacked beside those before it.

    `kinds` says of each name up to now, folders above a file included, whether it is a file or a folder.
    """
    # A backslash or a drive letter is a plain character here and a way out of the folder on Windows.
    parts = member.name.removesuffix("/").split("/")
    if member.name.startswith("/") or "\\" in member.name or ":" in parts[0]:
        raise UnsafeArchiveError(f"{path} holds {member.name!r}: an absolute name or one for another system.")
    if any(part in ("", ".", "..") for part in parts):
        raise UnsafeArchiveError(f"{path} holds {member.name!r}: a name with an empty part, '.' or '..'.")
    if member.kind not in ("file", "folder"):
        raise UnsafeArchiveError(f"{path} holds {member.name!r}: a {member.kind}, neither a file nor a folder.")
    # Some file systems do not tell a from A: there the second would overwrite the first.
    parts = [part.casefold() for part in parts]
    if member.kind == kinds.get("/".join(parts)) == "file":
        raise UnsafeArchiveError(f"{path} holds {member.name!r} twice (up to upper and lower case).")
    for depth in range(1, len(parts) + 1):
        name = "/".join(parts[:depth])
        kind = member.kind if depth == len(parts) else "folder"
        if kinds.setdefault(name, kind) != kind:
            raise UnsafeArchiveError(f"{path} holds {name!r} both as a file and as a folder.")


@contextlib.contextmanager
def _open(path: pathlib.Path, limit: int, too_large: str) -> Iterator[Iterator[_Member]]:
    """Yields the members one by one; what goes wrong in reading them becomes an UnsafeArchiveError naming the archive."""
    with path.open("rb") as file:
        start = file.read(512)
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith((b"<!doctype html", b"<html", b"<head")):
        raise UnsafeArchiveError(
            f"{path} is a web page, not an archive. Google Drive answers so where a file was downloaded too often or asks to "
            "be confirmed, others where it is gone. Delete it, open its address in a browser and save what that offers."
        )
    try:
        if start.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                yield (_zip_member(archive, info) for info in archive.infolist())
        else:
            decompress = next((d for magic, d in _DECOMPRESSORS.items() if start.startswith(magic)), open)
            with (
                decompress(path, "rb") as plain,
                tarfile.open(mode="r:", fileobj=_Limited(plain, limit, too_large)) as archive,
            ):
                yield (_tar_member(archive, info) for info in archive if info.name not in (".", "./"))
    # RuntimeError is zipfile's word for a member that needs a password, NotImplementedError for an unknown compression.
    except (
        *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError),
        *(EOFError, RuntimeError, NotImplementedError, gzip.BadGzipFile),
    ) as error:
        raise UnsafeArchiveError(
            f"{path} cannot be read as a zip or tar: {error}. It may be cut short: delete it and get it again."
        ) from error


class _Limited:
    """A file for tarfile, which reads what headers claim and skips by decompressing: both count here."""

    def __init__(self, file: IO[bytes], limit: int, too_large: str):
        self._file, self._limit, self._too_large = file, limit, too_large
        self.tell = file.tell

    def seek(self, position: int, *args: int) -> int:
        self._check(position)
        return self._file.seek(position, *args)

    def read(self, size: int = _LONGEST_READ) -> bytes:
        if size > _LONGEST_READ:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        self._check(self._file.tell() + size)
        return self._file.read(size)

    def _check(self, position: int) -> None:
        # Headers and padding of small files can double what they hold.
        if position > 2 * self._limit + _LONGEST_READ:
            raise UnsafeArchiveError(f"{self._too_large}.")


def _zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Member:
    """The kind is that of the Unix mode in the entry."""
    mode = info.external_attr >> 16
    kind = "folder" if info.is_dir() else "file"
    if stat.S_ISLNK(mode):
        kind = "symbolic link"
    elif stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "special file"
    return _Member(info.filename, kind, lambda: archive.open(info))


def _tar_member(archive: tarfile.TarFile, info: tarfile.TarInfo) -> _Member:
    """Tar of a folder's content begins every name with './', which means nothing."""
    kind = "special file"
    if info.isreg():
        kind = "file"
    elif info.isdir():
        kind = "folder"
    elif info.issym() or info.islnk():
        kind = "symbolic link" if info.issym() else "hard link"
    return _Member(info.name.removeprefix("./"), kind, lambda: archive.extractfile(info))
