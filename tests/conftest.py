"""Every test sees eight virtual CPU devices; tests of real data skip where it is absent."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

# Before JAX starts its CPU backend.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # a new one for each run of the suite, shared by all its processes
    CACHE = tempfile.TemporaryDirectory(prefix="refinenet_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = CACHE.name
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8".strip()

import pytest
from absl import logging

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
sys.path += [str(ROOT), str(ROOT / "tests")]  # configs; tiny.py


@pytest.fixture(autouse=True)
def verbosity():
    """The programs silence absl's log for good; tests that come after one read it."""
    before = logging.get_verbosity()
    yield
    logging.set_verbosity(before)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Path]:
    """Returns the path of a file with outputs of the published networks; skips the test if this machine lacks it."""

    def find(name: str) -> Path:
        for folder in (ROOT / "tests" / "golden", SHARED / "golden"):
            if (folder / name).exists():
                return folder / name
        pytest.skip(f"the golden values ({name} in ../shared/golden) are not on this machine")

    return find
