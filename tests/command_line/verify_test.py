"""`refinenet-jax verify` names what is damaged and the step to resume from."""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pytest

from refinenet_jax import checkpoint, integrity
from refinenet_jax.command_line import verify
from refinenet_jax.errors import UsageError

DESCRIPTION = {"variant": "rf101", "class_names": ["background", "hand"]}
MODEL = {"params": {"w": np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)}}


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Step 0 without a manifest."""
    folder = tmp_path_factory.mktemp("converted") / "run"
    checkpoint.write_model(folder, DESCRIPTION, MODEL)
    shutil.rmtree(folder / "manifests", ignore_errors=True)
    return folder


@pytest.fixture
def workdir(converted, tmp_path):
    """Steps 0, 10 and 20 with manifests."""
    folder = Path(shutil.copytree(converted, tmp_path / "run"))
    for step in ("10", "20"):
        shutil.copytree(folder / "checkpoints" / "0", folder / "checkpoints" / step)
    integrity.complete_manifests(folder)
    return folder


def _verify(folder, capsys):
    """Exit status and output."""
    parser = argparse.ArgumentParser()
    verify.add_arguments(parser)
    status = verify.run(parser.parse_args([str(folder)]))
    return status, capsys.readouterr().out


def test_whole_checkpoints(workdir, capsys):
    status, output = _verify(workdir, capsys)
    assert status == 0
    header, *rows, _, _ = output.splitlines()
    assert header.split() == ["step", "files", "MB"]
    count = len(integrity.files(workdir, 0))
    assert [row.split() for row in rows] == [[step, str(count), "0.0", "whole"] for step in ("0", "10", "20")]


def test_damage_is_named_and_gives_status_1(workdir, capsys):
    weights = max((workdir / "checkpoints/20/model").rglob("d/*"), key=lambda path: path.stat().st_size)
    weights.write_bytes(weights.read_bytes()[::-1])
    status, output = _verify(workdir, capsys)
    assert status == 1
    assert f"    {weights.relative_to(workdir / 'checkpoints/20')} has changed\n" in output
    assert all(fact in output for fact in ("1 of 3 checkpoints", "checkpoints/20", "step 10"))


def test_many_faults_are_counted(workdir, capsys):
    for step in ("0", "10", "20"):
        for path in (workdir / "checkpoints" / step).rglob("*"):
            if path.is_file() and path.name != "_METADATA":
                path.unlink()
    status, output = _verify(workdir, capsys)
    assert status == 1
    missing = len(integrity.read_manifest(workdir, 0)) - 1
    assert output.count(" is missing") == 3 * 5
    assert output.count(f"    and {missing - 5} more\n") == 3
    assert "another folder" in output


def test_a_converted_folder_without_manifest_is_no_fault(converted, capsys):
    status, output = _verify(converted, capsys)
    assert status == 0
    assert "no manifest" in output


@pytest.mark.parametrize("content", [None, '{"variant": ', "[]", '{"variant": "rf101", "class_names": []}'])
def test_a_damaged_description_is_a_fault(workdir, capsys, content):
    (workdir / "model.json").unlink()
    if content is not None:
        (workdir / "model.json").write_text(content)
    status, output = _verify(workdir, capsys)
    assert status == 1
    assert "model.json" in output


def test_a_folder_without_checkpoints_is_an_error(tmp_path, capsys):
    with pytest.raises(UsageError, match=r"no checkpoint.*--workdir"):
        _verify(tmp_path, capsys)
    with pytest.raises(UsageError, match=r"nowhere is not a folder.*--workdir"):
        _verify(tmp_path / "nowhere", capsys)
