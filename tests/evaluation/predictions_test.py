"""Masks of other programs: all kinds of files and names, and errors about them."""

import cv2
import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from refinenet_jax.data.examples import DatasetInfo
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import predictions

HAND = DatasetInfo("mine", ("background", "hand"))
OPTIONS = ConfigDict({"protocols": ("strict", "cvpr18", "seed")})
MASK = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(path, **options)
    return path


def example(name, mask=MASK):
    return {"id": name, "image": np.zeros((*mask.shape, 3), np.uint8), "mask": mask}


class Examples(list):
    def __init__(self, examples, info=HAND):
        super().__init__(examples)
        self.info = info


def palette_image(pixels):
    image = Image.fromarray(pixels)
    image.putpalette([200, 10, 10, 10, 200, 10, 10, 10, 200])
    return image


KINDS = {
    "class ids": MASK,
    "palette": palette_image(MASK),
    "black and white": MASK * 255,
    "1 bit": Image.fromarray(MASK * 255).convert("1"),
    "three equal channels": np.repeat(MASK[..., None] * 255, 3, -1),
}
THREE = DatasetInfo("sides", ("background", "left", "right"))


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_masks(kind, tmp_path):
    path = save(tmp_path / "a.png", KINDS[kind])
    np.testing.assert_array_equal(predictions.read_mask(path, HAND), MASK)


@pytest.mark.parametrize(
    ("pixels", "info", "fact"),
    [
        (MASK * 255, THREE, "0, 255.* 1 left, 2 right"),
        (MASK * 3, HAND, "0, 3"),
        (np.array([[0, 128, 255]], np.uint8), HAND, "0, 128, 255"),
        (np.array([[0, 1, 255]], np.uint8), HAND, "0, 1, 255"),
        (np.zeros((2, 3, 3), np.uint8) + np.array([9, 0, 0], np.uint8), HAND, "color"),
        (np.zeros((2, 3), np.uint16), HAND, "16 bits"),
    ],
)
def test_values_that_are_not_classes_are_refused(pixels, info, fact, tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    with pytest.raises(UsageError, match=rf"a\.png.*{fact}"):
        predictions.read_mask(tmp_path / "a.png", info)


def test_jpeg_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"a\.jpg is a JPEG"):
        predictions.read_mask(save(tmp_path / "a.jpg", MASK * 255), HAND)
    path = save(tmp_path / "b.png", np.tile(MASK, (50, 50)))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UsageError, match=r"b\.png"):
        predictions.read_mask(path, HAND)


@pytest.mark.parametrize(
    ("files", "name", "found"),
    [
        (["v1/frame.1.png"], "v1/frame.1", "v1/frame.1.png"),
        (["v1/frame_mask.png"], "v1/frame", "v1/frame_mask.png"),
        (["7.GIF"], "7", "7.GIF"),
        (["frame.png", "v1_frame.png"], "v1/frame", None),
        *((["v1/frame.1.png"], name, None) for name in ("v1/frame", "v2/frame.1", "frame.10", "../v1/frame.1x")),
    ],
)
def test_masks_by_name(files, name, found, tmp_path):
    for file in files:
        save(tmp_path / file, MASK)
    assert predictions.Predictions(tmp_path, HAND).path(name) == found


def test_unusable_folders(tmp_path):
    (tmp_path / "a.txt").write_text("")
    for folder in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match=str(folder)):
            predictions.Predictions(folder, HAND)
    save(tmp_path / "a.png", MASK)
    with pytest.raises(UsageError, match=r"v/b\.png.* a\.png"):  # expected and found
        predictions.score(predictions.Predictions(tmp_path, HAND), Examples([example("v/b")]), OPTIONS)
    save(tmp_path / "a.bmp", MASK)
    with pytest.raises(UsageError, match=r"a\.bmp and a\.png"):
        predictions.Predictions(tmp_path, HAND)


def test_scores_by_hand_with_a_missing_and_an_extra_mask(tmp_path, capsys):
    save(tmp_path / "a.png", np.array([[0, 255, 0], [255, 0, 255]], np.uint8))
    save(tmp_path / "other.png", MASK)
    source = Examples([example("a"), example("b")])
    table = predictions.score(predictions.Predictions(tmp_path, HAND), source, OPTIONS)
    assert table.ids == ("a", "b")
    assert table.found.tolist() == [True, False]
    assert table.counts.tolist() == [[[2, 1], [1, 2]], [[3, 0], [3, 0]]]
    assert table.cvpr18.tolist() == table.counts.tolist()
    assert table.calibration is None
    printed = capsys.readouterr().err
    assert "1 of 2 pictures: b" in printed
    assert "other.png" in printed


def test_other_sizes_are_refused_or_resized_by_nearest(tmp_path):
    """A mask of half the size: each pixel becomes 2 x 2. For cvpr18 in EgoHands the truth shrinks instead."""
    truth = np.kron(MASK, np.ones((2, 2), np.uint8))
    save(tmp_path / "a.png", MASK)
    source = Examples([example("a", truth)], DatasetInfo("egohands/hands", HAND.class_names))
    with pytest.raises(UsageError, match=r"a\.png.*3 x 2.*6 x 4.*--resize_predictions"):
        predictions.score(predictions.Predictions(tmp_path, HAND), source, OPTIONS)
    table = predictions.score(predictions.Predictions(tmp_path, HAND, resize=True), source, OPTIONS)
    assert table.counts.tolist() == [[[12, 0], [0, 12]]]
    assert table.cvpr18.tolist() == [[[3, 0], [0, 3]]]
    # 7 columns to 3: centers at 1.17, 3.5 and 5.83 of 7, in columns 1, 3 and 5.
    save(tmp_path / "a.png", np.array([[0, 1, 0, 1, 0, 0, 1]], np.uint8))
    given, mask = predictions.Predictions(tmp_path, HAND, resize=True).read(example("a", np.zeros((1, 3), np.uint8)))
    assert (given.shape, mask.tolist()) == ((1, 7), [[1, 1, 0]])


def test_written_masks(tmp_path):
    mask = np.array([[0, 1, 2], [2, 0, 1]], np.uint8)
    predictions.write(tmp_path / "out", "video 1/frame.2 ü", mask)
    path = tmp_path / "out" / "video 1" / "frame.2 ü.png"
    np.testing.assert_array_equal(predictions.read_mask(path, THREE), mask)
    with Image.open(path) as image:
        assert len(image.convert("RGB").getcolors()) == 3
    with pytest.raises(UsageError, match="cannot be written"):
        predictions.write(path, "a", mask)


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "/etc/a", "a\\b", "c:a", "", ".", "..", "a/", "a//b", "./a", "a\0b", "a\nb"]
)
def test_ids_do_not_leave_the_folder(name, tmp_path):
    with pytest.raises(UsageError, match="The id"):
        predictions.write(tmp_path / "out", name, MASK)
    assert not list(tmp_path.iterdir())
