"""Pickles that ask for more than tensors are refused before anything runs, and so are those that would take forever."""

import builtins
import functools
import os
import pickle
import runpy
import struct
from typing import Any

import pytest
import torch_files
from torch_files import Raw, build, call, named, persistent


class Calls:
    """Pickles as a call of anything."""

    def __init__(self, callee, *arguments):
        self.reduced = callee, arguments

    def __reduce__(self):
        return self.reduced


def _attacks(canary: str) -> dict[str, object]:
    command = f"touch {canary}"
    source = f"open({canary!r}, 'w')"
    return {
        "posix.system": Calls(os.system, command),
        "eval": Calls(eval, source),
        "exec": Calls(exec, source),
        "getattr": Calls(getattr, Calls(__import__, "os"), "system"),
        "import": Calls(__import__, "os"),
        "open": Calls(open, canary, "w"),
        "runpy._run_code": Calls(runpy._run_code, source, {}),
        "map": Calls(list, Calls(map, eval, [source])),
        "partial": Calls(functools.partial, os.system, command),
        "loads": Calls(pickle.loads, pickle.dumps(Calls(os.system, command))),
        "globals": Calls(builtins.globals),
    }


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("attack", _attacks(""))
def test_published_attacks_are_refused_and_nothing_runs(tmp_path, attack, protocol):
    canary = tmp_path / "canary"
    code = pickle.dumps({"weights": [_attacks(str(canary))[attack]], "epoch": 3}, protocol)
    torch_files.assert_refused(tmp_path, code, r"asks (for|to call) .*nothing in a file is ever run")
    assert not canary.exists()


@pytest.mark.parametrize(
    ("code", "match"),
    [
        (call("torch.load", "x"), r"torch\.load"),
        (call("torch.hub.load", "x"), r"torch\.hub\.load"),
        (call("torch.storage._load_from_bytes", b"x"), "_load_from_bytes"),
        (call("torch.jit.unsupported_tensor_ops.execWrapper", "x"), "execWrapper"),
        (call("torch._utils._rebuild_tensor_v3"), "_rebuild_tensor_v3"),
        (call("torch.FloatStorage", 9), r"to call torch\.FloatStorage"),
        (call("numpy.load", "x"), r"numpy\.load"),
        (b"\x8c\x05torch\x8c\x09os.system\x93\x8c\x01x\x85R", r"torch\.os\.system"),
        (b"\x8c\x0bcollections\x8c\x11OrderedDict.clear\x93", r"OrderedDict\.clear"),
        (b"(S'touch x'\nios\nsystem\n", "INST"),
        (b"(cbuiltins\neval\nX\x01\x00\x00\x001o", "OBJ"),
        (b"(ccollections\nOrderedDict\no", "OBJ"),
        (b"ccollections\nOrderedDict\n)}\x92", "NEWOBJ_EX"),
        (b"N2", "DUP"),
        (b"00", "POP"),
        (b"(1", "POP_MARK"),
        (b"\x82\x01", "EXT1"),
        (b"\x84\xff\xff\xff\x7f", "EXT4"),
        (b"Psomething\n", "PERSID"),
        (b"\x97", "NEXT_BUFFER"),
        (b"\x8f", "EMPTY_SET"),
        (b"c\x1b[31m\nx\n", r"\\x1b\[31m"),  # a terminal is not given its control codes
        (persistent(("module", named("torch.FloatStorage"), "a.py", "import os", 1)), "source code"),
        (torch_files.storage("0", 6, "ComplexFloatStorage"), "ComplexFloatStorage"),
    ],
)
def test_instructions_and_names_beyond_tensors_are_refused(tmp_path, code, match):
    torch_files.assert_refused(tmp_path, {"a": Raw(code)}, match)


_OBJECT = call("numpy.dtype", "O8", False, True)
_BYTE = call("numpy.dtype", "u1", False, True)
_BLANK = call("numpy._core.multiarray._reconstruct", named("numpy.ndarray"), (0,), b"b")


@pytest.mark.parametrize(
    "content",
    [
        {"a": call("numpy.core.multiarray.scalar", _OBJECT, "abcdefgh", 1, 2)},
        {"a": build(call("torch.Size", (1,)), {"__class__": 1})},
        {"a": build({}, {}), "b": build("text", {"x": 1})},
        # Attributes that the unpickler itself would set on the replacement of a name.
        {"a": build(named("torch._utils._rebuild_tensor_v2"), (None, {"__defaults__": ()}))},
        {"a": build(named("argparse.Namespace"), (None, {"__setstate__": None}))},
        {"a": build(torch_files.storage("0", 6), {"count": 1 << 40})},
        {"a": build(torch_files.tensor(torch_files.storage("0", 6), (6,), (1,)), {"shape": (1 << 40,)})},
        {"a": Raw(b"ctorch\nSize\n)\x81")},  # NEWOBJ
        {"a": build(call("argparse.Namespace"), {(1,): 1})},
        {"a": call("argparse.Namespace", {"x": 1})},
        {"a": call("collections.OrderedDict", [[[1], 2]])},
        {("a", "b"): 1},
        {"a": call("torch._utils._rebuild_parameter", "text", True)},
        {"a": call("torch._utils._rebuild_tensor_v2")},
        {"a": Raw(b"h\x07")},
        {"a": Raw(b"((((")},
        {"a": Raw(b"\x8b" + struct.pack("<i", 1 << 16) + b"\x7f" * (1 << 16))},  # LONG4
        {"a": Raw(b"\x8d" + struct.pack("<Q", 1 << 60) + b"x")},  # BINUNICODE8
        {"a": Raw(b"\x8e" + struct.pack("<Q", 1 << 40) + b"x")},  # BINBYTES8
        {"a": Raw(b"\x8b" + struct.pack("<i", -1))},
        {"a": Raw(b"I" + b"9" * 5000 + b"\n")},
        {"a": Raw(b"\xff")},
        b"\x80\x02}",
        b"\x80\x02.",
        b"",
    ],
)
def test_pickles_that_make_no_sense_are_refused(tmp_path, content):
    torch_files.assert_refused(tmp_path, content, "makes no sense")


@pytest.mark.parametrize(
    "content",
    [
        {"a": build(_BLANK, (1, (1,), _OBJECT, False, b"\x00" * 8))},
        {"a": build(_BLANK, (1, (1 << 60,), _BYTE, False, "ab"))},
        {"a": call("numpy.core.multiarray.scalar", _OBJECT, "abcdefgh")},
        {"a": call("_codecs.encode", "YQ==", "base64")},
    ],
)
def test_objects_that_are_not_read_are_no_tensors(tmp_path, content):
    torch_files.assert_refused(tmp_path, content, "holds no tensors", {})


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x7f", b"p2147483647\n", b"q\xff"])
def test_memo_slots_beyond_the_instructions_are_refused(tmp_path, put):
    # The unpickler makes its memo as long as the largest slot: here 2^31 pointers.
    torch_files.assert_refused(tmp_path, {"a": Raw(b"N" + put)}, "makes no sense.*memo slot")


def _nested(make: bytes, levels: int = 60) -> Raw:
    """A container that holds twice the same container, which holds twice ...: 2^levels items in a few hundred bytes."""
    return Raw(b"N" + b"".join(b"q\x00h\x00" + make for _ in range(levels)))


def _again(value: Any, use: bytes, times: int) -> Raw:
    """A tuple that starts with a value in memo slot 0, and has many times what instructions make of it."""
    return Raw(b"(" + torch_files.code(value) + b"q\x00" + use * times + b"t")


_PAIR = b"\x86"  # TUPLE2
_PRIME = (1 << 61) - 1  # of Python's hash of integers
_BIG_DICT = torch_files.code(dict.fromkeys(range(20_000)))
_LONG = Raw(b"X" + struct.pack("<I", 1 << 20) + b"x" * (1 << 20))


@pytest.mark.parametrize(
    "content",
    [
        {"a": Raw(b"}" + _nested(_PAIR) + b"Ns")},  # hashing
        {"a": torch_files.tensor(torch_files.storage("0", 6), (_nested(_PAIR),), (1,))},  # printing
        {"a": torch_files.tensor(torch_files.storage("0", _nested(_PAIR)), (1,), (1,))},
        {"a": persistent((_nested(_PAIR),) * 5)},
        {"a": call("torch.Size", _nested(_PAIR))},
        {"a": call("torch.Size", [1] * 100)},
        {"a": _nested(_PAIR)},  # plain
        {"a": Raw(b"]" * 50_000 + b"a" * 49_999)},  # deep
        {"a": Raw(b"N" * 1_000_001)},  # long
        # The same long list, copied over and over.
        {"a": _again([[str(i), 1] for i in range(5_000)], b"ccollections\nOrderedDict\nh\x00\x85R", 5_000)},
        {"a": _again((1,) * 5_000, b"ctorch\nSize\nh\x00R", 5_000)},
        # The same long text as the data of many arrays.
        {"a": _again(_LONG, torch_files.code(build(_BLANK, (1, (1 << 20,), _BYTE, False, Raw(b"h\x00")))), 2_000)},
        # The same dict under many keys.
        Raw(b"}(K\xff" + _BIG_DICT + b"q\x00" + b"".join(torch_files.code(i) + b"h\x00" for i in range(20_000)) + b"u"),
        # Equal long texts are compared to their end.
        {"a": Raw(b"}" + _LONG + b"q\x00Ns" + _LONG + b"q\x01Ns" + b"h\x00Nsh\x01Ns" * 50_000)},
        # The same long text, encoded over and over.
        {"a": Raw(torch_files.code(_LONG) + b"q\x00" + b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R" * 100)},
        # Integers that hash alike.
        {"a": Raw(b"}(" + b"".join(b"\x8a\x09" + (_PRIME * i).to_bytes(9, "little") + b"N" for i in range(9)) + b"u")},
    ],
)
def test_pickles_that_would_take_forever_are_refused(tmp_path, content):
    names_storage = isinstance(content, dict) and "storage" in str(content)
    storages = None if names_storage else {}
    torch_files.assert_refused(
        tmp_path, content, "makes no sense|far more than weights|holds no tensors|a network", storages
    )
