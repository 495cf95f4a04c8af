"""Configs by name, and which folder `from configs import ...` means in a config file."""

import subprocess
import sys

import pytest
from conftest import ROOT

from refinenet_jax.command_line import config_files
from refinenet_jax.errors import UsageError


def test_a_packaged_config_has_a_name():
    path = str(ROOT / "configs" / "hof.py")
    assert config_files.find("hof") == path
    assert config_files.find("hof:rf_lw_mbv2") == f"{path}:rf_lw_mbv2"
    assert config_files.find(f"{path}:rf50") == f"{path}:rf50"


@pytest.mark.parametrize(
    ("config", "hint"),
    [("hoff", "'hof'"), ("paper", "person_parts"), ("none/hof.py", "--config=hof"), ("none/mine.py", "pretrained")],
)
def test_an_unknown_config_is_refused_with_what_there_is(config, hint):
    with pytest.raises(UsageError, match=hint):
        config_files.find(config)


@pytest.mark.parametrize(("name", "seed"), [("hof", 0), ("mine/configs/own.py", 7), ("recipes/other.py", 0)])
def test_configs_are_those_next_to_the_file_or_the_packaged(name, seed, tmp_path):
    """Seed 7 is that of the user's own configs/common.py; what lies in the working directory is never imported."""
    for folder in ("configs", "mine/configs", "recipes"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "configs" / "__init__.py").write_text("raise RuntimeError('the working directory')")
    (tmp_path / "mine/configs/common.py").write_text(
        "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'seed': 7, 'data': {'name': 'x'}})\n"
    )
    for file in ("mine/configs/own.py", "recipes/other.py"):
        (tmp_path / file).write_text("from configs import common\ndef get_config():\n    return common.get_config()\n")
    code = (
        "import sys; sys.path.insert(0, ''); from refinenet_jax import main; "
        f"sys.argv = ['main', '--config={name}', '--workdir=none', '--config.data.name=y']; main._parse(sys.argv); "
        "print(main._CONFIG.value.seed, main._CONFIG.value.data.name)"
    )
    command = [sys.executable, "-c", code]
    environment = {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=100)
    assert found.stdout.split() == [str(seed), "y"], found.stderr
