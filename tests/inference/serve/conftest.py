"""The application around the tiny network, and a check that it leaves no file behind."""

import tempfile
from contextlib import ExitStack

import pytest
import tiny
from starlette.testclient import TestClient

from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.serve.app import create_app
from refinenet_jax.inference.serve.limits import Limits


@pytest.fixture(scope="session")
def segmenter() -> Segmenter:
    sides = tiny.HANDS
    return Segmenter(tiny.Tiny(3), tiny.variables(), sides.class_names, sides.flip_pairs, longest_side=128)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The system's folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def start(segmenter, scratch):
    """Starts the application with given limits; returns a client."""
    with ExitStack() as stack:

        def start(**limits) -> TestClient:
            app = create_app(segmenter, Limits(**limits), "tiny")
            return stack.enter_context(TestClient(app, base_url="http://localhost:8000"))

        yield start
    assert list(scratch.iterdir()) == []
