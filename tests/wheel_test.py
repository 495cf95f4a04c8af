"""The wheel on its own, in another folder and with nothing but the packages that it requires without extras."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata

import cv2
import numpy as np
import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FLAGS = ("--no-deps", "--quiet", "--disable-pip-version-check", "--no-index")


def absent_modules() -> list[str]:
    """Returns the top-level modules on this machine that `pip install refinenet-jax` without extras does not install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting, required = [Requirement(line) for line in project["dependencies"]], set()
    while waiting:
        requirement = waiting.pop()
        key = (canonicalize_name(requirement.name), *sorted(requirement.extras))
        if key in required:
            continue
        required.add(key)
        for inner in map(Requirement, metadata.requires(requirement.name) or ()):
            extras = requirement.extras or {""}
            if not inner.marker or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(inner)
    names = {project["name"], *(name for name, *_ in required)}
    modules = metadata.packages_distributions().items()
    return [module for module, owners in modules if names.isdisjoint(map(canonicalize_name, owners))]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the wheel is installed into, with a sitecustomize.py that hides all other packages."""
    sources, wheels, target = (tmp_path_factory.mktemp(name) for name in ("sources", "wheels", "target"))
    for name in ("refinenet_jax", "configs", "tfds_builders"):  # built from a copy: a build leaves files
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__", "dummy_data"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    pip = (sys.executable, "-m", "pip")
    build = (*pip, "wheel", *FLAGS, "--no-build-isolation", "--wheel-dir", wheels, sources)
    subprocess.run(build, check=True, timeout=200)
    (wheel,) = wheels.iterdir()
    subprocess.run((*pip, "install", *FLAGS, "--target", target, wheel), check=True, timeout=100)
    hide = f"import sys\nfor name in {absent_modules()}:\n    sys.modules[name] = None\n"
    (target / "sitecustomize.py").write_text(hide)
    return target


@pytest.fixture
def run(installed, tmp_path):
    """Runs python in a folder of its own, where a folder called configs is somebody else's."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "__init__.py").write_text("raise RuntimeError('not the packaged configs')")

    def run(*arguments, status=0):
        environment = {**os.environ, "PYTHONPATH": str(installed)}
        command = [sys.executable, *map(str, arguments)]
        found = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=200)
        assert found.returncode == status, found.stderr
        return found.stdout if status == 0 else found.stderr

    return run


def test_the_wheel_holds_what_it_needs(installed, run):
    package = installed / "refinenet_jax"
    for name in ("py.typed", "pretrained/model_card.md", "pretrained/pretrained.safetensors"):
        assert (package / name).stat().st_size == (ROOT / "refinenet_jax" / name).stat().st_size
    code = "import refinenet_jax; print(refinenet_jax.__file__, refinenet_jax.__version__)"
    path, version = run("-c", code).split()
    assert path == str(package / "__init__.py")
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()


def test_a_picture_is_predicted(run, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    run("-m", "refinenet_jax", "predict", "a.png", "--output=out")
    assert cv2.imread(str(tmp_path / "out" / "a_mask.png"), cv2.IMREAD_UNCHANGED).shape[:2] == (96, 128)


def test_masks_of_another_program_are_evaluated_with_a_packaged_config(run, tmp_path):
    for name in ("images", "masks"):
        (tmp_path / "hands" / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(10):
        cv2.imwrite(str(tmp_path / f"hands/images/{index}.png"), rng.integers(0, 256, (24, 32, 3), np.uint8))
        cv2.imwrite(str(tmp_path / f"hands/masks/{index}.png"), rng.integers(0, 2, (24, 32), np.uint8))
    job = ("-m", "refinenet_jax", "evaluate", "--config=folder", "--config.data.name=./hands", "--workdir=out")
    run(*job, "--predictions=hands/masks")
    metrics = json.dumps(json.loads((tmp_path / "out" / "metrics.json").read_text()))
    assert '"hand_iou": 1.0' in metrics


def test_a_missing_extra_is_named(run, tmp_path):
    config = ("--config=folder", "--config.data.name=./hands", "--workdir=out")
    assert 'pip install "refinenet-jax[train]"' in run("-m", "refinenet_jax", "train", *config, status=1)
    built = tmp_path / "data" / "some" / "1.0.0" / "dataset_info.json"
    built.parent.mkdir(parents=True)
    built.write_text("{}")
    message = run("-m", "refinenet_jax", "check", "some", "--data-dir=data", status=1)
    assert "tensorflow_datasets" in message
    assert 'pip install "refinenet-jax[train]"' in message


def test_help_of_every_command(run):
    code = """
from refinenet_jax.__main__ import COMMANDS, main
for name in COMMANDS:
    try:
        main([name, "--help"])
    except SystemExit as end:
        print(name, "ended with", end.code)
"""
    printed = run("-c", code)
    for name in ("predict", "train", "evaluate", "check", "convert", "export", "verify"):
        assert f"\n{name} ended with 0\n" in printed
