"""Every test sees eight virtual CPU devices; real data and golden values live beside the checkout, or the test skips."""

import os
import sys
from pathlib import Path

# Before JAX starts its CPU backend.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # programs of an earlier run would hide what no longer compiles
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
def golden() -> Path:
    """Folder of the published networks' outputs."""
    folder = SHARED / "golden"
    if not folder.is_dir():
        pytest.skip("the golden values (../shared/golden) are not on this machine")
    sys.path.insert(0, str(folder))  # weights_rule.py
    return folder
