"""Tests of reading MATLAB files: real ones as before, and damaged or crafted ones with an error and without harm."""

import io
import resource
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import scipy.io
from etils import epath

from tfds_builders import matlab

VALUE = np.empty((1, 2), [("a", object), ("b", object)])
VALUE[0, 0], VALUE[0, 1] = (np.arange(6.0).reshape(3, 2), "text"), (np.empty((0, 0)), np.uint8([[1, 0]]))


def _content(value=VALUE, **options):
    file = io.BytesIO()
    scipy.io.savemat(file, {"x": value}, **options)
    return file.getvalue()


def _load(tmp_path, content, **limits):
    path = epath.Path(tmp_path / "x.mat")
    path.write_bytes(content)
    return matlab.load(path, "x", **{"max_bytes": 1 << 20, "max_unpacked": 1 << 20, **limits})


@pytest.mark.parametrize("compressed", [False, True])
def test_reads_structs(tmp_path, compressed):
    found = _load(tmp_path, _content(do_compression=compressed))
    assert found.shape == (1, 2)
    np.testing.assert_array_equal(found[0, 0]["a"], VALUE[0, 0]["a"])
    assert found[0, 0]["b"].item() == "text"
    assert found[0, 1]["a"].shape == (0, 0)


def _refused(tmp_path, content, match=r"x\.mat cannot be read", **limits):
    with pytest.raises(ValueError, match=match):
        _load(tmp_path, content, **limits)


def test_refuses_files_over_a_limit(tmp_path):
    _refused(tmp_path, _content(), "more than 100", max_bytes=100)
    large = _content(np.zeros((500, 500)), do_compression=True)
    assert len(large) < 10_000
    _refused(tmp_path, large, "larger than any", max_unpacked=1_000_000)
    assert _load(tmp_path, large, max_unpacked=3_000_000).shape == (500, 500)


@pytest.mark.parametrize("content", [b"", b"text" * 100, _content()[:300], _content(do_compression=True)[:200]])
def test_refuses_other_and_cut_files(tmp_path, content):
    _refused(tmp_path, content)


def test_refuses_a_missing_variable(tmp_path):
    path = epath.Path(tmp_path / "x.mat")
    path.write_bytes(_content())
    with pytest.raises(ValueError, match=r"x\.mat cannot be read as a MATLAB file with 'y'"):
        matlab.load(path, "y", max_bytes=1 << 20, max_unpacked=1 << 20)


@pytest.mark.parametrize("value", [VALUE, np.array([[1, "a"]], object), "text"], ids=["struct", "cell", "text"])
def test_refuses_a_shape_that_the_file_cannot_hold(tmp_path, value):
    content = _content(value)
    shape = struct.pack("<ii", *np.atleast_2d(np.asarray(value)).shape if value is not VALUE else (1, 2))
    if isinstance(value, str):
        shape = struct.pack("<ii", 1, 4)
    assert shape in content
    _refused(tmp_path, content.replace(shape, struct.pack("<ii", 1, 1_500_000_000)), "claims the shape")


def test_refuses_deep_nesting_without_a_crash(tmp_path):
    element = b""
    for _ in range(20_000):
        parts = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0) + element
        element = struct.pack("<II", 14, len(parts)) + parts
        if len(element) > 900_000:
            break
    element = element.replace(struct.pack("<II", 1, 0), struct.pack("<II", 1, 0), 1)
    _refused(tmp_path, _content()[:128] + element, "nested|claims")


MUTATE = """
import sys, io, pathlib, resource
import numpy as np
from etils import epath
from tfds_builders import matlab
resource.setrlimit(resource.RLIMIT_AS, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + (4 << 30),) * 2)
path = epath.Path(sys.argv[1])
whole, rng = path.read_bytes(), np.random.default_rng(0)
for _ in range(1500):
    content = bytearray(whole)
    for _ in range(rng.integers(1, 4)):
        content[rng.integers(128, len(content))] = rng.integers(256)
    path.write_bytes(bytes(content))
    try:
        matlab.load(path, "x", max_bytes=1 << 20, max_unpacked=1 << 20)
    except ValueError as error:
        assert "MemoryError" not in str(error), error
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_mutated_files_do_no_harm(tmp_path):
    """In a separate process: a crash would end the tests."""
    path = tmp_path / "x.mat"
    path.write_bytes(_content())
    run = subprocess.run([sys.executable, "-c", MUTATE, str(path)], capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr[-2000:]
    assert int(run.stdout) < resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + 500  # MiB
    assert zlib.crc32(path.read_bytes())  # the last mutation was written
