"""Contents of every kind of file; files are complete and inside the folder of results."""

import numpy as np
import pytest
from PIL import Image

from refinenet_jax import visualize
from refinenet_jax.errors import UsageError
from refinenet_jax.inference import reading
from refinenet_jax.inference.predict import outputs
from refinenet_jax.inference.segmentation import Segmentation


@pytest.fixture
def result():
    """Left hand in a corner, right hand in another."""
    scores = np.full((40, 50, 3), 0.05, np.float32)
    scores[..., 0] = 0.9
    scores[:10, :20] = (0.1, 0.8, 0.1)
    scores[30:, 30:] = (0.2, 0.2, 0.6)
    return Segmentation(np.full((40, 50, 3), (120, 90, 70), np.uint8), scores, ("background", "left", "right"))


def test_contents_of_every_kind(result, tmp_path):
    outputs.write(result, tmp_path, "sub/a", outputs.KINDS)
    files = outputs.paths(tmp_path, "sub/a", outputs.KINDS)
    assert {path.name for path in (tmp_path / "sub").iterdir()} == {path.name for path in files.values()}
    with Image.open(files["masks"]) as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.array(image), result.mask)
    with Image.open(files["palette"]) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.array(image), result.mask)
        np.testing.assert_array_equal(np.array(image.convert("RGB")), visualize.palette()[result.mask])
    with Image.open(files["cutouts"]) as image:
        assert image.mode == "RGBA"
        np.testing.assert_array_equal(np.array(image), result.cutout())
    with np.load(files["scores"]) as stored:
        assert stored["scores"].dtype == np.float16
        np.testing.assert_allclose(stored["scores"], result.scores, atol=1e-3)
        assert stored["class_names"].tolist() == ["background", "left", "right"]
    for kind, expected in (("overlays", result.overlay()), ("contours", result.contours())):
        assert np.abs(reading.read(files[kind]).astype(int) - expected).mean() < 6


def test_a_failed_write_keeps_the_earlier_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fails(partial):
        partial.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match=r"No space left on device.*--resume"):
        outputs.write_whole(path, tmp_path, fails)
    assert path.read_text() == "before"


def test_links_out_of_the_folder_are_not_followed(result, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="leads out of"):
        outputs.write(result, tmp_path / "out", "sub/a", ["masks"])
    assert not list((tmp_path / "elsewhere").iterdir())

    victim = tmp_path / "victim"
    victim.write_text("keep")
    (tmp_path / "out" / "a_mask.png").symlink_to(victim)
    (tmp_path / "out" / ".a_mask.png").symlink_to(victim)
    outputs.write(result, tmp_path / "out", "a", ["masks"])
    assert victim.read_text() == "keep"
    assert not (tmp_path / "out" / "a_mask.png").is_symlink()


def test_folder_of_results_that_is_a_file(result, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="cannot be written"):
        outputs.write(result, tmp_path / "out", "a", ["masks"])
