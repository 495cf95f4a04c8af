"""A picture's mask depends only on its pixels, the network and the settings: all interfaces give the same classes.

Batches of one length give the same bits for an image at any position. Those of other lengths may round differently in the last
place (2e-7 with rf_lw_mbv2 on a CPU), and so may an export: pixels may differ where two scores are that close.
"""

from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict
from PIL import Image

from refinenet_jax import __main__, visualize
from refinenet_jax.evaluation import evaluate
from refinenet_jax.inference.export.network import Network
from refinenet_jax.inference.segmenter import Segmenter

SIZES = ((90, 150), (97, 64), (90, 150), (92, 151))  # the first one is compared
SETTINGS = [
    {"longest_side": 0, "scales": (0.9,), "flip": False, "tile": None},
    {"longest_side": 0, "scales": (0.6, 1.2), "flip": False, "tile": 128},
    {"longest_side": 140, "scales": (1.2,), "flip": True, "tile": None},
    {"longest_side": 140, "scales": (0.6, 0.8, 1.2), "flip": True, "tile": 128},
]
CLOSE = 1e-5


def _pictures() -> tiny.Pictures:
    return tiny.Pictures(SIZES, tiny.HANDS)


def _name(settings: dict) -> str:
    return ",".join(f"{key}={value}" for key, value in settings.items())


def _assert_same(mask: np.ndarray, scores: np.ndarray) -> None:
    """Compares a mask with scores, except where two of them are nearly equal."""
    second, first = np.sort(scores, -1)[..., -2:].transpose(2, 0, 1)
    differs = mask != scores.argmax(-1)
    assert not (differs & (first - second > CLOSE)).any()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for index, picture in enumerate(_pictures()):
        visualize.write(str(folder / f"{index}.png"), picture["image"])
    return folder


def _predict(monkeypatch, segmenter, *arguments) -> None:
    monkeypatch.setattr(Segmenter, "from_checkpoint", lambda path, **options: segmenter)
    assert __main__.main(["predict", *map(str, arguments), "--checkpoint=x", "--save", "masks", "scores"]) == 0


def _mask(folder: Path) -> np.ndarray:
    with Image.open(folder / "0_mask.png") as mask:
        return np.array(mask)


@pytest.mark.parametrize("settings", SETTINGS, ids=_name)
def test_all_interfaces(settings, folder, tmp_path, monkeypatch):
    """On one device, and with the last settings on all eight."""
    if settings != SETTINGS[-1]:
        first = jax.local_devices()[:1]
        monkeypatch.setattr(jax, "local_devices", lambda: first)
        monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    segmenter, pictures = tiny.segmenter(**settings), _pictures()
    images = [picture["image"] for picture in pictures]
    expected = segmenter(images[0])
    assert len(np.unique(expected.mask)) == 3

    np.testing.assert_array_equal(segmenter.batch(images)[0].mask, expected.mask)
    np.testing.assert_array_equal(list(segmenter.stream(images[::-1]))[-1].mask, expected.mask)

    _predict(monkeypatch, segmenter, folder / "0.png", f"--output={tmp_path / 'alone'}")
    _predict(monkeypatch, segmenter, folder, f"--output={tmp_path / 'folder'}")
    for run in ("alone", "folder"):
        np.testing.assert_array_equal(_mask(tmp_path / run), expected.mask)

    options = ConfigDict({"protocols": ("strict",), "batch_size": 0})
    evaluate.score(segmenter, pictures, options, tmp_path / "evaluate")
    with Image.open(tmp_path / "evaluate" / "strict" / "picture-0.png") as mask:
        np.testing.assert_array_equal(np.array(mask), expected.mask)

    if settings in SETTINGS[1:3]:
        return  # the following compiles the network twice more
    _assert_same(list(segmenter.stream([images[2], images[0]], 16))[1].mask, expected.scores)
    network = Network.of(segmenter, SIZES[0])
    mask, scores = (np.asarray(x)[0] for x in jax.jit(network.classify)(images[0][None]))
    np.testing.assert_allclose(scores, expected.scores, atol=1e-3)  # the limit for all exports
    assert (mask == expected.mask).mean() > 0.999


def test_resumed_folder_has_the_same_bytes(folder, tmp_path, monkeypatch):
    """After the loss of one picture's files, or of most."""
    segmenter = tiny.segmenter(scales=(0.3,))
    arguments = (folder, f"--output={tmp_path}", "--batch-size=3")
    _predict(monkeypatch, segmenter, *arguments)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(whole) == 2 * len(SIZES) + 1
    for lost in ((0,), (1, 2, 3)):
        for index in lost:
            (tmp_path / f"{index}_mask.png").unlink()
            (tmp_path / f"{index}_scores.npz").unlink()
        _predict(monkeypatch, segmenter, *arguments, "--resume")
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole
