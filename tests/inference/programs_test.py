"""Stored programs are reused, and an outdated or damaged one is never run."""

import jax
import numpy as np
import pytest
import tiny

from refinenet_jax import compilation_cache
from refinenet_jax.inference import programs

IMAGE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder, and how often a network was traced."""
    monkeypatch.setattr(compilation_cache, "folder", lambda: tmp_path)
    traced = []
    export = jax.export.export
    monkeypatch.setattr(jax.export, "export", lambda *args, **kw: traced.append(1) or export(*args, **kw))
    return tmp_path / "lowered", traced


def _scores(**settings):
    return tiny.segmenter(**settings)(IMAGE).scores


def test_a_second_start_traces_nothing(cache, monkeypatch):
    folder, traced = cache
    first, again = _scores(), _scores()
    assert len(traced) == len(list(folder.iterdir())) == 1
    np.testing.assert_array_equal(first, again)
    monkeypatch.setattr(compilation_cache, "folder", lambda: None)
    np.testing.assert_array_equal(first, _scores())


def test_everything_that_changes_the_program_changes_the_key(cache, monkeypatch):
    folder, _ = cache
    _scores()
    for settings in ({"scales": (0.5,)}, {"flip": True}, {"tile": 128}, {"longest_side": 90}):
        before = len(list(folder.iterdir()))
        _scores(**settings)
        assert len(list(folder.iterdir())) == before + 1, settings
    for name, value in (("_sources", lambda: "other"), ("version", lambda package: "9.9")):
        before = len(list(folder.iterdir()))
        with monkeypatch.context() as patch:
            patch.setattr(programs, name, value)
            _scores()
        assert len(list(folder.iterdir())) == before + 1, name


def test_a_damaged_program_is_replaced(cache):
    folder, traced = cache
    expected = _scores()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(_scores(), expected)
        assert programs._read(path) is not None
    assert len(traced) == 4


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "lowered").write_text("no folder")
    monkeypatch.setattr(compilation_cache, "folder", lambda: tmp_path)
    assert _scores().shape == (20, 30, 3)


def test_the_folder_is_bounded(cache, monkeypatch):
    folder, _ = cache
    monkeypatch.setattr(programs, "_MOST_FILES", 2)
    for scale in (0.5, 0.6, 0.7):
        _scores(scales=(scale,))
    assert len(list(folder.iterdir())) == 2
