"""Files are recognized by their content; safetensors and npz files give their arrays, and are refused where they lie."""

import json
import os
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch_files

from refinenet_jax.weights import files
from refinenet_jax.weights.weights_file import WeightsFile

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "double": np.array([1.5, -2]),
    "half": np.array([[0.5]], np.float16),
    "count": np.array(7, np.int64),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
}


def assert_holds(file: WeightsFile, arrays: dict) -> None:
    assert set(file.arrays) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(file.arrays[name], array, strict=True)


def assert_refused(path: Path, match: str) -> None:
    with pytest.raises(files.WeightsError, match=match) as error:
        files.read(path)
    assert str(path) in str(error.value)
    assert len(str(error.value)) < 1000


def test_format_is_recognized_by_content_and_not_by_name(tmp_path):
    safetensors.numpy.save_file(ARRAYS, tmp_path / "a.npz")
    torch_files.write(tmp_path / "b.safetensors", {"a": ARRAYS["half"]}, legacy=False)
    torch_files.write(tmp_path / "c.mat", {"a": ARRAYS["half"]}, legacy=True)
    with open(tmp_path / "d.pth", "wb") as file:
        np.savez(file, **ARRAYS)
    formats = [files.read(path).format for path in sorted(tmp_path.iterdir())]
    assert formats == ["safetensors", "PyTorch (zip)", "PyTorch (legacy)", "npz"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>Quota exceeded</html>", "web page"),
        (b"\x1f\x8b\x08\x00", "is an archive"),
        (b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00]\x94.", "is a pickle of Python"),
        (b"hello", "no file of weights"),
        (b"PK\x03\x04 and nothing", "damaged zip"),
        (b"PK\x05\x06" + bytes(18), "unpack it: nothing"),
    ],
)
def test_other_kinds_of_files_are_named(tmp_path, content, match):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    assert_refused(path, match)


def test_paths_without_a_regular_file_are_refused(tmp_path):
    assert_refused(tmp_path / "nothing", "does not exist")
    assert_refused(tmp_path, "is a folder")
    os.mkfifo(tmp_path / "pipe")
    assert_refused(tmp_path / "pipe", "no ordinary file")


# ---- safetensors


def test_safetensors_give_arrays_and_metadata(tmp_path):
    arrays = ARRAYS | {"b": np.array([1.0, -2.5], ml_dtypes.bfloat16)}
    safetensors.numpy.save_file(arrays, tmp_path / "w", {"license": "CC BY-NC 4.0"})
    file = files.read(tmp_path / "w")
    assert_holds(file, arrays)
    assert file.facts == {"license": "CC BY-NC 4.0"}


def _safetensors(path: Path, header: object, data: bytes = b"", size: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if size is None else size) + text + data)
    return path


def _entry(shape: list, begin: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": _entry([2], 0, 8), "b": _entry([2], 4, 12)}, 12),  # overlap
        ({"a": _entry([2], 0, 8)}, 12),  # more than is listed
        ({"a": _entry([2], 0, 8)}, 4),  # cut
        ({"a": _entry([1 << 62, 1 << 62], 0, 8)}, 8),
        ({"a": _entry([0, 1 << 62, 1 << 62], 0, 0)}, 0),
        ({"a": _entry([1] * 100, 0, 4)}, 4),
        ({"a": _entry([8], 0, 8, "F8_E4M3")}, 8),  # NumPy lacks it
        (b"{" * 10_000, 0),
    ],
)
def test_safetensors_headers_that_do_not_fit_the_data_are_refused(tmp_path, header, data):
    assert_refused(_safetensors(tmp_path / "w", header, bytes(data)), "damaged")


@pytest.mark.parametrize(
    ("size", "match"), [(1000, "damaged"), (1 << 30, "list of arrays"), ((1 << 64) - 1, "list of arrays")]
)
def test_a_safetensors_header_of_a_wrong_size_is_refused(tmp_path, size, match):
    assert_refused(_safetensors(tmp_path / "w", {}, size=size), match)


# ---- npz


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_gives_arrays_of_either_order(tmp_path, save):
    arrays = ARRAYS | {"fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "big": np.arange(3, dtype=">i4")}
    with open(tmp_path / "w", "wb") as file:
        save(file, **arrays)
    assert_holds(files.read(tmp_path / "w"), arrays)


class Touch:
    """Creates a file if it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_npz_with_anything_but_numbers_is_refused(tmp_path):
    arrays = [np.array([Touch(tmp_path / "canary")], object), np.array([(1, 2.0)], [("a", "i4"), ("b", "f4")])]
    arrays += [np.array(["a", "b"]), np.array([b"a"]), np.array("text"), np.array([1j])]
    arrays += [np.array(["2020-01-01"], "datetime64[D]"), np.ones(2, ml_dtypes.bfloat16)]
    for array in arrays:
        with open(tmp_path / "w", "wb") as file:
            np.savez(file, good=np.ones(2), bad=array)
        assert_refused(tmp_path / "w", "'bad' .*numbers")
    assert not (tmp_path / "canary").exists()


def _npy(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def _npz(path: Path, members: list[tuple[str, bytes]], packing: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def _header(shape: object, descr: object = "<f4") -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}\n"


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    "member",
    [
        _npy(_header((1 << 40,)), bytes(8)),
        _npy(_header((3,)), bytes(8)),
        _npy(_header((1,)), bytes(8)),
        _npy(_header((0, 1 << 62))),
        _npy(_header((1,) * 100), bytes(4)),
        _npy(_header((1,), "|O"), b"cos\nsystem\n"),
        _npy(_header((1,), [("a", "<f4")]), bytes(4)),
        _npy(_header((1,), ("<f4", (1 << 20, 1 << 20))), bytes(4)),
        _npy(_header((1,), "rubbish"), bytes(4)),
        _npy("__import__('os')\n"),
        _npy("(" * 3000 + ")" * 3000 + "\n"),
        _npy("[" * 1500 + "]" * 1500 + "\n"),
        _npy("-" * 3000 + "1\n"),
        _npy(_header((1,)) + " " * 60_000, bytes(4)),
        b"\x93NUMPY\x01\x00\xff\xff",
        b"",
    ],
)
def test_npz_members_that_do_not_fit_their_data_are_refused(tmp_path, member, packing):
    assert_refused(_npz(tmp_path / "w", [("a.npy", member)], packing), "(?s)'a' .*(never loaded|not real numbers)")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_npz_archives_that_are_ambiguous_or_unpack_to_too_much_are_refused(tmp_path):
    for members, match in (
        ([("a.npy", bytes(20 << 20))], "would unpack to"),
        ([(f"{i}.npy", bytes(1 << 20)) for i in range(20)], "would unpack to"),
        ([("a.npy", b""), ("a.npy", b"")], "twice"),
        ([("a.npy", b""), ("readme.txt", b"")], "neither of PyTorch"),
    ):
        assert_refused(_npz(tmp_path / "w", members, zipfile.ZIP_DEFLATED), match)


def test_a_packed_member_that_unpacks_to_more_than_it_claims_is_refused(tmp_path):
    path = _npz(tmp_path / "w", [("a.npy", _npy(_header((1 << 20,)), bytes(4 << 20)))], zipfile.ZIP_DEFLATED)
    whole = bytearray(path.read_bytes())
    for magic, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<I", whole, whole.index(magic) + place, 1000)
    path.write_bytes(whole)
    assert_refused(path, "CRC")
