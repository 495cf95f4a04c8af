"""Masks of other programs: every kind of file, every way to name them, and what is wrong with them is told."""

import cv2
import numpy as np
import pytest
import tiny
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


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_masks(kind, tmp_path):
    path = save(tmp_path / "a.png", KINDS[kind])
    np.testing.assert_array_equal(predictions.read_mask(path, HAND), MASK)


def test_all_of_one_value(tmp_path):
    for value, expected in ((0, 0), (255, 1), (1, 1)):
        path = save(tmp_path / "a.png", np.full((2, 3), value, np.uint8))
        assert (predictions.read_mask(path, HAND) == expected).all()


THREE = DatasetInfo("sides", ("background", "left", "right"))


@pytest.mark.parametrize(
    ("pixels", "info", "says"),
    [
        (
            MASK * 255,
            THREE,
            r"values 0, 255; the classes of sides are 0 background, 1 left, 2 right. Predictions have no void",
        ),
        (MASK * 3, HAND, r"values 0, 3; .* or 0 and 255 for these two"),
        (np.array([[0, 128, 255]], np.uint8), HAND, "values 0, 128, 255"),
        (np.array([[0, 1, 255]], np.uint8), HAND, "values 0, 1, 255"),
        (np.zeros((2, 3, 3), np.uint8) + np.array([9, 0, 0], np.uint8), HAND, "in color"),
        (np.zeros((2, 3), np.uint16), HAND, "16 bits"),
    ],
)
def test_what_is_no_class_is_refused(pixels, info, says, tmp_path):
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), pixels)
    with pytest.raises(UsageError, match=says) as error:
        predictions.read_mask(path, info)
    assert str(path) in str(error.value)


def test_jpeg_and_damaged_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="JPEG file, which changes the values"):
        predictions.read_mask(save(tmp_path / "a.jpg", MASK * 255), HAND)
    path = save(tmp_path / "b.png", np.tile(MASK, (50, 50)))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(UsageError, match=r"b\.png cannot be decoded"):
        predictions.read_mask(path, HAND)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("v1/frame.1.png", "v1/frame.1"),
        ("v1/frame_mask.png", "v1/frame"),
        ("v1_frame.png", "v1/frame"),
        ("v1_frame_mask.BMP", "v1/frame"),
        ("frame.tif", "v1/frame"),
        ("7.gif", "7"),
    ],
)
def test_names_that_match(file, name, tmp_path):
    save(tmp_path / file, MASK)
    assert predictions.Predictions(tmp_path, HAND).path(name) == file


@pytest.mark.parametrize("name", ["v1/frame", "v2/frame.1", "frame.10", "v1/frame.1/x", "../v1/frame.1x"])
def test_names_that_do_not(name, tmp_path):
    save(tmp_path / "v1/frame.1.png", MASK)
    assert predictions.Predictions(tmp_path, HAND).path(name) is None


def test_tree_goes_before_flat_names(tmp_path):
    for file in ("frame.png", "v1_frame.png", "v1/frame.png"):
        save(tmp_path / file, MASK)
    assert predictions.Predictions(tmp_path, HAND).path("v1/frame") == "v1/frame.png"


def test_folders_without_masks_are_refused(tmp_path):
    with pytest.raises(UsageError, match="There is no folder"):
        predictions.Predictions(tmp_path / "none", HAND)
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(UsageError, match="has no masks"):
        predictions.Predictions(tmp_path, HAND)
    save(tmp_path / "a.png", MASK)
    save(tmp_path / "a.bmp", MASK)
    with pytest.raises(UsageError, match=r"two masks of one name, a.bmp and a.png"):
        predictions.Predictions(tmp_path, HAND)


def test_scores_by_hand_with_a_missing_and_an_extra_mask(tmp_path, capsys):
    save(tmp_path / "a.png", np.array([[0, 255, 0], [255, 0, 255]], np.uint8))
    save(tmp_path / "stranger.png", MASK)
    source = Examples([example("a"), example("b")])
    table = predictions.score(predictions.Predictions(tmp_path, HAND), source, OPTIONS)
    assert table.ids == ("a", "b")
    assert table.found.tolist() == [True, False]
    assert table.counts.tolist() == [[[2, 1], [1, 2]], [[3, 0], [3, 0]]]
    assert table.cvpr18.tolist() == table.counts.tolist()
    assert table.calibration is None
    told = capsys.readouterr().err
    assert f"No prediction in {tmp_path} for 1 of 2 pictures: b" in told
    assert "Skipped 1 masks" in told
    assert "stranger.png" in told


def test_no_match_at_all_is_an_error_that_names_what_is_wanted(tmp_path):
    save(tmp_path / "x.png", MASK)
    with pytest.raises(UsageError, match=r"no mask .* v/a\.png, found x\.png"):
        predictions.score(predictions.Predictions(tmp_path, HAND), Examples([example("v/a")]), OPTIONS)


def test_one_flat_mask_for_two_videos_is_refused(tmp_path):
    save(tmp_path / "frame.png", MASK)
    source = Examples([example("v1/frame"), example("v2/frame")])
    with pytest.raises(UsageError, match=r"two pictures, 'v1/frame' and 'v2/frame'"):
        predictions.score(predictions.Predictions(tmp_path, HAND), source, OPTIONS)


def test_other_sizes_are_refused_or_resized_by_nearest(tmp_path):
    """A mask of half the size: each pixel becomes 2 x 2. For cvpr18 in EgoHands the truth shrinks instead."""
    truth = np.kron(MASK, np.ones((2, 2), np.uint8))
    save(tmp_path / "a.png", MASK)
    source = Examples([example("a", truth)], DatasetInfo("egohands/hands", HAND.class_names))
    with pytest.raises(UsageError, match=r"a.png has 3 x 2 pixels, the picture 'a' has 6 x 4.*--resize_predictions"):
        predictions.score(predictions.Predictions(tmp_path, HAND), source, OPTIONS)
    table = predictions.score(predictions.Predictions(tmp_path, HAND, resize=True), source, OPTIONS)
    assert table.counts.tolist() == [[[12, 0], [0, 12]]]
    assert table.cvpr18.tolist() == [[[3, 0], [0, 3]]]


def test_nearest_takes_what_lies_under_the_center(tmp_path):
    """7 columns to 3: centers at 1.17, 3.5 and 5.83 of 7, in columns 1, 3 and 5."""
    save(tmp_path / "a.png", np.array([[0, 1, 0, 1, 0, 0, 1]], np.uint8))
    given, mask = predictions.Predictions(tmp_path, HAND, resize=True).read(example("a", np.zeros((1, 3), np.uint8)))
    assert given.shape == (1, 7)
    assert mask.tolist() == [[1, 1, 0]]


def test_written_masks_are_read_as_they_were(tmp_path):
    mask = np.array([[0, 1, 2], [2, 0, 1]], np.uint8)
    predictions.write(tmp_path / "out", "video 1/frame.2 ü", mask)
    path = tmp_path / "out" / "video 1" / "frame.2 ü.png"
    np.testing.assert_array_equal(predictions.read_mask(path, THREE), mask)
    with Image.open(path) as image:  # colors for people
        colors = np.array(image.convert("RGB"))
    assert len({tuple(color) for color in colors.reshape(-1, 3)}) == 3


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "/etc/a", "a\\b", "c:a", "", ".", "..", "a/", "a//b", "./a", "a\0b", "a\nb"]
)
def test_ids_do_not_leave_the_folder(name, tmp_path):
    with pytest.raises(UsageError, match="cannot be the name of a file"):
        predictions.write(tmp_path / "out", name, MASK)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_told(tmp_path):
    (tmp_path / "a").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written"):
        predictions.write(tmp_path, "a/b", MASK)


def test_tiny_pictures_scored_from_their_own_truth(tmp_path):
    source = tiny.Pictures([(9, 12), (7, 11), (9, 12)], tiny.DatasetInfo("squares", tiny.SQUARES.class_names))
    for one in source:
        predictions.write(tmp_path, one["id"], np.where(one["mask"] == 255, 0, one["mask"]).astype(np.uint8))
    table = predictions.score(predictions.Predictions(tmp_path, source.info), source, OPTIONS)
    off_diagonal = table.counts * (1 - np.eye(3, dtype=np.int64))
    assert not off_diagonal.any()
    assert table.counts.sum((1, 2)).tolist() == [int((one["mask"] != 255).sum()) for one in source]
