"""PyTorch's files give the arrays that PyTorch saved; files that lie about them are refused."""

import struct

import ml_dtypes
import numpy as np
import pytest
import torch_files
from torch_files import Raw, build, call, named

from refinenet_jax.weights import files
from refinenet_jax.weights.weights_file import WeightsFile

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "conv.bias": np.array([1.5, -2], np.float64),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "half": np.array([[0.5]], np.float16),
    "bn.num_batches_tracked": np.array(7, np.int64),
    "empty": np.zeros((0, 3), np.float32),
}


@pytest.fixture(params=[False, True], ids=["zip", "legacy"])
def legacy(request):
    return request.param


def assert_holds(file: WeightsFile, arrays: dict) -> None:
    assert list(file.arrays) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(file.arrays[name], array, strict=True)
        assert type(file.arrays[name]) is np.ndarray


def test_both_kinds_of_file_give_the_arrays_unchanged(tmp_path, legacy):
    file = files.read(torch_files.write(tmp_path / "weights.pth", ARRAYS, legacy))
    assert file.format == ("PyTorch (legacy)" if legacy else "PyTorch (zip)")
    assert_holds(file, ARRAYS)


def test_views_share_a_storage(tmp_path):
    data = np.arange(12, dtype=np.float32)
    stored = torch_files.storage("0", 12)
    content = {
        "all": torch_files.tensor(stored, (12,), (1,)),
        "columns": torch_files.tensor(stored, (3, 2), (4, 2), 1),
        "repeated": torch_files.tensor(stored, (4, 2), (0, 1), 10),
    }
    views = {"all": data, "columns": data.reshape(3, 4)[:, 1::2], "repeated": np.tile(data[10:], (4, 1))}
    assert_holds(files.read(torch_files.write_zip(tmp_path / "w.pth", content, {"0": data.tobytes()})), views)


def test_bfloat16_is_read(tmp_path):
    data = np.array([1.0, -2.5, 3e38], ml_dtypes.bfloat16)
    content = {"b": torch_files.tensor(torch_files.storage("0", 3, "BFloat16Storage"), (3,), (1,))}
    path = torch_files.write_zip(tmp_path / "w.pth", content, {"0": data.tobytes()})
    assert_holds(files.read(path), {"b": data})


def test_other_values_are_passed_over(tmp_path, legacy):
    dtype = build(call("numpy.dtype", "f8", False, True), (3, "<", None, None, None, -1, -1, 0))
    as_python_3 = call("_codecs.encode", struct.pack("<d", 0.75).decode("latin1"), "latin1")
    blank = call("numpy.core.multiarray._reconstruct", named("numpy.ndarray"), (0,), "b")
    loop = Raw(b"]q\x00h\x00a")  # a list that contains itself
    others = {
        **{"epoch": 3, "arch": "rf_lw50", "loss": 0.5, "ema": True, "type": named("torch.float32")},
        "best": call("numpy.core.multiarray.scalar", dtype, as_python_3),
        "worst": call("numpy._core.multiarray.scalar", dtype, Raw(b"U\x08" + struct.pack("<d", 0.25))),
        "grid": build(blank, (1, (2,), dtype, True, as_python_3)),
        "size": call("torch.Size", [2, 3]),
        "options": build(call("argparse.Namespace"), {"lr": 0.1}),
        "optimizer": {0: loop, "momentum": torch_files.tensor(torch_files.storage("0", 24), (24,), (1,))},
    }
    assert_holds(files.read(torch_files.write(tmp_path / "w.pth", ARRAYS, legacy, others)), ARRAYS)


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "segmenter", "net", "module"])
def test_weights_are_found_under_the_usual_keys(tmp_path, wrapper):
    array = np.ones((2, 2), np.float32)
    content = {wrapper: torch_files.tensors({"module.a.weight": array}), "epoch": 1}
    path = torch_files.write_zip(tmp_path / "w.pth", content, {"0": array.tobytes()})
    assert_holds(files.read(path), {"a.weight": array})
    # A prefix that only some names have stays.
    arrays = {"module.a": array, "b": array}
    assert_holds(files.read(torch_files.write(path, arrays, False)), arrays)


def test_files_without_tensors_by_name_are_refused(tmp_path):
    content = {"ema": torch_files.tensors({"a": np.ones(1, np.float32)}), "epoch": 3}
    torch_files.assert_refused(tmp_path, content, "holds no tensors by name.*state_dict", {"0": b"\0" * 4})
    torch_files.assert_refused(tmp_path, [1], "no tensors by name but a list", {})


def test_what_torch_saves_is_read_back(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    kinds = (torch.float32, torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool)
    saved = {f"{kind}": torch.arange(6).view(2, 3).t().to(kind) for kind in kinds}
    saved |= {"a": torch.nn.Parameter(torch.randn(2, 3, 4, 5)), **torch.nn.BatchNorm2d(4).state_dict()}
    content = {"model": saved, "best": np.float32(0.5), "optim": {"state": {0: torch.ones(3)}}}
    torch.save(content, tmp_path / "w", _use_new_zipfile_serialization=not legacy)
    assert_holds(files.read(tmp_path / "w"), {name: tensor.detach().numpy() for name, tensor in saved.items()})


# ---- Tensors and storages that lie.


@pytest.mark.parametrize(
    ("stored", "shape", "strides", "offset", "match"),
    [
        (("0", 1 << 40), (1 << 40,), (1,), 0, "for storage '0'; 24 bytes|damaged before storage"),
        (("0", 5), (5,), (1,), 0, "for storage '0'; 24 bytes|damaged before storage"),
        (("1", 6), (6,), (1,), 0, "nothing there|lists storages"),
        (("../data.pkl", 6), (6,), (1,), 0, "nothing there|lists storages"),
        (("0", -6), (6,), (1,), 0, "makes no sense"),
        (("0", 6.0), (6,), (1,), 0, "makes no sense"),
        (("0", True), (1,), (1,), 0, "makes no sense"),
        (("0", 6), (7,), (1,), 0, "up to element 7 of a storage of 6"),
        (("0", 6), (2,), (1,), 5, "up to element 7"),
        (("0", 6), (1,), (1,), 6, "up to element 7"),
        (("0", 6), (2, 2), (5, 1), 0, "up to element 7"),
        (("0", 6), (0,), (1,), 7, "up to element 7"),
        (("0", 6), (-1,), (1,), 0, "makes no sense"),
        (("0", 6), (2,), (-1,), 5, "makes no sense"),
        (("0", 6), (2,), (1,), -1, "makes no sense"),
        (("0", 6), (2, 3), (1,), 0, "2 axes, but strides for 1"),
        (("0", 6), (1 << 40,), (0,), 0, "up to element 1 of"),
        (("0", 6), (1 << 40, 1 << 40), (0, 0), 0, "up to element 1 of"),
        (("0", 6), (0, 1 << 62), (1, 1), 0, "up to element 0 of"),
        (("0", 6), (1,) * 100, (1,) * 100, 0, "makes no sense"),
        (("0", 6), 6, (1,), 0, "makes no sense"),
    ],
)
def test_tensors_that_do_not_fit_their_storage_are_refused(tmp_path, stored, shape, strides, offset, match):
    torch_files.assert_refused(
        tmp_path, {"a": torch_files.tensor(torch_files.storage(*stored), shape, strides, offset)}, match
    )


def test_storages_of_two_types_and_within_others_are_refused(tmp_path):
    first, second = torch_files.storage("0", 6), torch_files.storage("0", 3, "DoubleStorage")
    torch_files.assert_refused(tmp_path, {"a": first, "b": second}, "makes no sense")
    view = torch_files.storage("0", 6, view=(("1", 0, 6),))
    torch_files.assert_refused(tmp_path, {"a": view}, "a storage within another")


def test_few_bytes_that_claim_to_be_many_tensors_are_refused(tmp_path):
    data = np.zeros(1 << 18, np.float32).tobytes()  # 1 MiB
    stored = torch_files.storage("0", 1 << 18)
    content = {f"a{i}": torch_files.tensor(stored, (1 << 18,), (1,)) for i in range(100)}
    torch_files.assert_refused(tmp_path, content, "far more than the file", {"0": data})


# ---- Files that are damaged, or no files of PyTorch.


def test_legacy_files_that_start_wrongly_are_refused(tmp_path):
    start = torch_files.pickled(torch_files.MAGIC)
    for rest in (
        torch_files.pickled(1000) + torch_files.pickled({"little_endian": True}),
        torch_files.pickled(1001) + torch_files.pickled({"little_endian": False}),
        torch_files.pickled(1001) + torch_files.pickled([]),
        b"",
    ):
        (tmp_path / "w.pth").write_bytes(start + rest)
        with pytest.raises(files.WeightsError):
            files.read(tmp_path / "w.pth")
