"""The notebook of the quick start runs from top to bottom, fine-tuning helps, and the exported file is the network."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.timeout(900)  # 110 s of processor time, most of it compilation
def test_quickstart(tmp_path):
    notebook = json.loads((ROOT / "examples" / "quickstart.ipynb").read_text())
    code = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    for folder in ("docs", "examples"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "docs" / "hands.jpg", tmp_path / "docs")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}  # a single device, as on most machines
    run = (sys.executable, "-c", code)
    found = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path / "examples", env=environment, timeout=890)
    assert found.returncode == 0, found.stderr
    before, after = map(float, re.search(r"([\d.]+) before, ([\d.]+) after", found.stdout).groups())
    assert after > before + 0.5
    assert float(re.search(r"([\d.]+)% of the pixels", found.stdout)[1]) > 99.9
    assert "hand: " in found.stdout  # the photograph's
