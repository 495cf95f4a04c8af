"""MATLAB files of every version give the same values; crafted ones that crash SciPy or fill memory are refused."""

import io
import struct
import zlib

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from matlab_files import TRUNK, Rows, dag_net, net_config, write_v7, write_v73

from refinenet_jax.weights import matlab
from refinenet_jax.weights.weights_file import WeightsError


def _read(path):
    return matlab.read_variables(path)[1]


def _refused(path, reason):
    with pytest.raises(WeightsError, match=reason) as error:
        _read(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    "write",
    [
        write_v73,
        lambda *args: write_v73(*args, chunks=True, compression="gzip"),
        lambda *args: write_v73(*args, chunks=(4, 2), compression="gzip", shuffle=True),
        write_v7,
        lambda *args: write_v7(*args, compressed=False),
    ],
    ids=["v7.3", "v7.3 gzip", "v7.3 shuffle", "v7", "v5"],
)
def test_every_version_gives_the_same_values(tmp_path, write):
    numbers, large = np.arange(6.0).reshape(2, 3) / 7, np.arange(21, dtype=np.float32).reshape(3, 7)
    write(
        tmp_path / "x",
        {
            "numbers": numbers,
            "large": large,
            "other": [np.uint8([[1, 2]]), np.array([[True]])],
            "texts": ["lhand", "", "h\u00e4nd"],
            "rows": Rows([{"a": "x", "b_long_name": numbers}, {"a": "y", "b_long_name": np.zeros((0, 0))}]),
            "row": Rows([{"a": {"b": ["c"]}}]),
            "none": Rows(),
        },
    )
    found = _read(tmp_path / "x")
    np.testing.assert_array_equal(found["numbers"], numbers, strict=True)
    np.testing.assert_array_equal(found["large"], large, strict=True)
    assert found["other"] == [None, None]
    assert found["texts"] == ["lhand", "", "h\u00e4nd"]
    assert [row["a"] for row in found["rows"]] == ["x", "y"]
    np.testing.assert_array_equal(found["rows"][0]["b_long_name"], numbers, strict=True)
    assert not found["rows"][1]["b_long_name"].size
    assert found["row"] == {"a": {"b": ["c"]}}
    assert found["none"] == []


def _element(kind, data, order="<"):
    return struct.pack(f"{order}II", kind, len(data)) + data + (b"" if kind == 15 else bytes(-len(data) % 8))


def _matrix(kind, shape, content=b"", name=b"", order="<"):
    flags = _element(6, struct.pack(f"{order}II", kind, 0), order)
    axes = _element(5, struct.pack(f"{order}{len(shape)}i", *shape), order)
    return _element(14, flags + axes + _element(1, name, order) + content, order)


def _write_v5(path, *elements, order="<"):
    version = b"\x00\x01IM" if order == "<" else b"\x01\x00MI"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + version + b"".join(elements))
    return path


@pytest.mark.parametrize("order", "<>")
def test_numbers_stored_in_smaller_types_and_either_byte_order(tmp_path, order):
    x = _matrix(7, (2, 3), _element(2, bytes(range(6)), order), b"x", order)
    small = struct.pack(f"{order}HH2s2x", *((3, 2) if order == "<" else (2, 3)), struct.pack(f"{order}h", -5))
    y = _matrix(6, (1, 1), small, b"y", order)
    found = _read(_write_v5(tmp_path / "x", x, y, order=order))
    np.testing.assert_array_equal(found["x"], np.float32([[0, 2, 4], [1, 3, 5]]), strict=True)
    assert found["y"].tolist() == [[-5]]


def test_values_that_no_network_needs_are_skipped(tmp_path):
    """The check before SciPy agrees with it where such an array ends."""
    scipy.io.savemat(saved := io.BytesIO(), {"sparse": scipy.sparse.eye_array(3)})
    number = _matrix(6, (1, 1), _element(9, struct.pack("<d", 3)))
    names = _element(1, b"net") + _element(1, b"MCOS") + _element(1, b"ref_obj")
    opaque = _element(14, _element(6, struct.pack("<II", 17, 0)) + names + number)
    fields = _element(5, struct.pack("<i", 8)) + _element(1, b"a".ljust(8, b"\0"))
    old_object = _matrix(3, (1, 1), _element(1, b"dagnn") + fields + number, b"object")
    function = _matrix(16, (1, 1), _matrix(4, (1, 3), _element(16, b"sin")), b"function")
    last = _matrix(6, (1, 1), _element(9, struct.pack("<d", 7)), b"last")
    found = _read(_write_v5(tmp_path / "x", saved.getvalue()[128:], opaque, old_object, function, last))
    assert found.pop("last").tolist() == [[7]]
    assert set(found.values()) == {None}


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
        ([_element(15, zlib.compress(bytes(200 << 20)))], "inflates to far more"),
        ([_element(15, zlib.compress(BOMB))], "type 0|requires a buffer"),
        ([_element(15, zlib.compress(bytes(20_000))[:-9])], "truncated"),
        ([_nested(20_000, 1)], "nested 65 deep"),  # SciPy crashes
        ([_nested(20_000, 2, FIELDS)], "nested 65 deep"),
        ([_matrix(2, (1, 1_500_000_000), FIELDS)], "more than 100,000 values"),  # SciPy fills 12 GB
        ([_matrix(2, (1, 100_001), FIELDS + _element(14, b"") * 100_001)], "more than 100,000 values"),
        ([_matrix(2, (100_000, 100_000), _element(5, bytes([8, 0, 0, 0])) + _element(1, b""))], "100,000 values"),
        ([_matrix(4, (1, 1_000_000_000), _element(16, b""))], "0 bytes claims"),  # SciPy makes as many spaces
        ([_matrix(6, (-1, -1), _element(9, bytes(8)))], r"the shape \(-1, -1\)"),
        ([_matrix(6, (1,) * 5000, _element(9, bytes(8)))], "an array is complex"),
        ([_element(14, _element(6, struct.pack("<II", 0x0806, 0)) + _matrix(6, (1, 1))[24:])], "an array is complex"),
        ([_matrix(6, (1, 1), _element(9, bytes(16)))], "reshape"),
        ([_matrix(6, (2, 2), _element(99, bytes(32)))], "32 bytes of type 99"),  # SciPy crashes
        ([_matrix(4, (1, 4), _element(0, bytes(8)))], "8 bytes of type 0"),
        ([_matrix(2, (1, 1), FIELDS + _element(9, bytes(8)))], "type 9"),
        ([_matrix(1, (1, 1), _matrix(6, (1, 1), _element(9, bytes(8)) + bytes(8)))], "longer or shorter"),
        ([_matrix(2, (1, 1), _element(5, struct.pack("<i", 0)) + _element(1, b"abc"))], "names of its fields"),
        ([_matrix(2, (0, 0), _element(5, struct.pack("<i", 1)) + _element(1, bytes(1 << 20)))], "names of its fields"),
        ([struct.pack("<II", 14, 1 << 30), bytes(100)], "truncated"),
    ],
)
def test_crafted_elements_are_refused(tmp_path, elements, reason):
    _refused(_write_v5(tmp_path / "x", *elements), reason)


def test_a_header_of_v4_within_one_of_v5_does_not_change_the_reader(tmp_path):
    """SciPy takes a file whose header begins with zeros for one of v4, of which nothing was checked."""
    path = _write_v5(tmp_path / "x", _matrix(6, (1, 1), _element(9, struct.pack("<d", 7)), b"x"))
    path.write_bytes(bytes(20) + path.read_bytes()[20:])
    assert _read(path)["x"].tolist() == [[7]]


def _numbers(file, *args, name="x", **kw):
    file.create_dataset(name, *args, **kw).attrs["MATLAB_class"] = np.bytes_("single")


def _virtual_dataset(file):
    layout = h5py.VirtualLayout((10,), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (10,))
    file.create_virtual_dataset("x", layout).attrs["MATLAB_class"] = np.bytes_("single")


def _dangling_reference(file):
    file["gone"] = np.zeros((2, 1))
    file["cell"] = np.array([[file["gone"].ref]], h5py.ref_dtype)
    del file["gone"]


def _deep(file):
    group = file
    for _ in range(100):
        group = group.create_group("g")


def _deep_references(file):
    below = file["#refs#/v0"]
    for i in range(2000):
        below = file.create_dataset(f"cell{i}", data=np.array([[below.ref]], h5py.ref_dtype))


def _many_references_to_one_array(file):
    _numbers(file, data=np.zeros((1000, 1000), "f4"))
    file["cell"] = np.full((1000, 1), file["x"].ref, h5py.ref_dtype)


def _many_structs_of_one_column(file):
    file["cell"] = np.full((5000, 1), file["#refs#/v0"].ref, h5py.ref_dtype)
    for i in range(30):
        file.create_group(f"struct{i}")["field"] = file["cell"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.__setitem__("secret", h5py.ExternalLink("/etc/passwd", "/")), "/secret is a link"),
        (lambda file: file.__setitem__("#refs#/v0/link", h5py.SoftLink("/net_config")), "/#refs#/v0/link is a link"),
        (lambda file: _numbers(file, (10,), "f4", external=[("/etc/passwd", 0, 40)]), "/x is kept in another file"),
        (_virtual_dataset, "/x is kept in another file"),
        (lambda file: _numbers(file, data=np.zeros(100, "f4"), compression="lzf", chunks=True), r"filters \[32000\]"),
        (_dangling_reference, "/cell refers"),
        (lambda file: _numbers(file, (1 << 20, 1 << 20), "f4", chunks=(1024, 1024)), "far more numbers"),
        (lambda file: _numbers(file, (9, 1), "f4", chunks=(1 << 28, 1), maxshape=(None, 1)), "far more numbers"),
        (lambda file: file.create_dataset("cell", (1000, 1000), h5py.ref_dtype, chunks=(500, 500)), "0 chunks"),
        (_deep, "nested too deeply"),
        (_deep_references, "recursion"),
        (_many_references_to_one_array, "far more numbers"),
        (_many_structs_of_one_column, "100,000 values"),
    ],
)
def test_v73_refuses_what_matlab_does_not_write(tmp_path, damage, reason):
    write_v73(tmp_path / "x.mat", net_config(), damage)
    _refused(tmp_path / "x.mat", reason)


def test_values_that_contain_themselves_are_read(tmp_path):
    def damage(file):
        file["group"] = file["#refs#/v0"]
        file["#refs#/v0/again"] = file["group"]
        cell = file.create_dataset("cell", (1, 1), h5py.ref_dtype)
        cell[0, 0] = cell.ref
        cell.attrs["MATLAB_class"] = np.bytes_("cell")

    write_v73(tmp_path / "x.mat", net_config(), damage)
    assert _read(tmp_path / "x.mat")["cell"] == [None]


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (zlib.compress(b"\0" * 50_000_000), "a chunk of|inflates to more than 1,176 bytes"),
        (zlib.compress(b"\0" * 1177), "inflates to more than 1,176 bytes"),
        (zlib.compress(b"\0" * 1000), "truncated"),
        (zlib.compress(np.random.default_rng(0).bytes(1176))[:-40], "truncated"),
        (b"no zlib", "incorrect header"),
        (bytes(1 << 20), "a chunk of 1,048,576 bytes"),
        (None, "only 1 chunks"),
    ],
)
def test_chunks_that_do_not_fit_are_refused(tmp_path, chunk, reason):
    def damage(file):
        net = file["net"]
        name = next(n for n, d in file["#refs#"].items() if d.shape == (4, 3, 7, 7))
        good = file["#refs#"][name]
        bad = file["#refs#"].create_dataset("bad", good.shape, "f4", chunks=(2, 3, 7, 7), compression="gzip")
        bad.attrs["MATLAB_class"] = np.bytes_("single")
        bad.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(1176)))
        if chunk is not None:
            bad.id.write_direct_chunk((2, 0, 0, 0), chunk)
        values = net["params/value"][()]
        values[0] = bad.ref
        net["params/value"][...] = values

    write_v73(tmp_path / "x.mat", {"net": dag_net(*TRUNK)}, damage)
    _refused(tmp_path / "x.mat", reason)
