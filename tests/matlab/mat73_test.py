"""What HDF5 can do and MATLAB does not is refused; what MATLAB may do is read."""

import zlib

import h5py
import numpy as np
import pytest
from matlab_files import TRUNK, dag_net, net_config, read_numbers, write_v73

from refinenet_jax.matlab import Refused, mat73


def _refused(path, match):
    with pytest.raises(Refused, match=match):
        read_numbers(mat73.read_variables(path))


def _external_link(file):
    file["secret"] = h5py.ExternalLink("/etc/passwd", "/")


def _soft_link(file):
    file["#refs#/v0/link"] = h5py.SoftLink("/net_config")


def _external_storage(file):
    file.create_dataset("x", (10,), "u1", external=[("/etc/passwd", 0, 10)])


def _virtual_dataset(file):
    layout = h5py.VirtualLayout((10,), "u1")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (10,))
    file.create_virtual_dataset("x", layout)


def _other_filter(file):
    file.create_dataset("x", data=np.zeros(100), compression="lzf", chunks=True)


def _checksum_filter(file):
    file.create_dataset("x", data=np.zeros(100), fletcher32=True, chunks=True)


def _cycle(file):
    file["a"] = np.zeros((2, 1), "u8")
    cell = file.create_dataset("cell", (2, 1), h5py.ref_dtype)
    cell[:, 0] = [file["a"].ref, cell.ref]


def _group_in_itself(file):
    file["#refs#/v0/again"] = file["#refs#/v0"]


def _null_reference(file):
    file.create_dataset("cell", (2, 1), h5py.ref_dtype)


def _dangling_reference(file):
    file["gone"] = np.zeros((2, 1))
    file["cell"] = np.array([[file["gone"].ref]], h5py.ref_dtype)
    del file["gone"]


def _region_reference(file):
    file["x"] = np.zeros((4, 4))
    file["region"] = np.array([file["x"].regionref[:2]], h5py.regionref_dtype)


def _claimed_shape(file):
    file.create_dataset("x", (1 << 20, 1 << 20), "f4", chunks=(1 << 10, 1 << 10), compression="gzip")


def _claimed_references(file):
    file.create_dataset("cell", (1000, 1000), h5py.ref_dtype, chunks=(500, 500))


def _never_written(file):
    file.create_dataset("x", (100, 100), "f4")


def _deep(file):
    group = file
    for _ in range(100):
        group = group.create_group("g")


def _long_name(file):
    file["n" * 100] = np.zeros(3)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (_external_link, "/secret is a link to another place or file"),
        (_soft_link, "/#refs#/v0/link is a link"),
        (_external_storage, "the data of /x is kept in another place"),
        (_virtual_dataset, "the data of /x is kept in another place"),
        (_other_filter, r"/x went through the HDF5 filters \[32000\]"),
        (_checksum_filter, r"/x went through the HDF5 filters \[3\]"),
        (_cycle, r"/cell\[1\] contains itself"),
        (_group_in_itself, "/#refs#/v0/again contains itself"),
        (_null_reference, r"refers to an object that is not in the file|cannot be in the file"),
        (_dangling_reference, r"/cell\[0\] refers to an object that is not in the file"),
        (_region_reference, "/region holds references to regions"),
        (_claimed_shape, r"/x says that it has the shape \(1048576, 1048576\)"),
        (_claimed_references, "more than 50,000 references"),
        (_never_written, "/x says that it has the shape"),
        (_deep, "nested more than 64 deep"),
        (_long_name, "as MATLAB names none"),
    ],
)
def test_v73_refuses_what_matlab_does_not_write(tmp_path, damage, reason):
    write_v73(tmp_path / "x.mat", net_config(), damage)
    _refused(tmp_path / "x.mat", reason)


@pytest.mark.parametrize(
    ("chunk", "reason"),
    [
        (zlib.compress(b"\0" * 50_000_000), "inflates to more than 1,176 bytes"),
        (zlib.compress(b"\0" * 1177), "1,177 bytes instead of 1,176"),
        (zlib.compress(b"\0" * 1000), "1,000 bytes instead of 1,176"),
        (zlib.compress(b"\0" * 1176)[:-2], "truncated"),
        (b"no zlib", "damaged"),
        (None, "no chunk at"),
    ],
)
def test_chunks_that_do_not_fit_are_refused(tmp_path, chunk, reason):
    def damage(file):
        net = file["net"]
        name = next(n for n, d in file["#refs#"].items() if d.shape == (4, 3, 7, 7))
        good = file["#refs#"][name]
        bad = file["#refs#"].create_dataset("bad", good.shape, "f4", chunks=(2, 3, 7, 7), compression="gzip")
        bad.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(1176)))
        if chunk is not None:
            bad.id.write_direct_chunk((2, 0, 0, 0), chunk)
        values = net["params/value"][()]
        values[0] = bad.ref
        net["params/value"][...] = values

    write_v73(tmp_path / "x.mat", {"net": dag_net(*TRUNK)}, damage)
    _refused(tmp_path / "x.mat", reason)


def test_chunks_may_skip_filters_and_stick_out(tmp_path):
    def damage(file):
        data = np.arange(15, dtype=np.float32).reshape(5, 3)
        chunked = file.create_dataset("x", (5, 3), "f4", chunks=(2, 2), compression="gzip", shuffle=True)
        chunked[...] = data
        raw = np.zeros((2, 2), np.float32)
        raw[:, 0] = data[2:4, 2]
        chunked.id.write_direct_chunk((2, 2), raw.tobytes(), filter_mask=0b11)

    write_v73(tmp_path / "x.mat", {}, damage)
    found = mat73.read_variables(tmp_path / "x.mat")["x"].read()
    np.testing.assert_array_equal(found, np.arange(15, dtype=np.float32).reshape(5, 3).T)


def test_too_many_objects_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mat73, "MAX_VALUES", 100)
    write_v73(tmp_path / "x.mat", net_config())
    _refused(tmp_path / "x.mat", "more than 100 (objects|references)")


def test_too_much_text_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(mat73, "MAX_ALL_TEXT", 100)
    write_v73(tmp_path / "x.mat", net_config())
    _refused(tmp_path / "x.mat", "more than 100 bytes of text")
