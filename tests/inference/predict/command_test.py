"""The predict command: what it writes, what it refuses, and what it does about files that cannot be read."""

import io
import json
import os
from dataclasses import replace
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
from refinenet_jax.inference.predict import command
from refinenet_jax.inference.predict import pictures as predict_images
from refinenet_jax.inference.predict.items import Item
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
    return Segmenter(tiny.Tiny(3), tiny.variables(), tiny.HANDS.class_names, tiny.HANDS.flip_pairs)


@pytest.fixture(autouse=True)
def segmenter(network, monkeypatch):
    """The tiny network in the place of a checkpoint, compiled once for all tests."""
    monkeypatch.setattr(Segmenter, "from_checkpoint", lambda path, **options: network)
    return network


def predict(*arguments) -> int:
    return __main__.main(["predict", *map(str, arguments)])


def files(folder) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_masks_are_class_ids_at_the_size_of_the_picture(pictures, segmenter, tmp_path, capsys):
    assert predict(pictures, "--output", tmp_path / "out") == 0
    for name in ("a", "sub/b"):
        image = visualize.read(str(pictures / f"{name}.png"))
        mask = visualize.read(str(tmp_path / "out" / f"{name}_mask.png"))
        np.testing.assert_array_equal(mask, np.repeat(segmenter(image).mask[..., None], 3, -1))
        assert visualize.read(str(tmp_path / "out" / f"{name}_overlay.jpg")).shape == image.shape
    told = capsys.readouterr()
    assert "a.png: 41x30, " in told.err  # where there is no terminal, a line for each
    assert "Predicted 2 images" in told.out
    assert "0 background, 1 left, 2 right" in told.out


def test_a_longest_side_needs_few_programs(network, monkeypatch, tmp_path, capsys):
    """Whatever the resolution of the cameras, pictures of one aspect share a canvas."""
    fitted = replace(network, longest_side=64)
    monkeypatch.setattr(Segmenter, "from_checkpoint", lambda path, **options: fitted)
    rng, images = np.random.default_rng(1), {}
    (tmp_path / "in").mkdir()
    for i, times in enumerate((2, 5, 3, 1, 4)):
        images[f"p{i}"] = rng.integers(0, 256, (24 * times, 32 * times, 3), np.uint8)
        visualize.write(str(tmp_path / "in" / f"p{i}.png"), images[f"p{i}"])
    assert predict(tmp_path / "in", "--output", tmp_path / "out", "--save", "masks") == 0
    assert fitted.programs.shapes == [(8, 64, 64, 3)]
    for name, image in images.items():
        with Image.open(tmp_path / "out" / f"{name}_mask.png") as mask:
            np.testing.assert_array_equal(np.array(mask), fitted(image).mask)
    assert json.loads((tmp_path / "out" / "predict.json").read_text())["longest_side"] == 64


def test_results_belong_to_their_pictures_when_sizes_mix(segmenter, tmp_path):
    """Sizes in turn, one file broken: pictures are sorted by size, and each gets its own mask."""
    rng = np.random.default_rng(1)
    (tmp_path / "in").mkdir()
    images = {}
    for i in range(11):
        images[f"p{i}"] = rng.integers(0, 256, ((30, 41), (64, 32), (33, 33))[i % 3] + (3,), np.uint8)
        visualize.write(str(tmp_path / "in" / f"p{i}.png"), images[f"p{i}"])
    (tmp_path / "in" / "p4.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert predict(tmp_path / "in", "--output", tmp_path / "out", "--save", "masks", "--batch-size", "2") == 1
    assert len(files(tmp_path / "out")) == 11  # and predict.json
    for name, image in images.items():
        if name != "p4":
            with Image.open(tmp_path / "out" / f"{name}_mask.png") as mask:
                np.testing.assert_array_equal(np.array(mask), segmenter(image).mask)


def test_pictures_are_upright(segmenter, tmp_path):
    image = np.random.default_rng(2).integers(0, 256, (41, 30, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(image).save(tmp_path / "a.png", exif=exif)
    assert predict(tmp_path / "a.png", "--output", tmp_path / "out", "--save", "masks") == 0
    with Image.open(tmp_path / "out" / "a_mask.png") as mask:
        np.testing.assert_array_equal(np.array(mask), segmenter(np.ascontiguousarray(np.rot90(image, -1))).mask)


def test_unreadable_files_are_named_and_do_not_stop_the_rest(pictures, tmp_path, capsys):
    (pictures / "broken.jpg").write_bytes(b"GIF89a not really")
    (pictures / "zero.png").write_bytes(b"")
    (pictures / "text.mp4").write_text("no video")
    bomb = io.BytesIO()
    Image.new("1", (20000, 20000)).save(bomb, "PNG")
    (pictures / "bomb.png").write_bytes(bomb.getvalue())
    assert predict(pictures, "--output", tmp_path / "out") == 1
    told = capsys.readouterr()
    for says in (
        "broken.jpg cannot be decoded",
        "zero.png cannot be decoded",
        "bomb.png has too many pixels",
        "text.mp4",
    ):
        assert f"skipped: {pictures}/{says}" in told.err
    assert "4 could not be read" in told.out
    assert files(tmp_path / "out") == {
        "predict.json",
        *(f"{n}{e}" for n in ("a", "sub/b") for e in ("_mask.png", "_overlay.jpg")),
    }


def test_nothing_is_replaced_unasked(pictures, tmp_path, capsys):
    assert predict(pictures, "--output", tmp_path / "out") == 0
    before = (tmp_path / "out" / "a_mask.png").stat().st_mtime_ns
    assert predict(pictures, "--output", tmp_path / "out") == 1
    assert "Give --overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "a_mask.png").stat().st_mtime_ns == before
    assert predict(pictures, "--output", tmp_path / "out", "--overwrite") == 0
    assert (tmp_path / "out" / "a_mask.png").stat().st_mtime_ns > before


def test_stopped_run_goes_on(pictures, tmp_path, monkeypatch, capsys):
    """Ctrl-C after the first picture; what is there whole is not made again."""
    write = predict_images.outputs.write
    written = []

    def interrupted(result, root, name, kinds):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(name)
        write(result, root, name, kinds)

    arguments = [pictures, "--output", tmp_path / "out", "--save", "masks", "rle", "--batch-size", "1"]
    monkeypatch.setattr(predict_images.outputs, "write", interrupted)
    assert predict(*arguments) == 130
    assert f"--output={tmp_path / 'out'} --resume" in capsys.readouterr().err
    monkeypatch.setattr(predict_images.outputs, "write", lambda *options: (written.append(options[2]), write(*options)))
    assert predict(*arguments, "--resume") == 0
    assert "Predicted 1 image in" in capsys.readouterr().out
    assert sorted(written) == ["a", "sub/b"]
    assert files(tmp_path / "out") == {"a_mask.png", "sub/b_mask.png", "rle.json", "predict.json"}
    found = COCO(str(tmp_path / "out" / "rle.json"))
    assert {image["file_name"] for image in found.imgs.values()} == {"a.png", "sub/b.png"}
    assert predict(*arguments, "--resume") == 0
    assert "Predicted nothing, 2 done earlier" in capsys.readouterr().out
    assert len(written) == 2


def test_other_settings_are_not_mixed_in(pictures, network, tmp_path, monkeypatch, capsys):
    assert predict(pictures, "--output", tmp_path / "out") == 0
    other = network.with_variables(tiny.variables(seed=1))
    monkeypatch.setattr(Segmenter, "from_checkpoint", lambda path, **options: other)
    assert predict(pictures, "--output", tmp_path / "out", "--resume") == 1
    assert "made with other settings (weights" in capsys.readouterr().err


def test_every_kind_of_a_mixed_folder(pictures, segmenter, tmp_path, capsys):
    clips.write(pictures / "clip.mp4", clips.pictures(3, (64, 32)), sound="aac")
    assert predict(pictures, "--output", tmp_path / "out", "--save", *command.KINDS, "--min-area", "4") == 0
    endings = ("mask.png", "palette.png", "overlay.jpg", "contours.jpg", "side.jpg", "cutout.png", "scores.npz")
    videos = ("mask.mkv", "overlay.mp4", "contours.mp4", "side.mp4", "frames.csv")
    expected = {f"{name}_{end}" for name in ("a", "sub/b") for end in endings} | {f"clip_{end}" for end in videos}
    assert files(tmp_path / "out") == expected | {"rle.json", "polygons.json", "predict.json"}
    rles = json.loads((tmp_path / "out" / "rle.json").read_text())["annotations"]
    assert rles
    assert min(entry["area"] for entry in rles) >= 4
    for frame, mask in zip(
        clips.frames(pictures / "clip.mp4"), clips.frames(tmp_path / "out" / "clip_mask.mkv", "gray"), strict=True
    ):
        assert (segmenter(frame).mask == mask).mean() > 0.98  # the reader takes another matrix to RGB
    assert "1 video, 3 frames" in capsys.readouterr().out


def test_results_have_a_folder_of_their_own_without_output(pictures, tmp_path, monkeypatch, capsys):
    """Also where it lies among the pictures: earlier results are not predicted. --resume then needs the folder."""
    monkeypatch.chdir(tmp_path)
    for folder in ("predict", "predict2", "predict3"):
        assert predict(".", "--save", "masks") == 0
        told = capsys.readouterr()
        assert "Predicted 2 images in" in told.out
        assert f"Results: runs/{folder}\n" in told.out
    assert ".: skipped 6 files: 6 of earlier results" in told.err
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
    arguments = (tmp_path / "in", "--output", tmp_path / "out", "--save", "masks", "contours", "rle")
    assert predict(*arguments) == 0
    assert {"hand.jpg_mask.png", "hand.png_mask.png", os.fsdecode(b"caf\xe9_mask.png")} < files(tmp_path / "out")
    assert len(files(tmp_path / "out")) == 2 * len(names) + 2
    assert predict(*arguments, "--resume") == 0
    assert "Predicted nothing, 4 done earlier" in capsys.readouterr().out
    stored = json.loads((tmp_path / "out" / "rle.json").read_text())
    assert {image["file_name"] for image in stored["images"]} == set(names)


def test_home_in_every_path_option(pictures, network, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(Segmenter, "from_checkpoint", lambda path, **options: asked.append(str(path)) or network)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(pictures)
    assert predict("~/in/a.png", "--output=~/out", "--checkpoint=~/run", "--save", "masks") == 0
    assert asked == [f"{tmp_path}/run"]
    assert "a_mask.png" in files(tmp_path / "out")
    assert not (pictures / "~").exists()


def test_endings_that_are_not_read_are_counted(pictures, tmp_path, capsys):
    for name in ("notes.md", "b.json", "c.json"):
        (pictures / name).write_text("x")
    assert predict(pictures, "--output", tmp_path / "out") == 0
    assert f"{pictures}: skipped 3 files: 2 .json, 1 .md" in capsys.readouterr().err


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
    ("arguments", "says"),
    [
        (["missing.png"], "does not exist"),
        (["empty"], "No pictures"),
        (["in", "--save", "frames"], "--save frames"),
        (["in", "--batch-size", "0"], "--batch-size is 0"),
        (["in", "--smoothing", "-1"], "--smoothing is -1"),
        (["in", "--max-seconds", "nan"], "--max-seconds is nan"),
        (["97"], "Camera 97"),
        (["in/a.png", "in/again/a.png"], "would both be written"),
        (["in", "--max-seconds", "0"], "--max-seconds is 0"),
    ],
)
def test_what_cannot_be_done_is_told(arguments, says, pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "in" / "again").mkdir()
    visualize.write("in/again/a.png", np.zeros((8, 8, 3), np.uint8))
    assert predict(*arguments, "--output", "out") == 1
    assert says in capsys.readouterr().err
    assert not list(tmp_path.glob("out/*_*"))


def test_full_device_is_explained(pictures, segmenter, tmp_path, monkeypatch):
    def full(images, batch_size):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
        yield

    other = replace(segmenter)
    object.__setattr__(other, "unordered", full)
    with (
        command.coco.Journals(tmp_path, [], "0") as journals,
        pytest.raises(UsageError, match="smaller --batch-size"),
    ):
        predict_images.predict_images(
            other, [Item(str(pictures / "a.png"), "a.png", "image")], tmp_path, [], journals, 8
        )
