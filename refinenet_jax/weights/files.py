"""Reads files of weights of any supported format as arrays by name; nothing in a file is ever run.

A file may come from anywhere, so its readers keep to one rule: every size that a file declares is compared with the real size
of the file before memory is allocated, and what is not understood is refused.
"""

import collections
import io
import os
import stat
import zipfile

from refinenet_jax.errors import require_extra
from refinenet_jax.weights import flat, pytorch
from refinenet_jax.weights.weights_file import WeightsError, WeightsFile

# The integer 0x1950a86a20f9469cfc6c as a pickle holds it: how PyTorch's files began before 1.6.
_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_MAT_V5_ENDINGS = (b"\x00\x01IM", b"\x01\x00MI")  # version and byte order, the last four of the 128 bytes of header

# What else people download by mistake: first bytes, what they are, what to do.
_OTHER_FORMATS = (
    (b"version https://git-lfs", "is a pointer of Git LFS", "Run `git lfs pull` where it comes from"),
    (b"<", "is a web page or XML", "Download the file itself; the link may lead to a page that asks something first"),
    ((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"Rar!", b"7z"), "is an archive", "Unpack it, and give the file inside"),
    (b"\x80", "is a pickle of Python, which may run anything", "Where it was made, save the arrays with numpy.savez"),
)
# The list of members of a zip file may take this much: 40,000 members with names of 60 letters. A network has about 1,000.
_MAX_LIST_BYTES = 4 << 20
# Weights hardly shrink by packing. Small arrays may hold nothing but zeros, hence the free part.
_MAX_RATIO, _FREE_BYTES = 20, 16 << 20
_KNOWN = "PyTorch's .pth, .safetensors, .npz, TFLite's .tflite and MatConvNet's .mat are understood"


def read(path: str | os.PathLike) -> WeightsFile:
    """Reads a file of weights; its format is recognized by its content, never by its name.

    Raises:
      WeightsError: there is no such file, it is of no known kind, damaged, or holds more than arrays and plain values.
    """
    head = _head(path)
    if head.startswith(b"PK"):
        return _read_zip(os.fspath(path))
    if _LEGACY_MAGIC in head[:32]:
        return pytorch.read_legacy(os.fspath(path))
    if _HDF5_MAGIC in (head[:8], head[512:520]) or head.startswith(b"MATLAB") or head[124:128] in _MAT_V5_ENDINGS:
        from refinenet_jax.weights import matconvnet  # loads h5py

        return matconvnet.read_matconvnet(path)
    if head[4:8] == b"TFL3":
        with require_extra("export", f"{path} is a TFLite file, which"):
            from refinenet_jax.weights import tflite
        return tflite.read_tflite(path)
    if head[8:9] == b"{":
        return flat.read_safetensors(path)
    for start, what, fix in _OTHER_FORMATS:
        if head.lstrip().startswith(start):
            raise WeightsError(f"{path} {what}. {fix}.")
    raise WeightsError(f"{path} is no file of weights: it starts with {head[:16]!r}. {_KNOWN}.")


def _head(path: str | os.PathLike) -> bytes:
    """Returns the first 1 KiB of a file; raises WeightsError if it cannot be read."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise WeightsError(f"{path} is a folder. Give the file of weights in it.")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe may wait forever
            raise WeightsError(f"{path} is no ordinary file. Copy it into one.")
        with open(path, "rb") as file:
            head = file.read(1024)
    except FileNotFoundError as error:
        raise WeightsError(f"{path} does not exist. Check the path.") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}. Check the path and its permissions.") from error
    if not head:
        raise WeightsError(f"{path} is empty. Download or copy it again.")
    return head


def _read_zip(path: str) -> WeightsFile:
    """Reads a file of PyTorch or NumPy, after a check of the sizes, names and compression in its list of members."""
    file_size = os.path.getsize(path)
    try:
        with _SmallReads(path) as file, zipfile.ZipFile(file) as archive:
            members, names = archive.infolist(), archive.namelist()
            for member in members:
                if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    what = f"{member.filename!r:.100} is encrypted or packed in a rare way"
                    raise WeightsError(f"{path}: {what}. Save it with numpy.savez.")
            total = sum(member.file_size for member in members)
            if total > _FREE_BYTES + _MAX_RATIO * file_size:
                raise WeightsError(
                    f"{path} would unpack to {total:,} bytes from {file_size:,}. Save it with numpy.savez."
                )
            if twice := [name for name, count in collections.Counter(names).items() if count > 1]:
                raise WeightsError(f"{path} holds {twice[0]!r:.100} twice. Download or copy it again.")
            if any(name.endswith("/data.pkl") for name in names):
                return pytorch.read_zip(path, members)
            if names and all(name.endswith(".npy") for name in names):
                return flat.read_npz(path, archive)
    except WeightsError:
        raise
    except Exception as error:  # damaged files fail in many ways
        raise WeightsError(f"{path} is a damaged zip file ({error!s:.200}). Download or copy it again.") from error
    shown = ", ".join(f"{name!r:.100}" for name in names[:4]) or "nothing"
    raise WeightsError(
        f"{path} is a zip file neither of PyTorch nor of NumPy. If weights are in it, unpack it: {shown}."
    )


class _SmallReads(io.FileIO):
    """A file that returns a few MiB per read at most, because zipfile reads the list of members at once, however long."""

    def read(self, size: int = -1) -> bytes:
        if size > _MAX_LIST_BYTES:
            raise zipfile.BadZipFile(f"its list of members takes {size:,} bytes")
        return super().read(_MAX_LIST_BYTES if size < 0 else size)
