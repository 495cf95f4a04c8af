"""The predict command: its files, what it refuses, and what it does with files that cannot be read."""

import io
import json
import os
from pathlib import Path

import clips
import jax
import numpy as np
import pytest
import tiny
from PIL import Image
from pycocotools.coco import COCO

import refinenet_jax
from refinenet_jax import __main__, visualize
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict import arguments, outputs
from refinenet_jax.inference.segmenter import Segmenter


@pytest.fixture
def pictures(tmp_path):
    """A folder with two pictures of different sizes, one of them in a subfolder."""
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    visualize.write(str(tmp_path / "in" / "a.png"), rng.integers(0, 256, (30, 41, 3), np.uint8))
    visualize.write(str(tmp_path / "in" / "sub" / "b.png"), rng.integers(0, 256, (64, 32, 3), np.uint8))
    return tmp_path / "in"


@pytest.fixture(scope="module")
def network():
    return tiny.segmenter()


@pytest.fixture(autouse=True)
def segmenter(network, monkeypatch):
    """The tiny network in the place of a checkpoint, compiled once for all tests."""
    monkeypatch.setattr(Segmenter, "from_checkpoint", lambda path, **options: network)
    return network


def predict(*arguments) -> int:
    return __main__.main(["predict", *map(str, arguments)])


def files(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_each_picture_gets_its_own_mask_and_unreadable_files_are_reported(segmenter, tmp_path, capsys):
    """Sizes in turn, so that batches are not in the order of the files."""
    rng, images = np.random.default_rng(1), {}
    (tmp_path / "in").mkdir()
    for i in range(7):
        images[f"p{i}"] = rng.integers(0, 256, (*((30, 41), (64, 32), (33, 33))[i % 3], 3), np.uint8)
        visualize.write(str(tmp_path / "in" / f"p{i}.png"), images[f"p{i}"])
    bomb = io.BytesIO()
    Image.new("1", (20000, 20000)).save(bomb, "PNG")
    broken = {"broken.jpg": b"GIF89a not really", "zero.png": b"", "text.mp4": b"no video", "bomb.png": bomb.getvalue()}
    for name, content in broken.items():
        (tmp_path / "in" / name).write_bytes(content)
    assert predict(tmp_path / "in", "--output", tmp_path / "out", "--batch-size", "2") == 1
    printed = capsys.readouterr()
    assert all(f"skipped: {tmp_path}/in/{name}" in printed.err for name in broken)
    assert "p0.png: 41x30, " in printed.err  # without a terminal, a line per picture
    assert "Predicted 7 images" in printed.out
    assert "s to prepare" in printed.out
    assert "4 could not be read" in printed.out
    assert files(tmp_path / "out") == {
        "predict.json",
        *(f"{n}_{e}" for n in images for e in ("mask.png", "overlay.jpg")),
    }
    for name, image in images.items():
        with Image.open(tmp_path / "out" / f"{name}_mask.png") as mask:
            np.testing.assert_array_equal(np.array(mask), segmenter(image).mask)


def test_results_are_replaced_only_with_overwrite(pictures, tmp_path, capsys):
    mask = tmp_path / "out" / "a_mask.png"
    mask.parent.mkdir()
    mask.write_text("before")
    assert predict(pictures, "--output", tmp_path / "out") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert mask.read_text() == "before"
    assert predict(pictures, "--output", tmp_path / "out", "--overwrite") == 0
    assert mask.read_bytes().startswith(b"\x89PNG")


def test_stopped_run_is_resumed(pictures, tmp_path, monkeypatch, capsys):
    """Ctrl-C after the first picture, whose files are complete."""
    write = outputs.write
    written = []

    def interrupted(result, root, name, kinds):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(name)
        write(result, root, name, kinds)

    arguments = [pictures, "--output", tmp_path / "out", "--save", "masks", "coco", "--batch-size", "1"]
    monkeypatch.setattr(outputs, "write", interrupted)
    assert predict(*arguments) == 130
    assert f"--output={tmp_path / 'out'} --resume" in capsys.readouterr().err
    monkeypatch.setattr(outputs, "write", lambda *options: (written.append(options[2]), write(*options)))
    assert predict(*arguments, "--resume") == 0
    assert "Predicted 1 image in" in capsys.readouterr().out
    assert sorted(written) == ["a", "sub/b"]
    assert files(tmp_path / "out") == {"a_mask.png", "sub/b_mask.png", "coco.json", "predict.json"}
    found = COCO(str(tmp_path / "out" / "coco.json"))
    assert {image["file_name"] for image in found.imgs.values()} == {"a.png", "sub/b.png"}
    assert predict(*arguments, "--resume") == 0
    assert "Predicted nothing, 2 done earlier" in capsys.readouterr().out
    assert len(written) == 2


def test_other_settings_are_not_mixed_in(pictures, network, tmp_path, monkeypatch, capsys):
    assert predict(pictures, "--output", tmp_path / "out") == 0
    other = network.with_variables(tiny.variables(seed=1))
    monkeypatch.setattr(Segmenter, "from_checkpoint", lambda path, **options: other)
    assert predict(pictures, "--output", tmp_path / "out", "--resume") == 1
    assert "other settings (weights" in capsys.readouterr().err


def test_every_kind_of_result(pictures, segmenter, tmp_path, capsys):
    clips.write(pictures / "clip.mp4", clips.pictures(3, (64, 32)), sound="aac")
    assert predict(pictures, "--output", tmp_path / "out", "--save", *arguments.PICTURE_KINDS, "frames") == 0
    endings = ("mask.png", "palette.png", "overlay.jpg", "contours.jpg", "cutout.png", "scores.npz")
    videos = ("mask.mkv", "overlay.mp4", "contours.mp4", "frames.csv")
    expected = {f"{name}_{end}" for name in ("a", "sub/b") for end in endings} | {f"clip_{end}" for end in videos}
    assert files(tmp_path / "out") == expected | {"coco.json", "predict.json"}
    assert json.loads((tmp_path / "out" / "coco.json").read_text())["annotations"]
    for frame, mask in zip(
        clips.frames(pictures / "clip.mp4"), clips.frames(tmp_path / "out" / "clip_mask.mkv", "gray"), strict=True
    ):
        assert (segmenter(frame).mask == mask).mean() > 0.98  # the reader has another matrix to RGB
    assert "1 video, 3 frames" in capsys.readouterr().out


def test_without_output_each_run_has_its_own_folder(pictures, tmp_path, monkeypatch, capsys):
    """The folder may be among the pictures: earlier results are not predicted. --resume then needs the folder."""
    monkeypatch.chdir(tmp_path)
    for folder in ("predict", "predict2", "predict3"):
        assert predict(".", "--save", "masks") == 0
        printed = capsys.readouterr()
        assert f"Results: runs/{folder}\n" in printed.out
    assert ".: skipped 6 files" in printed.err
    assert files(tmp_path / "runs" / "predict3") == {"in/a_mask.png", "in/sub/b_mask.png", "predict.json"}
    for option in ("--resume", "--overwrite"):
        assert predict("in", option) == 1
        assert f"{option} needs --output" in capsys.readouterr().err
        assert predict(".", option, "--output=runs/predict3", "--save", "masks") == 0


def test_equal_stems_and_long_names_are_predicted_and_resumed(segmenter, tmp_path, capsys):
    rng = np.random.default_rng(3)
    (tmp_path / "in").mkdir()
    names = ("hand.jpg", "hand.png", f"{'x' * 246}.png", os.fsdecode(b"caf\xe9.png"))
    for name in names:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "in" / name)
    arguments = (tmp_path / "in", "--output", tmp_path / "out", "--save", "masks", "contours", "coco")
    assert predict(*arguments) == 0
    stored = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert {image["file_name"] for image in stored["images"]} == set(names)
    assert {"hand.jpg_mask.png", "hand.png_mask.png", os.fsdecode(b"caf\xe9_mask.png")} < files(tmp_path / "out")
    assert len(files(tmp_path / "out")) == 2 * len(names) + 2
    assert predict(*arguments, "--resume") == 0
    assert "Predicted nothing, 4 done earlier" in capsys.readouterr().out


def test_results_come_one_by_one_in_python(pictures, network, monkeypatch, capsys):
    clips.write(pictures / "clip.mp4", clips.pictures(3, (64, 32)))
    (pictures / "broken.png").write_bytes(b"no picture")
    results = refinenet_jax.predict(pictures)
    found = [(Path(result.source).relative_to(pictures).as_posix(), result.seconds) for result in results]
    assert sorted(found[:2]) == [("a.png", None), ("sub/b.png", None)]
    assert found[2:] == [("clip.mp4", pytest.approx(time)) for time in (0, 0.04, 0.08)]
    assert "broken.png" in capsys.readouterr().err
    (result,) = refinenet_jax.predict([pictures / "a.png"])
    np.testing.assert_array_equal(result.mask, network(str(pictures / "a.png")).mask)
    with pytest.raises(UsageError, match="does not exist"):
        refinenet_jax.predict("missing/")  # before the first result is asked for
    with pytest.raises(UsageError, match="Segmenter"):
        refinenet_jax.predict([result.image])


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        (["missing.png"], "missing.png"),
        (["empty"], "empty"),
        (["in", "--save", "frames"], "--save frames"),
        (["in", "--batch-size", "0"], "--batch-size is 0"),
        (["in", "--max-seconds", "nan"], "--max-seconds is nan"),
        (["97"], "Camera 97"),
        (["in/a.png", "in/again/a.png"], "in/again/a.png"),
    ],
)
def test_usage_errors_name_their_cause(options, fact, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "in" / "again").mkdir()
    visualize.write("in/again/a.png", np.zeros((8, 8, 3), np.uint8))
    assert predict(*options, "--output", "out") == 1
    assert fact in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*_*"))


def test_memory_of_the_device_exceeded(pictures, segmenter, tmp_path, monkeypatch, capsys):
    def exhausted(self, prepared, batch_size):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
        yield

    monkeypatch.setattr(Segmenter, "unordered", exhausted)
    assert predict(pictures, "--output", tmp_path / "out") == 1
    assert "--batch-size" in capsys.readouterr().err
