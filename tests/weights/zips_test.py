"""Zip files that are damaged, ambiguous or larger than they look are refused."""

import struct
import zipfile

import numpy as np
import pytest
import torch_files

from refinenet_jax.weights import files

ARRAY = np.arange(24, dtype=np.float32).reshape(2, 12)


def _zip(path, members: list[tuple[str, bytes]], packing=zipfile.ZIP_STORED) -> bytearray:
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return bytearray(path.read_bytes())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zip_files_of_two_meanings_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    good, bad = torch_files.pickled({"a": 1}), torch_files.pickled({"b": 1})
    for members, match in (
        ([("archive/data.pkl", good), ("archive/data.pkl", bad)], "twice"),
        ([("a/data.pkl", good), ("b/data.pkl", bad)], "2 files data.pkl"),
        ([("a/data.pkl", good), ("a/constants.pkl", bad)], "TorchScript"),
        ([("a/data.pkl", good), ("a/byteorder", b"big")], "big-endian"),
        ([("a/readme.txt", b"hello")], "neither of PyTorch"),
    ):
        _zip(path, members)
        with pytest.raises(files.WeightsError, match=match):
            files.read(path)


def test_zip_members_that_overlap_or_lie_outside_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    content = {"a": torch_files.tensor(torch_files.storage("0", 2), (2,), (1,))}
    whole = bytearray(torch_files.write_zip(path, content, {"0": b"\0" * 8, "1": b"\0" * 8}).read_bytes())
    entries = [i for i in range(len(whole)) if whole.startswith(b"PK\x01\x02", i)]  # the list of members
    offsets = [struct.unpack_from("<I", whole, entry + 42)[0] for entry in entries]
    for changes in (
        {entries[3] + 42: offsets[2]},  # two members at one place
        {entries[3] + 42: len(whole) - 4},
        {entries[3] + 42: (1 << 32) - 2},
        {entries[2] + 20: 1 << 30, entries[2] + 24: 1 << 30},  # larger than the file
        {entries[2] + 20: 40, entries[2] + 24: 40},  # reaches into the next
        {entries[2] + 24: 9},
    ):
        changed = whole.copy()
        for place, value in changes.items():
            struct.pack_into("<I", changed, place, value)
        path.write_bytes(changed)
        with pytest.raises(files.WeightsError, match=r"overlaps|damaged|two sizes|would unpack|twice"):
            files.read(path)


def test_a_flipped_bit_among_the_weights_is_noticed(tmp_path):
    path = tmp_path / "w.pth"
    whole = bytearray(torch_files.write(path, {"a": ARRAY}, legacy=False).read_bytes())
    whole[whole.index(ARRAY.tobytes()) + 9] ^= 1
    path.write_bytes(whole)
    with pytest.raises(files.WeightsError, match="does not match its checksum"):
        files.read(path)


def test_encrypted_members_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    whole = _zip(path, [("a/data.pkl", torch_files.pickled({"a": 1}))])
    whole[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(whole)
    with pytest.raises(files.WeightsError, match="encrypted"):
        files.read(path)


@pytest.mark.parametrize(
    ("members", "packing", "match"),
    [
        ([], zipfile.ZIP_DEFLATED, r"deflated\. Save it again"),
        ([], zipfile.ZIP_LZMA, "rare way"),
        ([("a/data/0", bytes(20 << 20))], zipfile.ZIP_DEFLATED, "would unpack to"),
    ],
)
def test_packed_and_bursting_members_are_refused(tmp_path, members, packing, match):
    _zip(tmp_path / "w.pth", [("a/data.pkl", torch_files.pickled({"a": 1})), *members], packing)
    with pytest.raises(files.WeightsError, match=match):
        files.read(tmp_path / "w.pth")


def test_a_pickle_far_larger_than_those_of_weights_is_refused(tmp_path):
    _zip(tmp_path / "w.pth", [("a/data.pkl", b"N0" * (10 << 20))])
    with pytest.raises(files.WeightsError, match="far more than weights"):
        files.read(tmp_path / "w.pth")


def test_an_endless_list_of_members_is_refused(tmp_path):
    path = tmp_path / "w.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(100):
            info = zipfile.ZipInfo(f"a/{i}")
            info.comment = b"x" * 60_000
            archive.writestr(info, b"")
    with pytest.raises(files.WeightsError, match="list of members"):
        files.read(path)
