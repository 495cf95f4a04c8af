"""Unpacking archives that somebody else made: nothing lands outside the folder, and nothing grows without bound.

`zipfile` already drops `..` and absolute names, but silently, and a frame that lands elsewhere is a frame that is
missing. Here every odd name is refused, by name, and the limits count the bytes that really come out of the
decompressor: the sizes that an archive states are part of what is not trusted.
"""

import contextlib
import dataclasses
import os
import pathlib
import shutil
import stat
import uuid
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO

_CHUNK = 1 << 20


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
      path: The archive; zip.
      into: The folder to make. It must not exist: it appears, complete, once the last byte is written.
      max_members: The most files and folders the archive may list.
      max_bytes: The most bytes its files may unpack to, all together.
      max_ratio: The most bytes that may come out for each byte of the archive on disk.

    Returns:
      `into`.

    Raises:
      UnsafeArchiveError: The archive is damaged or encrypted, goes over a limit, or has a member with an absolute name,
        with '..', with a name seen before, or one that is neither a file nor a folder.
      FileExistsError: `into` exists.
    """
    path, into = pathlib.Path(path), pathlib.Path(into)
    if into.exists():
        raise FileExistsError(f"{into} exists; unpacking {path} would mix with what is in it.")
    byte_limit = min(max_bytes, int(max_ratio * path.stat().st_size))
    into.parent.mkdir(parents=True, exist_ok=True)
    partial = into.with_name(f".{into.name}.{uuid.uuid4().hex}")
    partial.mkdir()
    try:
        with _open_zip(path) as members:
            if len(members) > max_members:
                raise UnsafeArchiveError(f"{path} lists {len(members)} members; the limit is {max_members}.")
            _check_names(path, members)
            written = 0
            for member in members:
                target = partial / member.name
                if member.kind == "folder":
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as source, target.open("xb") as sink:
                    while chunk := source.read(_CHUNK):
                        written += len(chunk)
                        if written > byte_limit:
                            raise UnsafeArchiveError(
                                f"{path} unpacks to more than {byte_limit} bytes, the limit ({max_bytes} bytes in all, "
                                f"{max_ratio:g} for each byte of the archive); stopped in {member.name!r}."
                            )
                        sink.write(chunk)
        partial.rename(into)
    finally:
        # After the rename there is nothing left here; before it, this is the half that must not stay.
        shutil.rmtree(partial, ignore_errors=True)
    return into


def _check_names(path: pathlib.Path, members: list[_Member]) -> None:
    """Raises UnsafeArchiveError, naming the member, unless all can be unpacked below one folder side by side."""
    kinds: dict[str, str] = {}
    for member in members:
        # A backslash or a drive letter is a plain character here and a way out of the folder on Windows.
        parts = member.name.removesuffix("/").split("/")
        if member.name.startswith("/") or "\\" in member.name or ":" in parts[0]:
            raise UnsafeArchiveError(f"{path} holds {member.name!r}: an absolute name or one for another system.")
        if any(part in ("", ".", "..") for part in parts):
            raise UnsafeArchiveError(f"{path} holds {member.name!r}: a name with an empty part, '.' or '..'.")
        if member.kind not in ("file", "folder"):
            raise UnsafeArchiveError(f"{path} holds {member.name!r}: a {member.kind}, neither a file nor a folder.")
        # Some file systems do not tell a from A: there the second would overwrite the first.
        name = "/".join(parts).casefold()
        if name in kinds:
            raise UnsafeArchiveError(f"{path} holds {member.name!r} twice (up to upper and lower case).")
        kinds[name] = member.kind
    for name in kinds:
        for parent in pathlib.PurePosixPath(name).parents:
            if kinds.get(str(parent)) == "file":
                raise UnsafeArchiveError(f"{path} holds {str(parent)!r} both as a file and as a folder.")


@contextlib.contextmanager
def _open_zip(path: pathlib.Path) -> Iterator[list[_Member]]:
    """Yields the members of a zip; what goes wrong in reading them becomes an UnsafeArchiveError naming the archive.

    Another format is another such function: a list of members, each with a way to open it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield [
                _Member(info.filename, _zip_kind(info), lambda info=info: archive.open(info))
                for info in archive.infolist()
            ]
    # RuntimeError is zipfile's word for a member that needs a password, NotImplementedError for an unknown compression.
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise UnsafeArchiveError(
            f"{path} cannot be read as a zip: {error}. It may be cut short: delete it and get it again."
        ) from error


def _zip_kind(info: zipfile.ZipInfo) -> str:
    """'folder', 'file', or the name of the special file that the Unix mode in the entry asks for."""
    mode = info.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "symbolic link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "special file"
    return "folder" if info.is_dir() else "file"
