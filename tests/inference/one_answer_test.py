"""A picture's mask depends on its pixels, the network and the settings alone: every way to it gives the same classes.

Batches of one length give the same bits wherever an image stands in them. Those of other lengths may round differently in the
last place (2e-7 with rf_lw_mbv2 on a CPU), and so may an export: there a pixel may differ where two scores are that close.
"""

import itertools
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

SIZES = ((90, 150), (97, 64), (90, 150), (92, 151))  # the first one is looked at
SETTINGS = [
    {"longest_side": side, "scales": scales, "flip": flip, "tile": tile}
    for side, scales, flip, tile in itertools.product((0, 140), ((0.9,), (0.6, 0.8, 1.2)), (False, True), (None, 128))
]
CLOSE = 1e-5


def _network(**settings) -> Segmenter:
    sides = tiny.HANDS
    return Segmenter(tiny.Tiny(3), tiny.variables(), sides.class_names, sides.flip_pairs, **settings)


def _pictures() -> tiny.Pictures:
    return tiny.Pictures(SIZES, tiny.HANDS)


def _name(settings: dict) -> str:
    return ",".join(f"{key}={value}" for key, value in settings.items())


def _assert_same(mask: np.ndarray, scores: np.ndarray) -> None:
    """The mask is that of the scores, but where two of them are as good as equal."""
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
def test_all_ways_within_a_process(settings, folder, tmp_path, monkeypatch):
    """On one device, but for the first and last settings, which take all eight."""
    if settings not in (SETTINGS[0], SETTINGS[-1]):
        first = jax.local_devices()[:1]
        monkeypatch.setattr(jax, "local_devices", lambda: first)
        monkeypatch.setattr(jax, "local_device_count", lambda: 1)
    segmenter, pictures = _network(**settings), _pictures()
    images = [picture["image"] for picture in pictures]
    expected = segmenter(images[0])
    assert len(np.unique(expected.mask)) == 3

    np.testing.assert_array_equal(segmenter.batch(images)[0].mask, expected.mask)
    np.testing.assert_array_equal(list(segmenter.stream(images[::-1]))[-1].mask, expected.mask)

    _predict(monkeypatch, segmenter, folder / "0.png", f"--output={tmp_path / 'alone'}")
    _predict(monkeypatch, segmenter, folder, f"--output={tmp_path / 'folder'}")
    for way in ("alone", "folder"):
        np.testing.assert_array_equal(_mask(tmp_path / way), expected.mask)

    options = ConfigDict({"protocols": ("strict",), "batch_size": 0})
    evaluate.score(segmenter, pictures, options, tmp_path / "evaluate")
    with Image.open(tmp_path / "evaluate" / "strict" / "picture-0.png") as mask:
        np.testing.assert_array_equal(np.array(mask), expected.mask)

    if len(segmenter.scales) > 1 and settings != SETTINGS[-1]:
        return  # what follows compiles the network twice more
    _assert_same(list(segmenter.stream([images[2], images[0]], 16))[1].mask, expected.scores)
    network = Network.of(segmenter, SIZES[0])
    mask, scores = (np.asarray(x)[0] for x in jax.jit(network.classify)(images[0][None]))
    np.testing.assert_allclose(scores, expected.scores, atol=1e-3)  # as every export is held to
    assert (mask == expected.mask).mean() > 0.999


def test_resumed_folder_has_the_same_bytes(folder, tmp_path, monkeypatch):
    """Whatever was lost of it, one picture's files or most."""
    segmenter = _network(scales=(0.3,))
    arguments = (folder, f"--output={tmp_path}", "--batch-size=3")
    _predict(monkeypatch, segmenter, *arguments)
    whole = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert len(whole) == 2 * len(SIZES) + 1
    for lost in ((0,), (3,), (0, 2), (1, 2, 3)):
        for index in lost:
            (tmp_path / f"{index}_mask.png").unlink()
            (tmp_path / f"{index}_scores.npz").unlink()
        _predict(monkeypatch, segmenter, *arguments, "--resume")
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == whole


@pytest.mark.parametrize("settings", [SETTINGS[0], SETTINGS[-1]], ids=_name)
def test_beam(settings, folder, tmp_path, monkeypatch):
    pytest.importorskip("apache_beam")
    segmenter = _network(**settings)
    _predict(monkeypatch, segmenter, folder, f"--output={tmp_path / 'one'}")
    beam = "--beam-pipeline-options=runner=DirectRunner"
    _predict(monkeypatch, segmenter, folder, f"--output={tmp_path / 'beam'}", beam)
    for index in range(len(SIZES)):
        for kind in ("mask.png", "scores.npz"):
            one, other = ((tmp_path / way / f"{index}_{kind}").read_bytes() for way in ("one", "beam"))
            assert one == other


def test_the_web_page(folder, tmp_path):
    """The settings that it begins with are those of its network."""
    pytest.importorskip("gradio")
    from refinenet_jax.inference.serve.page import Page
    from refinenet_jax.inference.serve.results import Limits

    settings = SETTINGS[-2]
    page = Page(_network(**settings), Limits(), tmp_path)
    _, mask, _, _ = page.picture(str(folder / "0.png"), list(settings["scales"]), settings["flip"])
    expected = _network(**settings)(_pictures()[0]["image"]).mask
    np.testing.assert_array_equal(np.array(Image.open(mask)), expected)
