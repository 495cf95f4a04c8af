"""The predict command: what it writes, what it refuses, and what it does about a file that is no image."""

import numpy as np
import pytest
import tiny

from refinenet_jax import __main__, visualize
from refinenet_jax.inference.segmenter import Segmenter


@pytest.fixture
def pictures(tmp_path):
    """A folder with two pictures of different sizes, one of them in a subfolder."""
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "sub").mkdir(parents=True)
    visualize.write(str(tmp_path / "in" / "a.png"), rng.integers(0, 256, (30, 41, 3), np.uint8))
    visualize.write(str(tmp_path / "in" / "sub" / "b.png"), rng.integers(0, 256, (64, 32, 3), np.uint8))
    return tmp_path / "in"


@pytest.fixture(autouse=True)
def segmenter(monkeypatch):
    """The tiny network in the place of a checkpoint."""
    network = Segmenter(tiny.Tiny(3), tiny.variables(), tiny.HANDS.class_names, tiny.HANDS.flip_pairs)
    monkeypatch.setattr(Segmenter, "from_checkpoint", lambda directory, **options: network)
    return network


def predict(*arguments) -> int:
    return __main__.main(["predict", "--checkpoint=runs/none", *map(str, arguments)])


def test_masks_are_class_ids_at_the_size_of_the_picture(pictures, segmenter, tmp_path):
    assert predict(pictures, "--output", tmp_path / "out") == 0
    for name in ("a", "sub/b"):
        image = visualize.read(str(pictures / f"{name}.png"))
        mask = visualize.read(str(tmp_path / "out" / f"{name}_mask.png"))
        np.testing.assert_array_equal(mask, np.repeat(segmenter(image).mask[..., None], 3, -1))
        assert visualize.read(str(tmp_path / "out" / f"{name}_overlay.jpg")).shape == image.shape


def test_unreadable_file_is_named_and_does_not_stop_the_rest(pictures, tmp_path, capsys):
    (pictures / "broken.jpg").write_bytes(b"GIF89a not really")
    assert predict(pictures, "--output", tmp_path / "out") == 1
    assert "broken.jpg cannot be decoded" in capsys.readouterr().err
    found = sorted(path.name for path in (tmp_path / "out").rglob("*_mask.png"))
    assert found == ["a_mask.png", "b_mask.png"]


def test_nothing_is_replaced_unasked(pictures, tmp_path, capsys):
    assert predict(pictures, "--output", tmp_path / "out") == 0
    before = (tmp_path / "out" / "a_mask.png").stat().st_mtime_ns
    assert predict(pictures, "--output", tmp_path / "out") == 1
    assert "give --overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "a_mask.png").stat().st_mtime_ns == before
    assert predict(pictures, "--output", tmp_path / "out", "--overwrite") == 0


def test_two_pictures_of_one_name_are_refused(pictures, tmp_path, capsys):
    visualize.write(str(pictures / "a.jpg"), np.zeros((8, 8, 3), np.uint8))
    assert predict(pictures, "--output", tmp_path / "out") == 1
    assert "would both be written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("source", "says"), [("missing.png", "does not exist"), (".", "No images")])
def test_sources_without_pictures_are_refused(source, says, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert predict(tmp_path / "empty" / source, "--output", tmp_path / "out") == 1
    assert says in capsys.readouterr().err
