"""Tests of reading MATLAB files; crafted ones are tested with the library, which has the same reader of their structure."""

import io

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
    _refused(tmp_path, large, "inflates to far more", max_unpacked=1_000_000)
    assert _load(tmp_path, large, max_unpacked=3_000_000).shape == (500, 500)


@pytest.mark.parametrize("content", [b"", b"text" * 100, _content()[:300], _content(do_compression=True)[:200]])
def test_refuses_other_and_cut_files(tmp_path, content):
    _refused(tmp_path, content)


def test_refuses_a_missing_variable(tmp_path):
    path = epath.Path(tmp_path / "x.mat")
    path.write_bytes(_content())
    with pytest.raises(ValueError, match=r"x\.mat cannot be read as a MATLAB file with 'y'"):
        matlab.load(path, "y", max_bytes=1 << 20, max_unpacked=1 << 20)
