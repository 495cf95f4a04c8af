"""PyTorch's files give the arrays that PyTorch saved, and nothing that does not lie in them."""

import argparse
import io
import struct
import tarfile

import ml_dtypes
import numpy as np
import pytest
import torch_files
from torch_files import Build, Call, Global, Raw

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
        taken = file.arrays[name]
        np.testing.assert_array_equal(taken, array, strict=True)
        assert taken.flags.c_contiguous
        assert taken.flags.writeable
        assert type(taken) is np.ndarray


def test_both_layouts_give_every_array_as_it_was(tmp_path, legacy):
    file = files.read(torch_files.write(tmp_path / "weights.pth", ARRAYS, legacy))
    assert file.format == ("PyTorch (legacy)" if legacy else "PyTorch (zip)")
    assert_holds(file, ARRAYS)
    assert not file.facts


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


def test_a_legacy_view_starts_within_its_storage(tmp_path):
    data = np.arange(12, dtype=np.float32)
    part = torch_files.storage("0", 12, view=("1", 5, 4), legacy=True)
    content = {"part": torch_files.tensor(part, (2,), (2,), 1)}
    path = torch_files.write_legacy(tmp_path / "w.pth", content, {"0": (12, data.tobytes())})
    assert_holds(files.read(path), {"part": data[[6, 8]]})


def test_bfloat16_comes_as_float32(tmp_path):
    data = np.array([1.0, -2.5, 3e38], ml_dtypes.bfloat16)
    content = {"b": torch_files.tensor(torch_files.storage("0", 3, "BFloat16Storage"), (3,), (1,))}
    path = torch_files.write_zip(tmp_path / "w.pth", content, {"0": data.tobytes()})
    assert_holds(files.read(path), {"b": data.astype(np.float32)})


def test_plain_values_beside_the_weights_are_facts(tmp_path, legacy):
    number = Build(Call("numpy.dtype", ("f8", False, True)), (3, "<", None, None, None, -1, -1, 0))
    as_python_3 = Call("_codecs.encode", (struct.pack("<d", 0.75).decode("latin1"), "latin1"))
    as_python_2 = Raw(b"U\x08" + struct.pack("<d", 0.25))
    grid = Call("numpy.core.multiarray._reconstruct", (Global("numpy.ndarray"), (0,), "b"))
    big_endian = Build(Call("numpy.dtype", ("i2", False, True)), (3, ">", None, None, None, -1, -1, 0))
    loop = Raw(b"]q\x00h\x00a")  # a list that holds itself
    beside = {
        "epoch": 3,
        "arch": "rf_lw50",
        "best": Call("numpy.core.multiarray.scalar", (number, as_python_3)),
        "worst": Call("numpy._core.multiarray.scalar", (number, as_python_2)),
        "grid": Build(grid, (1, (2, 2), big_endian, True, Raw(b"U\x08\x00\x01\x00\x02\x00\x03\x00\x04"))),
        "size": Call("torch.Size", ([2, 3],)),
        "type": Global("torch.float32"),
        "options": Build(Call("argparse.Namespace", ()), {"lr": 0.1}),
        "optimizer": {"state": {0: torch_files.tensor(torch_files.storage("0", 24), (24,), (1,))}},
        "loop": loop,
    }
    beside["optimizer"] = {0: loop}
    file = files.read(torch_files.write(tmp_path / "w.pth", ARRAYS, legacy, beside))
    assert_holds(file, ARRAYS)
    assert file.facts == {
        "epoch": 3,
        "arch": "rf_lw50",
        "best": 0.75,
        "worst": 0.25,
        "grid": [[1, 3], [2, 4]],
        "size": [2, 3],
        "type": "torch.float32",
        "options": {"lr": 0.1},
        "wrapped in": "state_dict",
        "left out": ["optimizer", "loop"],
    }


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "segmenter", "net", "module"])
def test_weights_are_found_under_the_usual_keys(tmp_path, wrapper):
    arrays = {"a.weight": np.ones((2, 2), np.float32)}
    prefixed = {f"module.{name}": array for name, array in arrays.items()}
    content = {wrapper: torch_files.tensors(prefixed), "epoch": 1}
    file = files.read(torch_files.write_zip(tmp_path / "w.pth", content, {"0": arrays["a.weight"].tobytes()}))
    assert_holds(file, arrays)
    assert file.facts == {"epoch": 1, "wrapped in": wrapper}


def test_a_prefix_that_only_some_names_have_stays(tmp_path):
    arrays = {"module.a": np.ones(2, np.float32), "b": np.zeros(3, np.float32)}
    assert_holds(files.read(torch_files.write(tmp_path / "w.pth", arrays, False)), arrays)


def test_of_two_networks_the_first_is_taken_and_the_other_told(tmp_path):
    content = {key: torch_files.tensors({"a": np.ones(1, np.float32)}) for key in ("ema", "net", "model")}
    file = files.read(torch_files.write_zip(tmp_path / "w.pth", content, {"0": b"\0" * 4}))
    assert file.facts == {"wrapped in": "model", "also holds": ["net"], "left out": ["ema"]}


def test_weights_under_another_key_are_pointed_at(tmp_path):
    content = {"ema": torch_files.tensors({"a": np.ones(1, np.float32)}), "epoch": 3}
    pointer = r"holds no tensors by name.*Give one of \['ema'\]"
    torch_files.assert_refused(tmp_path, content, pointer, {"0": b"\0" * 4})
    torch_files.assert_refused(tmp_path, {"epoch": 3}, "holds no tensors by name.*save the weights alone", {})
    torch_files.assert_refused(tmp_path, [1], "holds a list instead of tensors by name", {})


# ---- What PyTorch itself writes.


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_torch_saves_is_read_back(tmp_path, legacy, protocol):
    torch = pytest.importorskip("torch")
    base = torch.arange(24.0)
    saved = {
        "f32": torch.randn(2, 3, 4, 5),
        "f64": torch.randn(3).double(),
        "f16": torch.randn(3).half(),
        "bf16": torch.randn(3).bfloat16(),
        "i64": torch.tensor(3),
        "i32": torch.arange(3, dtype=torch.int32),
        "i16": torch.arange(3, dtype=torch.int16),
        "i8": torch.arange(3, dtype=torch.int8),
        "u8": torch.arange(3, dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "view": base.view(4, 6)[1:, ::2].t(),
        "shared": base,
        "expanded": torch.ones(1).expand(3, 2),
        "empty": torch.zeros(0, 2),
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "requires_grad": torch.ones(2, requires_grad=True),
    }
    args = argparse.Namespace(lr=0.1, names=["a"])
    checkpoint = {"model": saved, "best_val": np.float32(0.5), "args": args, "optim": {"state": {0: base}}}
    torch.save(checkpoint, tmp_path / "w", pickle_protocol=protocol, _use_new_zipfile_serialization=not legacy)
    file = files.read(tmp_path / "w")
    expected = {name: t.detach().float() if name == "bf16" else t.detach() for name, t in saved.items()}
    assert_holds(file, {name: t.numpy() for name, t in expected.items()})
    assert file.facts["best_val"] == 0.5
    assert file.facts["args"] == {"lr": 0.1, "names": ["a"]}
    assert file.facts["left out"] == ["optim"]


def test_a_state_dict_of_modules_is_read_and_a_whole_module_is_refused(tmp_path, legacy):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    torch.save(network.state_dict(), tmp_path / "w", _use_new_zipfile_serialization=not legacy)
    assert_holds(files.read(tmp_path / "w"), {name: t.numpy() for name, t in network.state_dict().items()})
    torch.save(network, tmp_path / "w", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(files.WeightsError, match=r"Sequential.*model\.state_dict\(\)"):
        files.read(tmp_path / "w")


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


def test_storages_of_two_sizes_or_views_beyond_are_refused(tmp_path):
    for first, second in (
        (torch_files.storage("0", 6), torch_files.storage("0", 3, "DoubleStorage")),
        (torch_files.storage("0", 6), torch_files.storage("0", 6, view=("1", 4, 3), legacy=True)),
    ):
        torch_files.assert_refused(tmp_path, {"a": first, "b": second}, "makes no sense")


def test_few_bytes_that_claim_to_be_many_tensors_are_refused(tmp_path):
    data = np.zeros(1 << 18, np.float32).tobytes()  # 1 MiB
    stored = torch_files.storage("0", 1 << 18)
    content = {f"a{i}": torch_files.tensor(stored, (1 << 18,), (1,)) for i in range(100)}
    torch_files.assert_refused(tmp_path, content, "far more than the file", {"0": data})


# ---- Files that are damaged, or no files of PyTorch.


def test_every_cut_is_noticed(tmp_path, legacy):
    whole = torch_files.write(tmp_path / "w.pth", ARRAYS, legacy).read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(files.WeightsError):
            files.read(path)


def test_the_tar_files_of_the_first_pytorch_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("sys_info"), io.BytesIO(b""))
    with pytest.raises(files.WeightsError, match=r"tar archive.*save it again"):
        files.read(path)


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
