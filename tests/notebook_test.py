"""The notebook of the quick start runs from top to bottom, in a process and a folder of its own; two steps of training."""

import json
import os
import subprocess
import sys

from conftest import ROOT

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
STEPS = "config.num_steps = 30\n"


def test_quickstart(tmp_path):
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells)
    code = "\n\n".join("".join(cell["source"]) for cell in cells)
    assert code.count(STEPS) == 1
    checks = """
assert result.mask.shape == (scene.HEIGHT, scene.WIDTH)
assert (result.mask == 1).any()
assert result._repr_png_().startswith(b"\\x89PNG")
assert before["strict"].keys() == after["strict"].keys()
assert exported.stat().st_size > 1e6
"""
    script = tmp_path / "quickstart.py"
    script.write_text(code.replace(STEPS, "config.num_steps = 2\n") + checks)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    environment["XLA_FLAGS"] = ""  # one device, not the eight of the tests
    command = [sys.executable, script]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=280)
    assert found.returncode == 0, found.stderr
    assert "Written: " in found.stdout
