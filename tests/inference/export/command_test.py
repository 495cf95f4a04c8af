"""The export command: files in every format agree with the network in their own runtimes, or are rejected."""

import argparse
import json
import re
import sys

import jax
import numpy as np
import onnx as onnx_library
import pytest
import tiny

from refinenet_jax import checkpoint, models, visualize
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.export import command, onnx, savedmodel, stablehlo, tflite
from refinenet_jax.inference.segmenter import Segmenter

FORMATS = {"stablehlo": stablehlo, "onnx": onnx, "tflite": tflite, "savedmodel": savedmodel}
SIZE = (50, 70)
CLASSES = ("background", "red", "green")


@pytest.fixture(autouse=True)
def trained(tmp_path, monkeypatch):
    """A checkpoint of the tiny network, the only content of the working directory."""
    monkeypatch.setattr(models, "create_model", tiny.create_model)
    monkeypatch.chdir(tmp_path)
    tiny.write_checkpoint("trained", CLASSES, variant="rf_lw_mbv2", flip_pairs=[[1, 2]], license='CC0 "quoted"')
    return tmp_path


@pytest.fixture
def squares(tmp_path):
    """A folder of pictures, and their masks."""
    pictures = tiny.Pictures([(60, 84)] * 4)
    for kind in ("images", "masks"):
        (tmp_path / "squares" / kind).mkdir(parents=True)
    for picture in pictures:
        for kind in ("image", "mask"):
            visualize.write(str(tmp_path / "squares" / f"{kind}s" / f"{picture['id']}.png"), picture[kind])
    (tmp_path / "squares" / "dataset.yaml").write_text(f"classes: [{', '.join(CLASSES)}]\nlayout: masks\n")
    return pictures


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(["--checkpoint=trained", "--size=50x70", *arguments]))


def pictures(count: int) -> np.ndarray:
    return np.stack([picture["image"] for picture in tiny.Pictures([SIZE] * count, seed=7)])


def predicted(images: np.ndarray, **options) -> np.ndarray:
    segmenter = Segmenter.from_checkpoint("trained", **options)
    return np.stack([segmenter(image).scores for image in images])


@pytest.mark.parametrize("name", FORMATS)
def test_exports_agree_with_predict(name, trained, capsys):
    """All steps, from fitting to a longest side and the canvas to scales, flip and resizing back."""
    output = trained / "out" / f"net{FORMATS[name].SUFFIX}"
    options = ("--longest-side", "56", "--scales", "0.9", "1.2", "--flip", "--num-pictures=2")
    assert run(f"--format={name}", f"--output={output}", *options) == 0

    about, call = FORMATS[name].load(output)
    images = pictures(1 if name == "tflite" else 3)
    mask, scores = call(images)
    expected = predicted(images, longest_side=56, scales=(0.9, 1.2), flip=True)
    assert np.abs(predicted(images, scales=(0.9, 1.2), flip=True) - expected).max() > 0.1
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    assert mask.dtype == np.uint8
    assert (mask == expected.argmax(-1)).mean() > 0.999
    assert len(np.unique(mask)) == 3

    expected = {"class_names": list(CLASSES), "license": 'CC0 "quoted"', "variant": "rf_lw_mbv2"}
    expected |= {"longest_side": 56, "scales": [0.9, 1.2], "flip": True}
    assert {key: about[key] for key in expected} == expected
    assert str(trained) not in json.dumps(about)  # folders are private
    assert f"{name}: rf_lw_mbv2, 50x70, batch {'1' if name == 'tflite' else 'free'}" in capsys.readouterr().out
    assert [path.name for path in output.parent.iterdir()] == [output.name]


@pytest.mark.parametrize("name", command.INT8_FORMATS)
def test_int8_computes_in_8_bits_and_prints_its_loss(name, squares, trained, capsys):
    output = trained / f"net{FORMATS[name].SUFFIX}"
    options = ("--int8", "--calibration", "squares/images", "--dataset=./squares", "--split=train")
    assert run(f"--format={name}", f"--output={output}", *options) == 0
    about, call = FORMATS[name].load(output)
    assert about["format"] == f"{name} int8"
    _, scores = call(pictures(1))
    assert 1e-4 < np.abs(scores - predicted(pictures(1))).mean() < 0.05
    if name == "onnx":
        kinds = [node.op_type for node in onnx_library.load(output).graph.node]
        assert kinds.count("QuantizeLinear") >= kinds.count("Conv") == 3
    figures = re.search(r"truth +([\d.]+) +([\d.]+)", capsys.readouterr().out).groups()
    assert all(0 < float(figure) < 1 for figure in figures)
    if name == "tflite":  # LiteRT would abort the process
        checkpoint.write_model(
            "dead", checkpoint.read_description("trained"), jax.tree.map(np.zeros_like, tiny.variables())
        )
        with pytest.raises(UsageError, match="dead"):
            run("--checkpoint=dead", "--format=tflite", "--output=dead.tflite", *options)
        assert not (trained / "dead.tflite").exists()


def test_an_inaccurate_export_is_rejected(squares, trained, capsys):
    (trained / "black").mkdir()
    visualize.write("black/a.png", np.zeros((*SIZE, 3), np.uint8))
    options = ("--format=onnx", "--int8", "--calibration", "black", "--images", "squares/images")
    (trained / "net.onnx").write_bytes(b"earlier")
    with pytest.raises(UsageError, match=r"net\.onnx was not written"):
        run(*options, "--output=net.onnx", "--overwrite")
    assert (trained / "net.onnx").read_bytes() == b"earlier"
    assert not list(trained.glob("*.rejected"))


def test_files_are_replaced_only_with_overwrite(trained, tmp_path):
    options = ("--format=stablehlo", "--output=net.zip", "--num-pictures=1")
    (trained / "other").write_bytes(b"other")
    (trained / "net.zip").symlink_to("other")
    with pytest.raises(UsageError, match=r"net.zip.*--overwrite"):
        run(*options)
    assert run(*options, "--overwrite") == 0
    assert (trained / "other").read_bytes() == b"other"
    assert not (trained / "net.zip").is_symlink()


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        (["--size=dynamic"], "--size=dynamic.*--size=720x1280"),
        (["--size=0x64"], "--size=0x64"),
        (["--size=64x64", "--scales", "0.4"], "--size=64x64.*26 pixels"),
        (["--int8"], "--calibration"),
        (["--calibration", "x"], "--int8"),
        (["--format=savedmodel", "--int8", "--output=x"], "savedmodel.*onnx.*tflite"),
        (["--output=net.tflite"], "net.tflite.*net.onnx"),
        (["--images", "x", "--dataset=./x"], "--images.*--dataset"),
        (["--images", "missing"], "missing"),
        (["--num-pictures=0"], "--num-pictures is 0"),
        (["--format=savedmodel", "--output=trained", "--overwrite"], "trained exists"),
        (["--format=onnx", "--output=folder.onnx", "--overwrite"], "folder.onnx exists"),
        (["--output=file/net.onnx", "--num-pictures=1"], "file/net.onnx cannot be written"),
        (["--dataset=./squares", "--split=train"], "cat, dog.*red, green"),
    ],
)
def test_usage_errors_before_anything_is_written(options, facts, squares, trained):
    (trained / "folder.onnx").mkdir()
    (trained / "file").touch()
    (trained / "squares" / "dataset.yaml").write_text("classes: [background, cat, dog]\nlayout: masks\n")
    before = sorted(trained.rglob("*"))
    with pytest.raises(UsageError, match=facts):
        run("--format=onnx", "--output=net.onnx", *options)
    assert sorted(trained.rglob("*")) == before


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "refinenet_jax.inference.export.onnx")
    with pytest.raises(UsageError, match=r"onnxruntime.*\[export\]"):
        run("--format=onnx", "--output=net.onnx")
