"""Prediction with an Apache Beam pipeline writes the same files as without."""

import re
from dataclasses import replace

import clips
import numpy as np
import pytest
import tiny

pytest.importorskip("apache_beam")

from refinenet_jax import __main__, visualize
from refinenet_jax.inference.segmenter import Segmenter


@pytest.fixture
def loads(monkeypatch):
    """Counts how often the network is loaded."""
    network = tiny.segmenter()
    found = []

    def load(path, **options):
        found.append((str(path), options))
        return replace(network)

    monkeypatch.setattr(Segmenter, "from_checkpoint", load)
    return found


def predict(*arguments) -> int:
    return __main__.main(["predict", "--checkpoint=runs/x", *map(str, arguments)])


def test_beam_writes_the_same_files(loads, tmp_path, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    for i in range(7):
        size = ((30, 41), (64, 32))[i % 2]
        visualize.write(str(tmp_path / "in" / "sub" / f"{i}.png"), rng.integers(0, 256, (*size, 3), np.uint8))
    (tmp_path / "in" / "broken.png").write_bytes(b"no picture")
    clips.write(tmp_path / "in" / "clip.mp4", clips.pictures(3, (64, 32)))
    (tmp_path / "in" / "broken.mp4").write_bytes(b"no video")
    options = ["--save", "masks", "scores", "coco", "frames", "--scales", "1.0"]
    assert predict(tmp_path / "in", "--output", tmp_path / "plain", *options) == 1
    plain = capsys.readouterr()
    loads.clear()
    beam = ["--beam-pipeline-options", "runner=DirectRunner"]
    assert predict(tmp_path / "in", "--output", tmp_path / "beam", *options, *beam) == 1
    printed = capsys.readouterr()
    assert printed.out.split(" in ")[0] == plain.out.split(" in ")[0] == "Predicted 7 images, 1 video, 3 frames"
    assert {"broken.png", "broken.mp4"} <= set(re.findall(r"broken\.\w+", printed.err))
    assert len(loads) < 10  # once for each stage and worker, not for each picture
    assert all(load[1]["scales"] == [1.0] for load in loads)
    names = {path.relative_to(tmp_path / "plain") for path in (tmp_path / "plain").rglob("*") if path.is_file()}
    assert names == {path.relative_to(tmp_path / "beam") for path in (tmp_path / "beam").rglob("*") if path.is_file()}
    for name in names:
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "beam" / name).read_bytes(), name
    assert predict(tmp_path / "in", "--output", tmp_path / "beam", *options, *beam, "--resume") == 1
    assert "Predicted nothing, 8 done earlier; 2 could not be read" in capsys.readouterr().out


@pytest.mark.parametrize("options", ["runner=NoSuchRunner", "runner=DirectRunner,direct_num_workers=many"])
def test_wrong_options(options, loads, tmp_path, capsys):
    visualize.write(str(tmp_path / "a.png"), np.zeros((8, 8, 3), np.uint8))
    assert predict(tmp_path / "a.png", "--output", tmp_path / "out", "--beam-pipeline-options", options) == 1
    assert "Beam" in capsys.readouterr().err
