"""Tests of the MATLAB reader: what scipy reads, it reads; what harms scipy, it refuses at once."""

import io
import pathlib
import struct
import time
import zlib

import numpy as np
import pytest
import scipy.io

from tfds_builders.person_parts import matlab5
from tfds_builders.person_parts.matlab5 import read_variable

DUMMY = pathlib.Path(__file__).parent / "dummy_data" / "trainval" / "Annotations_Part"
REAL = pathlib.Path(__file__).parents[3] / "shared" / "realdata" / "pascal_part"
HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def _saved(value, compress=True):
    content = io.BytesIO()
    scipy.io.savemat(content, {"before": np.zeros(3), "x": value}, do_compression=compress)
    return content.getvalue()


def _assert_as_scipy(ours, theirs):
    if isinstance(ours, list):
        assert theirs.dtype.names
        assert len(ours) == theirs.size
        for item, struct_ in zip(ours, theirs.ravel(order="F"), strict=True):
            assert [*item] == [*struct_.dtype.names]
            for field, value in item.items():
                _assert_as_scipy(value, struct_[field])
    elif isinstance(ours, str):
        assert ours == (theirs[0] if theirs.size else "")
    else:
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3) / 7,
        np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        np.array([[True, False]]),
        np.uint8([[1], [2]]),
        np.empty((0, 0)),
        "lhand",
        "a",
        "",
        np.array([[(1.0, "a"), (2.0, "b")], [(3.0, "c"), (4.0, "d")]], [("number", object), ("a_long_name", object)]),
        np.empty((0, 0), [("part_name", object), ("mask", object)]),
    ],
    ids=["double", "three axes", "logical", "byte", "empty", "text", "letter", "no text", "struct", "empty struct"],
)
def test_reads_what_scipy_writes(value, compress):
    content = _saved(value, compress)
    _assert_as_scipy(read_variable(content, "x"), scipy.io.loadmat(io.BytesIO(content))["x"])


@pytest.mark.parametrize("folder", [DUMMY, REAL], ids=["dummy", "real"])
def test_reads_annotations_as_scipy_does(folder):
    paths = sorted(path for path in folder.glob("*.mat") if not path.name.startswith("."))
    if not paths:
        pytest.skip(f"no annotations of PASCAL-Part in {folder}")
    for path in paths:
        _assert_as_scipy(read_variable(path.read_bytes(), "anno"), scipy.io.loadmat(path)["anno"])


def _element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def _array(array_class, shape, content, name=b"x"):
    shape = _element(5, struct.pack(f"<{len(shape)}i", *shape))
    return _element(14, _element(6, struct.pack("<II", array_class, 0)) + shape + _element(1, name) + content)


def _nested_structs(depth):
    fields = _element(5, struct.pack("<i", 8)) + _element(1, b"x".ljust(8, b"\0"))
    start = _array(2, (1, 1), fields)[8:]  # without type and size of the array, which grow with what is inside
    content = b""
    for _ in range(depth):
        content = struct.pack("<II", 14, len(start) + len(content)) + start + content
    return content


def _refused(content, match):
    start = time.monotonic()
    with pytest.raises(Exception, match=match):
        read_variable(content, "x")
    assert time.monotonic() - start < 5


FIELDS = _element(5, struct.pack("<i", 8)) + _element(1, b"mask".ljust(8, b"\0"))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "no MATLAB 5"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", "no MATLAB 5"),
        (HEADER, "no variable 'x'"),
        (HEADER + _array(6, (1, 1), _element(9, bytes(8)), b"y"), "no variable 'x'"),
        (HEADER + _array(6, (1, 1), _element(9, bytes(16))), "reshape"),
        (HEADER + _array(6, (1, -8), _element(9, bytes(8))), "shape"),
        (HEADER + _array(6, (1, 1), _element(9, bytes(8)) * 2), "more than belongs"),
        (HEADER + _array(6, (1, 1), _element(10, bytes(8))), "10"),
        (HEADER + _array(1, (1, 0), b""), "neither struct, text nor"),
        (HEADER + _array(2, (1, 1), _element(5, struct.pack("<i", 8)) + _element(1, b"")), "without fields"),
        (HEADER + _array(2, (1, 1), FIELDS + _element(9, bytes(8))), "not an array"),
        (HEADER + _array(4, (1, 5000), _element(16, bytes(5000))), "text or shape has 5000 bytes"),
        (HEADER + _array(6, (1,) * 5000, _element(9, bytes(8))), "text or shape has 20000 bytes"),
        (HEADER + struct.pack("<II", 14, 1 << 30), "cut short"),
    ],
)
def test_refuses_what_it_does_not_know(content, match):
    _refused(content, match)


def test_refuses_a_struct_that_claims_more_elements_than_it_has():
    """With these 240 bytes scipy fills 12 GB."""
    _refused(HEADER + _array(2, (1, 1_500_000_000), FIELDS), "ends before all")
    _refused(HEADER + _array(2, (1 << 30, 1 << 30), FIELDS + _element(14, b"")), "ends before all")


def test_refuses_structs_in_structs_without_end():
    """Nested cells as deep end the whole process in scipy."""
    _refused(HEADER + _nested_structs(20_000), "recursion")


def test_refuses_too_many_arrays():
    count = matlab5._MAX_ARRAYS + 1
    _refused(HEADER + _array(2, (1, count), FIELDS + _element(14, b"") * count), "more than 100000 arrays")


def test_refuses_a_bomb(monkeypatch):
    content = HEADER + _element(15, zlib.compress(_array(9, (1, 5_000_000), _element(2, bytes(5_000_000)))))
    assert read_variable(content, "x").size == 5_000_000
    monkeypatch.setattr(matlab5, "_MAX_BYTES", 1_000_000)
    _refused(content, "more than 1000000 bytes")


@pytest.mark.parametrize("compress", [True, False])
def test_refuses_a_file_cut_anywhere(compress):
    content = _saved("lhand", compress)
    for length in range(128, len(content)):
        with pytest.raises(Exception, match=r".+"):
            read_variable(content[:length], "x")
