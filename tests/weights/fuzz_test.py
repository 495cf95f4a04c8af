"""Thousands of damaged files: each is refused, or read within bounds that follow from its size.

The checksums of zip files would stop most damage before the readers see it, so some changes are made before the file is
written. FUZZ_CASES in the environment sets the number of files per kind.
"""

import functools
import io
import json
import os
import random
import resource
import struct
import time
import zipfile

import matlab_files
import numpy as np
import pytest
import safetensors.numpy
import tflite_files
import torch_files
from torch_files import build, call

from refinenet_jax.weights import files

CASES = int(os.environ.get("FUZZ_CASES", "200"))
SECONDS, MIBIBYTES = 5, 200  # that one file, and all of them, may take

ARRAYS = {
    "module.conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "module.turned": np.arange(6.0).reshape(2, 3).T,
    "module.count": np.array(7, np.int64),
}
NUMBERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFF]
NUMBERS += [(1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1]
WORDS = [bytes([code]) for code in b"(RbQteus20.\x93\x8e\x8d\x8brj}]"]
WORDS += [b"cos\nsystem\n", b"ctorch\nSize\n", b"cnumpy\ndtype\n"]
WORDS += [b"-1", b"1e9", b"[]", b'"F64"', b"'|O'", b"99999999999", b"null"]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The bytes after one to four changes."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        place, length = rng.randrange(len(changed) + 1), rng.choice([1, 1, 2, 4, 8, 32])
        match rng.randrange(7):
            case 0 if place < len(changed):
                changed[place] ^= 1 << rng.randrange(8)
            case 1:
                changed[place : place + length] = rng.randbytes(length)
            case 2:
                changed[place : place + length] = b""
            case 3:
                changed[place:place] = changed[rng.randrange(len(changed) + 1) :][:length]
            case 4:
                size = rng.choice([1, 2, 4, 8])
                number = rng.choice(NUMBERS) & ((1 << 8 * size) - 1)
                changed[place : place + size] = number.to_bytes(size, "little")
            case 5:
                changed[place:place] = rng.choice(WORDS)
            case 6 if rng.random() < 0.2:
                del changed[place:]
    return bytes(changed)


def pytorch_pickle(rng: random.Random, legacy: bool) -> bytes:
    number = build(call("numpy.dtype", "f8", False, True), (3, "<", None, None, None, -1, -1, 0))
    content = {
        "state_dict": torch_files.tensors(ARRAYS, legacy),
        "best": call("numpy.core.multiarray.scalar", number, call("_codecs.encode", "abcdefgh", "latin1")),
        "args": build(call("argparse.Namespace"), {"lr": 0.1, "size": call("torch.Size", (2, 3))}),
    }
    return mutated(torch_files.pickled(content), rng)


def pytorch_zip(rng: random.Random, path) -> None:
    torch_files.write_zip(
        path, pytorch_pickle(rng, False), {str(i): a.tobytes() for i, a in enumerate(ARRAYS.values())}
    )


def pytorch_legacy(rng: random.Random, path) -> None:
    storages = {str(i): (array.size, array.tobytes()) for i, array in enumerate(ARRAYS.values())}
    torch_files.write_legacy(path, pytorch_pickle(rng, True), storages)


def whole_pytorch_zip(rng: random.Random, path) -> None:
    path.write_bytes(mutated(torch_files.write(path, ARRAYS, legacy=False).read_bytes(), rng))


def whole_pytorch_legacy(rng: random.Random, path) -> None:
    path.write_bytes(mutated(torch_files.write(path, ARRAYS, legacy=True).read_bytes(), rng))


def npz(rng: random.Random, path) -> None:
    with zipfile.ZipFile(path, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, array in ARRAYS.items():
            file = io.BytesIO()
            np.save(file, array)
            archive.writestr(f"{name}.npy", mutated(file.getvalue(), rng) if rng.random() < 0.5 else file.getvalue())


def whole_npz(rng: random.Random, path) -> None:
    with open(path, "wb") as file:
        rng.choice([np.savez, np.savez_compressed])(file, **ARRAYS)
    path.write_bytes(mutated(path.read_bytes(), rng))


def safetensors_header(rng: random.Random, path) -> None:
    data = b"".join(array.tobytes() for array in ARRAYS.values())
    entries, begin = {"__metadata__": {"license": "none"}}, 0
    for name, array in ARRAYS.items():
        kind = {"f4": "F32", "f8": "F64", "i8": "I64"}[array.dtype.str[1:]]
        entries[name] = {"dtype": kind, "shape": array.shape, "data_offsets": [begin, begin + array.nbytes]}
        begin += array.nbytes
    header = mutated(json.dumps(entries).encode(), rng)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)


def whole_safetensors(rng: random.Random, path) -> None:
    path.write_bytes(mutated(safetensors.numpy.save(ARRAYS, {"license": "none"}), rng))


@functools.cache
def mobilenet() -> tuple[bytes, bytes]:
    """A TFLite file: its weights, which are written first, and all else."""
    content = tflite_files.mobilenet(half=True)
    return content[:-27_500], content[-27_500:]


def tflite(rng: random.Random, path) -> None:
    weights, rest = mobilenet()
    path.write_bytes(weights + mutated(rest, rng))


def _matlab(write, rng: random.Random, path) -> None:
    write(path, matlab_files.net_config())
    path.write_bytes(mutated(path.read_bytes(), rng))


def matlab_v73(rng: random.Random, path) -> None:
    _matlab(functools.partial(matlab_files.write_v73, chunks=True, compression="gzip"), rng, path)


def matlab_v7(rng: random.Random, path) -> None:
    _matlab(functools.partial(matlab_files.write_v7, compressed=rng.random() < 0.5), rng, path)


KINDS = [pytorch_zip, pytorch_legacy, whole_pytorch_zip, whole_pytorch_legacy]
KINDS += [npz, whole_npz, safetensors_header, whole_safetensors, tflite, matlab_v73, matlab_v7]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.filterwarnings("ignore")  # of zipfile and NumPy, about what is refused next
def test_damaged_files_are_refused_or_read_in_bounds(tmp_path, kind):
    path = tmp_path / "weights"
    files.read(torch_files.write(path, ARRAYS, legacy=True))  # for what is imported only then
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read = 0
    for case in range(CASES // 5 if kind in (matlab_v73, matlab_v7) else CASES):
        kind(random.Random(case), path)
        start = time.monotonic()
        message = None
        try:
            file = files.read(path)
            total = sum(np.asarray(file.arrays[name]).nbytes for name in file.arrays)
        except files.WeightsError as error:
            message = str(error)
        if message is None:
            read += 1
            assert total < (2 << 20) + 3 * path.stat().st_size, case
            json.dumps(file.facts)
        else:
            assert str(path) in message, case
            assert len(message) < 1500, case
        assert time.monotonic() - start < SECONDS, case
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MIBIBYTES << 10
    assert read < CASES  # the changes do change something


class _Unchanged(random.Random):
    """Makes no changes."""

    def randint(self, low: int, high: int) -> int:
        return 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_truncated_files_are_refused(tmp_path, kind):
    path = tmp_path / "weights"
    kind(_Unchanged(0), path)
    whole = path.read_bytes()
    assert files.read(path).arrays
    for length in {*range(0, len(whole) - 1, 1 + len(whole) // 9), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(files.WeightsError):
            files.read(path)
