"""Short runs that many tests look at, and a bucket that is a local folder."""

from pathlib import Path

import buckets
import pytest
import tiny_runs

from refinenet_jax.training import loop


@pytest.fixture(scope="module")
def tiny_world():
    """Names of networks and datasets mean the tiny ones."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_runs.use(patch)
        yield


@pytest.fixture(scope="module")
def full_run(tiny_world, tmp_path_factory) -> tuple[Path, dict]:
    """Returns the folder and the summary of a run of six steps."""
    workdir = tmp_path_factory.mktemp("full")
    return workdir, loop.train(tiny_runs.config(), workdir)


@pytest.fixture(scope="module")
def half_run(tiny_world, tmp_path_factory) -> Path:
    """Returns the folder of a run of three steps."""
    workdir = tmp_path_factory.mktemp("half")
    loop.train(tiny_runs.config(num_steps=3), workdir)
    return workdir


@pytest.fixture
def bucket(tmp_path, monkeypatch) -> Path:
    """Returns the local folder that gs:// means."""
    folder = tmp_path / "store"
    folder.mkdir()
    buckets.use(monkeypatch, folder)
    return folder
