"""Files of v5 to v7: what SciPy reads is read, with the same result; what harms SciPy is refused at once."""

import contextlib
import io
import pathlib
import struct
import zlib

import numpy as np
import pytest
import scipy.io
from matlab_files import net_config, read_numbers, write_v7

from refinenet_jax.matlab import Numbers, Refused, mat5, structs

ROOT = pathlib.Path(__file__).parents[2]
REALDATA = ROOT.parent / "shared" / "realdata"


def _element(kind, data, order="<"):
    return struct.pack(f"{order}II", kind, len(data)) + data + (b"" if kind == 15 else bytes(-len(data) % 8))


def _matrix(kind, shape, content=b"", name=b"", order="<"):
    flags = _element(6, struct.pack(f"{order}II", kind, 0), order)
    axes = _element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    return _element(14, flags + axes + _element(1, name, order) + content, order)


def _mat5(*elements, order="<"):
    version = b"\x00\x01IM" if order == "<" else b"\x01\x00MI"
    return b"MATLAB 5.0 MAT-file".ljust(124) + version + b"".join(elements)


def _saved(value, compress):
    content = io.BytesIO()
    scipy.io.savemat(content, {"before": np.zeros(3), "x": value}, do_compression=compress)
    return content.getvalue()


def _assert_as_scipy(ours, theirs):
    if theirs.dtype.names:
        rows = structs(ours, "they")
        assert len(rows) == theirs.size
        for row, struct_ in zip(rows, theirs.ravel(order="F"), strict=True):
            assert [*row] == [*struct_.dtype.names]
            for field, value in row.items():
                _assert_as_scipy(value, struct_[field])
    elif isinstance(ours, list):
        for one, other in zip(ours, theirs.ravel(order="F"), strict=True):
            _assert_as_scipy(one, other)
    elif isinstance(ours, str):
        assert ours == (theirs[0] if theirs.size else "")
    else:
        theirs = theirs.astype(np.uint8) if theirs.dtype == bool else theirs
        found = ours.read()
        assert found.shape == ours.shape
        assert found.dtype == ours.dtype == theirs.dtype
        if theirs.size:
            np.testing.assert_array_equal(found, theirs, strict=True)
        else:
            assert not found.size  # SciPy takes MATLAB's short form of 0x0 for 1x0


def _cell(*values):
    cell = np.empty((1, len(values)), object)
    cell[0] = values
    return cell


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize(
    "value",
    [
        np.arange(6.0).reshape(2, 3) / 7,
        np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        np.arange(300_000.0).reshape(3, -1),  # beyond what is held in memory
        np.array([[True, False]]),
        np.uint8([[1], [2]]),
        np.empty((0, 0)),
        np.empty((1, 0)),
        "lhand",
        "a",
        "",
        _cell("a", np.ones((2, 2)), _cell("b")),
        np.array([[(1.0, "a"), (2.0, "b")], [(3.0, "c"), (4.0, "d")]], [("number", object), ("a_long_name", object)]),
        np.array([[("a",)]], [("only", object)]),
        np.empty((0, 0), [("part_name", object), ("mask", object)]),
    ],
    ids=[
        *("double", "three axes", "large", "logical", "byte", "empty", "1x0"),
        *("text", "letter", "no text", "cell", "structs", "struct", "no struct"),
    ],
)
def test_reads_what_scipy_writes_from_a_path_and_from_bytes(tmp_path, value, compress):
    content = _saved(value, compress)
    expected = scipy.io.loadmat(io.BytesIO(content), mat_dtype=True)["x"]
    (tmp_path / "x.mat").write_bytes(content)
    for source in (tmp_path / "x.mat", content):
        found = mat5.read_variables(source)
        assert [*found] == ["before", "x"]
        for _ in range(2):  # what is read once can be read again
            _assert_as_scipy(found["x"], expected)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        (ROOT / "tfds_builders" / "person_parts" / "dummy_data", "anno"),
        (REALDATA / "pascal_part", "anno"),
        (ROOT / "tfds_builders" / "egohands" / "dummy_data", "polygons"),
        (REALDATA / "egohands_annotations", "polygons"),
    ],
    ids=["dummy PASCAL-Part", "PASCAL-Part", "dummy EgoHands", "EgoHands"],
)
def test_reads_annotations_as_scipy_does(folder, name):
    paths = sorted(path for path in folder.rglob("*.mat") if not path.name.startswith("."))
    if not paths:
        pytest.skip(f"no annotations in {folder}")
    for path in paths:
        _assert_as_scipy(mat5.read_variables(path)[name], scipy.io.loadmat(path, mat_dtype=True)[name])


@pytest.mark.parametrize("order", "<>")
def test_numbers_stored_in_smaller_types_and_either_byte_order(order):
    x = _matrix(7, (2, 3), _element(2, bytes(range(6)), order), b"x", order)
    small = struct.pack(f"{order}HH2s2x", *((3, 2) if order == "<" else (2, 3)), struct.pack(f"{order}h", -5))
    variables = mat5.read_variables(_mat5(x, _matrix(6, (1, 1), small, b"y", order), order=order))
    assert variables["x"].dtype == np.float32
    assert variables["x"].read().tolist() == [[0, 2, 4], [1, 3, 5]]
    assert variables["y"].read().tolist() == [[-5]]


def test_structs_tell_nothing_from_something_else():
    variables = mat5.read_variables(_saved(np.empty((0, 0)), True))
    assert structs(variables["x"], "x") == []
    for other in (variables["before"], "text", None, ["text"]):
        with pytest.raises(Refused, match="parts are no structs"):
            structs(other, "parts")


def _refused(content, match):
    with pytest.raises(Refused, match=match):
        read_numbers(mat5.read_variables(content))


def _nested(depth, kind, fields=b""):
    start = _matrix(kind, (1, 1), fields)[8:]  # without type and size of the array, which grow with what is inside
    content = b""
    for _ in range(depth):
        content = struct.pack("<II", 14, len(start) + len(content)) + start + content
    return content


FIELDS = _element(5, struct.pack("<i", 8)) + _element(1, b"mask".ljust(8, b"\0"))
BOMB = struct.pack("<II", 14, 200 << 20) + _matrix(6, (5000, 5000))[8:]


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ([_element(15, zlib.compress(bytes(200 << 20)))], "not that of an array"),
        ([_element(15, zlib.compress(BOMB))], "damaged"),
        ([_nested(100, 1)], "nested more than 64 deep"),
        ([_nested(20_000, 1)], "nested more than 64 deep"),
        ([_nested(20_000, 2, FIELDS)], "nested more than 64 deep"),
        ([_matrix(1, (100_000, 100_000))], "more than 50,000 values"),
        ([_matrix(2, (1, 1_500_000_000), FIELDS)], "more than 50,000 values"),  # with these 240 bytes SciPy fills 12 GB
        ([_matrix(2, (1, 50_001), FIELDS + _element(14, b"") * 50_001)], "more than 50,000 values"),
        ([_matrix(2, (100_000, 100_000), _element(5, bytes([8, 0, 0, 0])) + _element(1, b""))], "50,000 values"),
        ([_matrix(2, (1, 1), FIELDS + _element(9, bytes(8)))], "not that of an array"),
        ([_matrix(6, (1 << 30, 1 << 30), _element(9, bytes(8)))], "has the shape"),
        ([_matrix(6, (1 << 30, 1 << 30, 1 << 30, 0), _element(9, b""))], "has the shape"),
        ([_matrix(6, (-1, -1), _element(9, bytes(8)))], "has the shape"),
        ([_matrix(6, (1,), _element(9, bytes(8)))], "has the shape"),
        ([_matrix(6, (1,) * 5000, _element(9, bytes(8)))], "20,000 bytes at byte"),
        ([_matrix(6, (1, 1), _element(9, bytes(16)))], "16 bytes of type 9"),
        ([_matrix(6, (2, 2), _element(99, bytes(32)))], "32 bytes of type 99"),
        ([_matrix(1, (1, 2), _matrix(1, (0, 0)))], "truncated|damaged"),
        ([_matrix(2, (1, 1), _element(5, struct.pack("<i", 0)) + _element(1, b"abc"))], "the names of the fields"),
        ([_matrix(6, (1, 1), _element(9, bytes(8)), b"n" * 200)], "200 bytes"),
        ([_element(77, bytes(80))], "has the type 77"),
        ([struct.pack("<II", 14, 1 << 30), bytes(100)], "truncated"),
    ],
)
def test_crafted_elements_are_refused(elements, reason):
    _refused(_mat5(*elements), reason)


def test_what_inflates_to_far_more_than_its_size_is_refused(monkeypatch):
    content = _mat5(_element(15, zlib.compress(_matrix(9, (1, 5_000_000), _element(2, bytes(5_000_000)), b"x"))))
    assert mat5.read_variables(content)["x"].read().shape == (1, 5_000_000)
    monkeypatch.setattr(mat5, "limit_of_bytes", lambda size: 1_000_000)
    _refused(content, "inflates to far more than")


def test_the_variables_of_a_file_share_one_limit(monkeypatch):
    packed = _element(15, zlib.compress(_matrix(9, (1, 50_000), _element(2, bytes(50_000)), b"x")))
    monkeypatch.setattr(mat5, "limit_of_bytes", lambda size: 120_000)
    assert mat5.read_variables(_mat5(packed, packed)).keys() == {"x"}
    _refused(_mat5(packed, packed, packed), "inflates to far more than")


def test_too_many_values_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mat5, "MAX_VALUES", 100)
    write_v7(tmp_path / "x.mat", net_config())
    _refused(tmp_path / "x.mat", "more than 100 values")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no MATLAB file"),
        (b"x" * 200, "no MATLAB file"),
        (b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM", "calls itself a MATLAB v7.3 file"),
        (bytes(200), "looks like a MATLAB v4 file"),
    ],
)
def test_other_formats_are_told(content, reason):
    _refused(content, reason)


@pytest.mark.parametrize("compress", [True, False])
def test_a_file_cut_anywhere_is_refused_or_lacks_its_last_variable(compress):
    content = _saved("lhand", compress)
    for length in range(len(content)):
        with contextlib.suppress(Refused):
            assert "x" not in mat5.read_variables(content[:length])


def test_objects_and_complex_numbers_are_none():
    opaque = _element(14, _element(6, struct.pack("<II", 17, 0)) + _element(1, b"net"))
    complex_ = _element(14, _element(6, struct.pack("<II", 0x0806, 0)) + _matrix(6, (1, 1), b"", b"z")[24:])
    found = mat5.read_variables(_mat5(opaque, complex_, _matrix(6, (1, 1), _element(9, bytes(8)), b"x")))
    assert found["net"] is None
    assert found["z"] is None
    assert isinstance(found["x"], Numbers)
