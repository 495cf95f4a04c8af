"""Files of weights -> arrays by name, whatever wrote them; nothing in a file is ever run.

A file may come from anywhere, so its readers keep to one rule: every size that a file claims is held against the real size
of the file before memory is taken, and what is not understood is refused.
"""

import os
import stat

from refinenet_jax.errors import require_extra
from refinenet_jax.weights import flat, pytorch, zips
from refinenet_jax.weights.weights_file import WeightsError, WeightsFile

# The integer 0x1950a86a20f9469cfc6c as a pickle holds it: how PyTorch's files began before 1.6.
_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_MAT_V5_ENDINGS = (b"\x00\x01IM", b"\x01\x00MI")  # version and byte order, the last four of the 128 bytes of header

# What else people download by mistake: first bytes, what they are, what to do.
_STRANGERS = (
    (
        b"version https://git-lfs",
        "is a pointer of Git LFS, not the file itself",
        "Run `git lfs pull` where it comes from",
    ),
    (b"<", "is a web page or XML", "Download the file itself; the link may lead to a page that asks something first"),
    (b"\x1f\x8b", "is packed with gzip", "Unpack it with gunzip or tar -xzf, and give the file inside"),
    (b"BZh", "is packed with bzip2", "Unpack it with bunzip2 or tar -xjf, and give the file inside"),
    (b"\xfd7zXZ", "is packed with xz", "Unpack it with unxz or tar -xJf, and give the file inside"),
    (b"Rar!", "is a RAR archive", "Unpack it, and give the file inside"),
    (b"7z\xbc\xaf", "is a 7-Zip archive", "Unpack it, and give the file inside"),
    (
        b"\x93NUMPY",
        "is one array of NumPy without a name",
        "Save all arrays by name: numpy.savez('weights.npz', **arrays)",
    ),
)
_TFLITE_MAGIC = b"TFL3"
_KNOWN = "PyTorch's .pth, .safetensors, .npz, TFLite's .tflite and MatConvNet's .mat are understood"


def read(path: str | os.PathLike) -> WeightsFile:
    """Reads what a file of weights holds; its format is recognized by its content, never by its name.

    Raises:
      WeightsError: there is no such file, it is of no known kind, damaged, or holds more than arrays and plain values.
    """
    head = _head(path)
    if head.startswith(b"PK"):
        return pytorch.read_pytorch(path) if zips.is_pytorch(path) else flat.read_npz(path)
    if _LEGACY_MAGIC in head[:32] or head[257:262] == b"ustar":
        return pytorch.read_pytorch(path)
    if _HDF5_MAGIC in (head[:8], head[512:520]) or head.startswith(b"MATLAB") or head[124:128] in _MAT_V5_ENDINGS:
        from refinenet_jax.weights import matconvnet  # loads h5py

        return matconvnet.read_matconvnet(path)
    if head[4:8] == _TFLITE_MAGIC:
        with require_extra("export", f"{path} is a TFLite file, which"):
            from refinenet_jax.weights import tflite
        return tflite.read_tflite(path)
    if head[8:9] == b"{":
        return flat.read_safetensors(path)
    for start, what, cure in _STRANGERS:
        if head.lstrip().startswith(start):
            raise WeightsError(f"{path} {what}. {cure}.")
    if head.startswith(b"\x80"):
        raise WeightsError(
            f"{path} is a pickle of Python, not a file of PyTorch. Pickles may run anything, so it is not opened; where it"
            " was made, save the arrays with numpy.savez or the weights with torch.save(model.state_dict(), 'weights.pth')."
        )
    raise WeightsError(f"{path} is no file of weights: it starts with {head[:16]!r}. {_KNOWN}.")


def _head(path: str | os.PathLike) -> bytes:
    """The first 1 KiB."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise WeightsError(f"{path} is a folder. Give the file of weights in it.")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe may wait for ever
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
