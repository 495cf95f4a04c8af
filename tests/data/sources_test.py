"""Tests of refinenet_jax.data.sources, on small TFDS datasets built here."""

import shutil
import subprocess
import sys
from typing import ClassVar

import folders
import numpy as np
import pytest
import tensorflow_datasets as tfds
from planted import encode, with_orientation

from refinenet_jax.data import masks, sources

IMAGE_SHAPE = (24, 32)
CLASSES = ("background", "left hand", "right hand")


def _image(i: int) -> np.ndarray:
    """RGB, with red = 10 i, green = row, blue = column."""
    rows, columns = np.indices(IMAGE_SHAPE)
    return np.stack([np.full(IMAGE_SHAPE, 10 * i), rows, columns], -1).astype(np.uint8)


def _mask(i: int) -> np.ndarray:
    mask = np.zeros(IMAGE_SHAPE, np.uint8)
    mask[i, 2:20] = 1
    mask[i + 5, 2:20] = 2
    mask[-1] = 255
    return mask


ROTATED = with_orientation(encode(_image(0), ".jpg"), 6)
SPLITS = {
    "train": [(encode(_image(i)), encode(_mask(i))) for i in range(10)],
    "test": [(encode(_image(0)), encode(_mask(0)))],
    "rotated": [(ROTATED, encode(_mask(0)))],
    "undecodable": [(b"\xff\xd8 not a picture", encode(_mask(0)))],
    "no_bytes": [(b"", encode(_mask(0)))],
    "other_shape": [(encode(_image(0)), encode(_mask(0)[:, 1:]))],
    "color_mask": [(encode(_image(0)), encode(_image(0)))],
    "wrong_values": [(encode(_image(0)), encode(_mask(0) + np.uint8(3)))],
    "binary": [(encode(_image(0)), encode(np.where(_mask(0) == i % 3, 255, 0).astype(np.uint8))) for i in range(20)],
}


class TinyHands(tfds.core.GeneratorBasedBuilder):
    """All kinds of splits, good and bad."""

    VERSION = tfds.core.Version("1.9.0")
    SUPPORTED_VERSIONS: ClassVar = [tfds.core.Version("1.10.0")]
    BUILDER_CONFIGS: ClassVar = [tfds.core.BuilderConfig(name="sides"), tfds.core.BuilderConfig(name="hands")]

    def _info(self):
        features = {
            "image": tfds.features.Image(),
            "mask": tfds.features.Image(shape=(None, None, 1)),
            "id": tfds.features.Text(),
            "video": tfds.features.Text(),
            "frame": np.int64,
        }
        metadata = tfds.core.MetadataDict({"class_names": CLASSES, "flip_pairs": [[1, 2]]})
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features), metadata=metadata)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in SPLITS}

    def _generate_examples(self, split):
        for i, (image, mask) in enumerate(SPLITS[split]):
            yield f"{i}", {"image": image, "mask": mask, "id": f"{split}/{i}", "video": "kitchen", "frame": i}


class NamelessHands(TinyHands):
    """Without class names, without configs."""

    SUPPORTED_VERSIONS: ClassVar = []
    BUILDER_CONFIGS: ClassVar = []

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=super()._info().features)


def _build(builder_class, data_dir, file_format="array_record", **kwargs):
    builder = builder_class(data_dir=data_dir, file_format=file_format, **kwargs)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(compute_stats="skip"))


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    path = tmp_path_factory.mktemp("datasets")
    for version in ("1.9.0", "1.10.0"):
        _build(TinyHands, path, config="hands", version=version)
    _build(NamelessHands, path)
    return path


def _example(source, example_id):
    return next(example for example in source if example["id"] == example_id)


def test_example_is_what_was_stored(data_dir):
    source = sources.open_source("tiny_hands/hands", "train", data_dir)
    assert source.info == sources.DatasetInfo("tiny_hands/hands", CLASSES, ((1, 2),))
    assert source.info.num_classes == 3
    assert len(source) == 10
    example = _example(source, "train/7")
    assert example.keys() == {"image", "mask", "id", "video", "frame"}
    assert (example["video"], example["frame"]) == ("kitchen", 7)
    assert example["image"].dtype == example["mask"].dtype == np.uint8
    np.testing.assert_array_equal(example["image"], _image(7))
    np.testing.assert_array_equal(example["mask"], _mask(7))
    with pytest.raises(IndexError):
        source[10]


def test_images_are_given_as_they_were_stored(data_dir):
    """Not turned by EXIF: masks are drawn on the stored pixels."""
    source = sources.open_source("tiny_hands", "rotated", data_dir)
    assert source.encoded(0) == (ROTATED, "rotated/0")
    assert source[0]["image"].shape[:2] == source[0]["mask"].shape == IMAGE_SHAPE
    with pytest.raises(IndexError):
        source.encoded(1)


def test_name_finds_config_and_newest_version(data_dir, tmp_path, monkeypatch):
    newest = sources.open_source("tiny_hands", "train", data_dir)
    assert "1.10.0" in repr(newest)
    assert newest.directory.name == "1.10.0"
    assert "1.9.0" in repr(sources.open_source("tiny_hands:1.9.0", "train", data_dir))
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert len(sources.open_source("tiny_hands/hands:1.9.0", "train[:30%]+test")) == 4
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(sources.DataError, match="built there: nothing"):
        sources.open_source("tiny_hands", "train")


def test_config_must_be_chosen_among_several(tmp_path):
    for config in ("sides", "persons"):
        (tmp_path / "arms" / config / "1.0.0").mkdir(parents=True)
        (tmp_path / "arms" / config / "1.0.0" / "dataset_info.json").touch()
    with pytest.raises(sources.DataError, match="choose one of arms/persons, arms/sides"):
        sources.open_source("arms", "train", tmp_path)


def test_reading_needs_no_tensorflow_and_no_builder(data_dir, tmp_path):
    """In a fresh process, which has neither imported TensorFlow nor the builders above."""
    folders.masks(tmp_path)
    program = f"""
import pickle, sys
from refinenet_jax.data import masks, sources
source = sources.open_source('tiny_hands', 'train', {str(data_dir)!r})
sources.check_masks(source)
print(source[3]['image'].shape, pickle.loads(pickle.dumps(source))[3]['id'] == source[3]['id'])
print(len(sources.open_source({str(tmp_path)!r}, 'train[:100%]+test')[0]), 'tensorflow' in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stdout.splitlines() == ["(24, 32, 3) True", "4 False"], result.stderr


@pytest.mark.parametrize(
    ("name", "split", "message"),
    [
        (
            "tiny_hand",
            "train",
            r"'tiny_hand' is not built in .*built there: nameless_hands, tiny_hands.*\n"
            r"  tfds build tfds_builders/tiny_hand --file_format=array_record --data_dir=",
        ),
        (
            "kitchen/hands",
            "train",
            r"\n  tfds build tfds_builders/kitchen --config=hands --file_format=array_record",
        ),
        ("tiny_hands/hand", "train", r"config 'hand' .*built there: tiny_hands/hands.*\n  tfds build"),
        ("tiny_hands:2.0.0", "train", r"versions there are 1\.9\.0, 1\.10\.0"),
        ("tiny hands", "train", "is not a dataset name"),
        ("tiny_hands", "validation", r"has no split 'validation'; it has .*train \(10\)"),
        ("tiny_hands", "train[:0]", r"'train\[:0\]' of tiny_hands/hands .* is empty"),
        ("nameless_hands", "train", "does not name its classes.*'class_names'"),
    ],
)
def test_missing_datasets_and_splits_are_named(data_dir, name, split, message):
    with pytest.raises(sources.DataError, match=f"(?s){message}"):
        sources.open_source(name, split, data_dir)


def test_a_name_can_be_a_folder(data_dir, tmp_path, monkeypatch):
    folders.masks(tmp_path / "x" / "my_hands")
    folders.masks(tmp_path / "sub" / "my_hands")
    (tmp_path / "sub" / "empty").mkdir()
    (tmp_path / "x" / "photos").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    monkeypatch.setenv("HOME", str(tmp_path / "sub"))
    for name in (
        "my_hands",
        "./my_hands",
        "../x/my_hands",
        "my_hands/",
        "~/my_hands",
        str(tmp_path / "x" / "my_hands"),
    ):
        source = sources.open_source(name, "train", data_dir)
        assert source.info.name == "my_hands"
        assert sources.splits(name, data_dir)["train"] == len(source)
    for name, message in [
        ("./mine", r"There is no folder .*/x/mine"),
        ("~/empty", r"/sub/empty has no supported layout.* images/ and masks/"),
        ("../sub/empty", "has no supported layout"),
        ("photos", r"/x/photos has no supported layout"),
        ("my_hand", r"'my_hand' is not built in"),
        ("sub/my/hand", "is not a dataset name .*, nor a folder"),
    ]:
        with pytest.raises(sources.DataError, match=message):
            sources.open_source(name, "train", data_dir)


def test_a_built_dataset_goes_before_a_folder_of_the_same_name(data_dir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders.masks(tmp_path / "tiny_hands")
    assert len(sources.open_source("tiny_hands", "train", data_dir)) == 10
    assert len(sources.open_source("./tiny_hands", "train", data_dir)) == 2


def test_no_name_says_which_field_to_set(data_dir):
    with pytest.raises(sources.DataError, match=r"--config\.data\.name=\./my_hands"):
        sources.open_source("", "train", data_dir)


def test_other_file_format_says_how_to_build_again(data_dir, tmp_path):
    directory = shutil.copytree(
        data_dir / "tiny_hands" / "hands" / "1.9.0", tmp_path / "tiny_hands" / "hands" / "1.9.0"
    )
    info = directory / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(
        sources.DataError,
        match=r"stored as tfrecord(?s:.*)\n  tfds build tfds_builders/tiny_hands"
        f" --config=hands --file_format=array_record --data_dir={tmp_path} --overwrite",
    ):
        sources.open_source("tiny_hands", "train", tmp_path)


@pytest.mark.parametrize(
    ("split", "fault", "message"),
    [
        (
            "undecodable",
            "undecodable",
            r"The image of example 0 \(id 'undecodable/0'\) of tiny_hands/hands \[undecodable\] at .*"
            r"cannot be decoded \(16 bytes.*build the dataset again",
        ),
        ("no_bytes", "undecodable", r"cannot be decoded \(0 bytes"),
        ("other_shape", "size mismatch", r"'other_shape/0'.* uint8 \[24, 31\]; .* must be uint8 \[24, 32\]"),
        ("color_mask", "mask format", r"uint8 \[24, 32, 3\]"),
        (
            "wrong_values",
            "mask value",
            r"'wrong_values/0'.* has the values 3, 4, 5, which .*0\.\.2: background, left hand, right hand",
        ),
    ],
)
def test_reading_says_which_example_is_wrong(data_dir, split, fault, message):
    source = sources.open_source("tiny_hands", split, data_dir)
    with pytest.raises(sources.DataError, match=message) as error:
        source[0]
    assert error.value.fault == fault


def test_masks_of_0_and_255_are_recognized(data_dir):
    with pytest.raises(sources.DataError, match=r"(?s)only the values \[0, 255\].*255 means void.*mask == 255"):
        sources.check_masks(sources.open_source("tiny_hands", "binary", data_dir))


class _Masks(list):
    info = sources.DatasetInfo("hands", ("background", "hand"))


def _masks(*masks):
    return _Masks({"mask": np.array(mask, np.uint8)} for mask in masks)


@pytest.mark.parametrize(
    "masks",
    [
        [[0, 1]],
        [[1, 255]],
        [[0, 255]] * 100 + [[0, 1]],
        [[0, 0]] * 99 + [[0, 1]],
        [[0, 0]] * 50 + [[0, 1]] + [[0, 0]] * 50,
    ],
    ids=["a class", "only a class", "last", "last of zeros", "amid zeros"],
)
def test_masks_with_a_class_pass(masks):
    sources.check_masks(_masks(*masks))


@pytest.mark.parametrize("masks", [[[0, 0]], [[0, 0]] * 50, [[0, 0]] * 50 + [[0, 255]] + [[0, 0]] * 50])
def test_masks_without_any_class_are_recognized(masks):
    with pytest.raises(sources.DataError, match=f"masks of all {len(masks)} examples contain only background"):
        sources.check_masks(_masks(*masks))


def test_mask_values_are_all_checked():
    for value in range(256):
        mask = np.array([[0, value]], np.uint8)
        if value in (0, 1, 2, 255):
            masks.check_mask(mask, (1, 2), sources.DatasetInfo("hands", CLASSES), "here")
        else:
            with pytest.raises(sources.DataError, match=f"the values {value},"):
                masks.check_mask(mask, (1, 2), sources.DatasetInfo("hands", CLASSES), "here")
