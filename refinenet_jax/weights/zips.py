"""The members of a zip file, checked once and for all before any of them is used."""

import contextlib
import dataclasses
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator

from refinenet_jax.weights.weights_file import WeightsError

# The list of members may take this much: 40,000 members with names of 60 letters. A network has about 1,000.
_MAX_LIST_BYTES = 4 << 20
# Weights hardly shrink by packing. Small arrays may hold nothing but zeros, hence the free part.
_MAX_RATIO, _FREE_BYTES = 20, 16 << 20

# What the standard library raises on damaged files, found by fuzzing it.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    ValueError,
)
_AGAIN = "Download or copy it again"


@dataclasses.dataclass(frozen=True)
class Member:
    """Where the bytes of one member lie.

    Attributes:
      offset: in the file.
      size: bytes after unpacking.
      packed_size: bytes in the file.
      is_packed: whether they are deflated; else `size` equals `packed_size`.
    """

    offset: int
    size: int
    packed_size: int
    is_packed: bool


def is_pytorch(path: str | os.PathLike) -> bool:
    """Whether a zip file is PyTorch's rather than NumPy's.

    Raises:
      WeightsError: it is neither, or no whole zip file.
    """
    with opened(path) as archive:
        names = archive.namelist()
    if any(name.endswith("/data.pkl") for name in names):
        return True
    if names and all(name.endswith(".npy") for name in names):
        return False
    shown = ", ".join(f"{name!r:.100}" for name in names[:4]) + (", ..." if len(names) > 4 else "")
    raise WeightsError(
        f"{path} is a zip file, but neither of PyTorch (data.pkl) nor of NumPy (.npy members only); it holds"
        f" {shown or 'nothing'}. If the weights are in it, unpack it and give their file."
    )


def read_members(path: str | os.PathLike) -> dict[str, Member]:
    """Lists the members by name after reading all of them once, in pieces, against their checksums.

    Raises:
      WeightsError: the file is damaged or encrypted; members share a name or bytes, or unpack to far more than the file.
    """
    file_size = os.path.getsize(path)
    with opened(path) as archive:
        infos = archive.infolist()
        for info in infos:
            if info.flag_bits & 0x1:
                raise WeightsError(
                    f"{path}: {info.filename!r:.100} is encrypted. Unpack it with its password, and save it again."
                )
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise WeightsError(f"{path}: {info.filename!r:.100} is packed in a rare way. Save it with numpy.savez.")
        total = sum(info.file_size for info in infos)
        if total > _FREE_BYTES + _MAX_RATIO * file_size:
            raise WeightsError(
                f"{path} would unpack to {total:,} bytes from {file_size:,}; that is no file of weights. If it is, save it"
                " unpacked, with numpy.savez."
            )
        members = {}
        end, last = 0, None
        for info in sorted(infos, key=lambda info: info.header_offset):
            member = _locate(archive.fp, info)
            if info.header_offset < end or member.offset + member.packed_size > file_size:
                raise WeightsError(
                    f"{path}: {info.filename!r:.100} overlaps {last!r:.100} or the end of the file. {_AGAIN}."
                )
            if info.filename in members:
                raise WeightsError(
                    f"{path} holds {info.filename!r:.100} twice, so it is not clear which is meant. {_AGAIN}."
                )
            if not member.is_packed and member.size != member.packed_size:
                raise WeightsError(
                    f"{path}: {info.filename!r:.100} has two sizes, {member.size} and {member.packed_size}. {_AGAIN}."
                )
            members[info.filename] = member
            end, last = member.offset + member.packed_size, info.filename
        damaged = archive.testzip()  # of one name each by now: it looks members up by name
        if damaged is not None:
            raise WeightsError(f"{path}: {damaged!r:.100} does not match its checksum; the file is damaged. {_AGAIN}.")
    return members


def read_member(path: str | os.PathLike, member: Member, size: int | None = None) -> bytearray:
    """The first `size` bytes of a member, unpacked; by default all of them. Fewer where the file has changed."""
    size = member.size if size is None else min(size, member.size)
    with open(path, "rb") as file:
        file.seek(member.offset)
        if not member.is_packed:
            return bytearray(file.read(size))
        unpacked, inflater, left = bytearray(), zlib.decompressobj(-zlib.MAX_WBITS), member.packed_size
        while len(unpacked) < size and left > 0:
            packed = file.read(min(left, 1 << 16))
            left = left - len(packed) if packed else 0
            unpacked += inflater.decompress(packed, size - len(unpacked))
    return unpacked


@contextlib.contextmanager
def opened(path: str | os.PathLike) -> Iterator[zipfile.ZipFile]:
    """Opens a zip file; what is found damaged meanwhile is a WeightsError."""
    try:
        with _SmallReads(path) as file, zipfile.ZipFile(file) as archive:
            yield archive
    except WeightsError:
        raise
    except _DAMAGE as error:
        raise WeightsError(f"{path} is a zip file that is cut short or damaged ({error!s:.200}). {_AGAIN}.") from error


class _SmallReads(io.FileIO):
    """A file that gives no more than a few MiB at once, for zipfile reads the list of members whole, however long."""

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_LIST_BYTES:
            raise zipfile.BadZipFile(f"its list of members takes {size:,} bytes")
        return super().read(_MAX_LIST_BYTES if size < 0 else size)


def _locate(file: io.FileIO, info: zipfile.ZipInfo) -> Member:
    """Where a member's bytes start: behind its own header, whose length the list of members does not tell."""
    file.seek(info.header_offset)
    magic, name_size, extra_size = struct.unpack("<4s22xHH", file.read(30))
    if magic != b"PK\x03\x04":
        raise zipfile.BadZipFile(f"no header before {info.filename!r:.100}")
    return Member(
        offset=info.header_offset + 30 + name_size + extra_size,
        size=info.file_size,
        packed_size=info.compress_size,
        is_packed=info.compress_type == zipfile.ZIP_DEFLATED,
    )
