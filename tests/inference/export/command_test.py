"""The export command: every format is run by its own runtime, and nothing that disagrees gets the name asked for."""

import argparse
import json
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
    """A checkpoint of the tiny network; the current folder is empty but for it."""
    monkeypatch.setattr(models, "create_model", tiny.create_model)
    monkeypatch.chdir(tmp_path)
    description = {
        "variant": "rf_lw_mbv2",
        "class_names": CLASSES,
        "flip_pairs": [[1, 2]],
        "dtype": "float32",
        "scales": [1.0],
        "flip": False,
        "dataset": "squares",
        "license": 'CC0 "quoted"',
    }
    checkpoint.write_model("trained", description, tiny.variables())
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
def test_export_computes_what_predict_does(name, trained, capsys):
    """The whole way from a picture of its size: fitting to a longest side, canvas, scales, mirror, and back."""
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

    assert about["class_names"] == list(CLASSES)
    assert about["source"] == "trained, best step"
    assert about["license"] == 'CC0 "quoted"'
    assert (about["longest_side"], about["scales"]) == (56, [0.9, 1.2])
    assert about["flip"] is True
    assert about["variant"] == "rf_lw_mbv2"
    assert str(trained) not in json.dumps(about)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{name}: rf_lw_mbv2, 50x70, batch {'1' if name == 'tflite' else 'free'}")
    assert max(map(len, lines[:-1])) <= 80
    assert [path.name for path in output.parent.iterdir()] == [output.name]


@pytest.mark.parametrize("name", command.INT8_FORMATS)
def test_int8_computes_in_8_bits_and_its_loss_is_told(name, squares, trained, capsys):
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
    told = capsys.readouterr().out.splitlines()
    (line,) = (line for line in told if line.startswith("IoU of the foreground with the truth"))
    assert all(0 < float(figure) < 1 for figure in line.split()[-2:])


def test_a_dead_layer_is_refused_in_8_bits(squares, trained):
    """LiteRT aborts the process on it."""
    description = checkpoint.read_description("trained")
    dead = jax.tree.map(np.zeros_like, tiny.variables())
    checkpoint.write_model("dead", description, dead)
    with pytest.raises(UsageError, match="dead"):
        run("--checkpoint=dead", "--format=tflite", "--int8", "--calibration", "squares/images", "--output=net.tflite")
    assert not (trained / "net.tflite").exists()


def test_export_that_disagrees_is_rejected(squares, trained, capsys):
    (trained / "black").mkdir()
    visualize.write("black/a.png", np.zeros((*SIZE, 3), np.uint8))
    options = ("--format=onnx", "--int8", "--calibration", "black", "--images", "squares/images")
    (trained / "net.onnx").write_bytes(b"the one before")
    assert run(*options, "--output=net.onnx", "--overwrite") == 1
    assert "of the pixels have the network's class" in capsys.readouterr().err
    assert (trained / "net.onnx").read_bytes() == b"the one before"
    assert (trained / "net.onnx.rejected").exists()


def test_nothing_is_replaced_unasked(trained, tmp_path):
    options = ("--format=stablehlo", "--output=net.zip", "--num-pictures=1")
    (trained / "other").write_bytes(b"other")
    (trained / "net.zip").symlink_to("other")
    with pytest.raises(UsageError, match=r"net.zip exists.*--overwrite"):
        run(*options)
    assert run(*options, "--overwrite") == 0
    assert (trained / "other").read_bytes() == b"other"
    assert not (trained / "net.zip").is_symlink()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--size=dynamic"], "--size=dynamic.*--size=720x1280"),
        (["--size=720"], "height x width"),
        (["--size=0x64"], "height x width"),
        (["--size=64x64", "--scales", "0.4"], "too small.*26 pixels"),
        (["--size=99999x99999"], "too large.*GB of memory"),
        (["--int8"], "needs --calibration"),
        (["--calibration", "x"], "is for --int8"),
        (["--format=savedmodel", "--int8", "--output=x"], "savedmodel.*onnx or tflite"),
        (["--output=net.tflite"], r"net.tflite.*net.onnx"),
        (["--images", "x", "--dataset=./x"], "--images and --dataset"),
        (["--images", "missing"], "missing does not exist"),
        (["--num-pictures=0"], "1 or more"),
        (["--format=savedmodel", "--output=trained", "--overwrite"], "exists.*another --output"),
        (["--format=onnx", "--output=folder.onnx", "--overwrite"], "exists.*another --output"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(options, says, trained):
    (trained / "folder.onnx").mkdir()
    before = sorted(trained.rglob("*"))
    with pytest.raises(UsageError, match=f"(?s){says}"):
        run("--format=onnx", "--output=net.onnx", *options)
    assert sorted(trained.rglob("*")) == before


def test_output_that_cannot_be_written_is_told(trained):
    (trained / "file").write_bytes(b"")
    with pytest.raises(UsageError, match=r"cannot be written.*another --output"):
        run("--format=stablehlo", "--output=file/net.zip", "--num-pictures=1")


def test_dataset_of_other_classes_is_refused(squares, trained):
    (trained / "squares" / "dataset.yaml").write_text("classes: [background, cat, dog]\nlayout: masks\n")
    with pytest.raises(UsageError, match=r"has the classes background, cat, dog, the network background, red, green"):
        run("--format=onnx", "--output=net.onnx", "--dataset=./squares", "--split=train")


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "refinenet_jax.inference.export.onnx")
    with pytest.raises(UsageError, match=r"--format=onnx needs the package onnxruntime.*\[export\]"):
        run("--format=onnx", "--output=net.onnx")
