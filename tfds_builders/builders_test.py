"""What all builders have in common, on the committed dummy data of each."""

import dataclasses
import importlib
import pathlib
import pickle
import shutil
import subprocess
import sys
import tarfile
import zipfile
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
from apache_beam.options.pipeline_options import PipelineOptions

from refinenet_jax.data.sources import open_source
from tfds_builders import testing
from tfds_builders.archives import UnsafeArchiveError
from tfds_builders.hand_dataset import Archive, HandDataset

ROOT = pathlib.Path(__file__).parent
DATASETS = sorted(path.parent.name for path in ROOT.glob("*/*_dataset_builder.py"))
# A config to build from the dummy data, and where the image with an id lies in them.
CONFIGS = {
    "egohands": ("hands_available", "_LABELLED_SAMPLES/{}.jpg"),
    "eyth": ("hands", "eyth_dataset/images/{}.jpg"),
    "gtea": ("arm", "GTEA/Images/{}.jpg"),
    "hof": ("original", "hand_over_face/images_original_size/{}.jpg"),
    "person_parts": ("lower_arms", "VOCdevkit/VOC2010/JPEGImages/{}.jpg"),
}
# Names that recipes and users have in use.
NAMES = {
    "egohands": {"hands", "left_right", "identities", "hands_available"},
    "eyth": {"hands"},
    "gtea": {"wrist", "arm"},
    "hof": {"resized", "paper", "original"},
    "person_parts": {"parts", "hands", "lower_arms"},
    "synthetic_hands": {"hands", "tabletop"},
}


def _module(name):
    return importlib.import_module(f"tfds_builders.{name}.{name}_dataset_builder")


def _build(name, folder, config=None, **kwargs):
    return testing.build(_module(name).Builder, folder, config or CONFIGS[name][0], **kwargs)


def _pickled(self, items, make):
    """Sends items and function through pickle, as Beam does."""
    items, make = pickle.loads(pickle.dumps((list(items), make)))
    return map(make, items)


@pytest.fixture(scope="module", params=CONFIGS)
def built(request, tmp_path_factory):
    """Name, builder and data folder of each dataset."""
    name, folder = request.param, tmp_path_factory.mktemp(request.param)
    with mock.patch.object(HandDataset, "make_examples", _pickled):
        builder = _build(name, folder, manual_dir=ROOT / name / "dummy_data")
    return name, builder, folder / "data"


def test_importing_the_builders_imports_neither_the_library_nor_jax():
    imports = "; ".join(f"import tfds_builders.{name}.{name}_dataset_builder" for name in DATASETS)
    code = f"import sys; {imports}; print([name for name in ('refinenet_jax', 'jax', 'flax') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=200)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_has_one_default_config_and_its_published_names(name):
    builder = _module(name).Builder
    assert len(builder.BUILDER_CONFIGS) == 1
    assert {*builder.builder_configs} == NAMES[name]
    for config in builder.builder_configs.values():
        for left, right in config.flip_pairs:
            assert config.class_names[left].replace("left", "right") == config.class_names[right]


def test_jpegs_are_stored_byte_for_byte_and_others_as_png(built):
    name, builder, _ = built
    stored = testing.examples_of(builder, decoders={"image": tfds.decode.SkipDecoding()})
    for key, example in stored.items():
        content = (ROOT / name / "dummy_data" / CONFIGS[name][1].format(key)).read_bytes()
        if content.startswith(b"\xff\xd8"):
            assert example["image"] == content
        else:
            assert (name, content[:4], example["image"][:4]) == ("hof", b"GIF8", b"\x89PNG")


def test_masks_name_their_classes_and_are_read_alike_with_and_without_tfds(built):
    """Void, which is no class, included; uint8 [h, w, 1] by TFDS and [h, w] by the library."""
    name, builder, data = built
    feature = builder.info.features["mask"]
    assert isinstance(feature, tfds.features.LabeledImage)
    assert feature.names == list(builder.builder_config.class_names) == builder.info.metadata["class_names"]
    again = tfds.builder_from_directory(builder.data_dir).info.features["mask"]
    assert again.names == feature.names
    values = set()
    for split in builder.info.splits:
        theirs = testing.examples_of(builder, split)
        source = open_source(f"{name}/{builder.builder_config.name}", split, data)
        assert len(source) == len(theirs)
        for example in (source[index] for index in range(len(source))):
            expected = theirs[example["id"]]
            assert expected["mask"].dtype == example["mask"].dtype == np.uint8
            np.testing.assert_array_equal(expected["mask"], example["mask"][..., None])
            np.testing.assert_array_equal(expected["image"], example["image"])
            values |= {*np.unique(example["mask"]).tolist()}
    assert values == {*range(feature.num_classes)} | ({255} if name == "person_parts" else set())


def test_beam_builds_the_same_examples_in_the_same_order(tmp_path):
    dummy = ROOT / "eyth" / "dummy_data"
    builder = _build("eyth", tmp_path, manual_dir=dummy)
    options = PipelineOptions(["--runner=DirectRunner"])
    other = _build("eyth", tmp_path / "beam", manual_dir=dummy, beam_options=options)
    assert {*builder.info.splits} == {*other.info.splits}
    for split in builder.info.splits:
        ours, theirs = testing.masks_of(builder, split), testing.masks_of(other, split)
        assert [*ours] == [*theirs]
        for key in ours:
            np.testing.assert_array_equal(ours[key], theirs[key])


def _pack(archive: Archive, source: pathlib.Path, folder: pathlib.Path) -> tfds.core.Path:
    """Dummy data as the owners' archive."""
    folder.mkdir(exist_ok=True)
    path = folder / archive.filename
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as packed:
            for file in sorted(source.rglob("*")):
                packed.write(file, file.relative_to(source.parent))
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as packed:
            packed.add(source, source.name)
    return tfds.core.Path(path)


ARCHIVES = [
    ("egohands", "_ARCHIVE", "_LABELLED_SAMPLES"),
    ("eyth", "_ARCHIVE", "eyth_dataset"),
    ("gtea", "_ARCHIVE", "GTEA"),
    ("hof", "_ARCHIVE", "hand_over_face"),
    ("person_parts", "_PASCAL_PART", "trainval/Annotations_Part"),
]


@pytest.mark.parametrize(("name", "archive", "inside"), ARCHIVES)
def test_an_archive_is_taken_from_the_manual_folder_and_unpacked_once(name, archive, inside, tmp_path, monkeypatch):
    module = _module(name)
    archive = dataclasses.replace(getattr(module, archive), checksum="")
    monkeypatch.setattr(module, "_ARCHIVE" if inside[0] != "t" else "_PASCAL_PART", archive)
    manual = shutil.copytree(ROOT / name / "dummy_data", tmp_path / "manual")
    _pack(archive, manual / inside, manual)
    shutil.rmtree(manual / inside)
    built = _build(name, tmp_path, manual_dir=manual)
    with mock.patch("tfds_builders.archives.safe_extract", side_effect=AssertionError("unpacked twice")):
        shutil.rmtree(built.data_dir)
        again = _build(name, tmp_path, manual_dir=manual)
        assert again.info.splits.total_num_examples == built.info.splits.total_num_examples


EYTH = _module("eyth")._ARCHIVE


def test_downloads_without_a_manual_folder(tmp_path):
    # What other datasets keep in TFDS's common manual folder is no reason not to download.
    (tmp_path / "data" / "downloads" / "manual").mkdir(parents=True)
    (tmp_path / "data" / "downloads" / "manual" / "other.zip").touch()
    path = _pack(EYTH, ROOT / "eyth" / "dummy_data" / "eyth_dataset", tmp_path / "server")
    with mock.patch(testing.DOWNLOAD, return_value=path) as download:
        assert _build("eyth", tmp_path).info.splits.total_num_examples == 9
    download.assert_called_once_with(EYTH.url)


def test_a_failed_download_and_a_web_page_say_what_to_do_by_hand(tmp_path):
    what = r"404(?s:.*)eyth_dataset\.tar\.gz(?s:.*)--manual_dir"
    error = tfds.download.DownloadError("HTTP code: 404")
    with mock.patch(testing.DOWNLOAD, side_effect=error), testing.refused(tmp_path, what, RuntimeError):
        _build("eyth", tmp_path)
    page = tfds.core.Path(tmp_path / "uc")
    page.write_text("<!DOCTYPE html><html>Google Drive - Quota exceeded</html>")
    what = r"uc is a web page(?s:.*)--manual_dir"
    with mock.patch(testing.DOWNLOAD, return_value=page), testing.refused(tmp_path, what, UnsafeArchiveError):
        _build("eyth", tmp_path)


def test_a_manual_folder_without_the_data_is_an_error_and_nothing_is_downloaded(tmp_path):
    (tmp_path / "manual").mkdir()
    with mock.patch(testing.DOWNLOAD, side_effect=KeyError("downloaded")):
        with testing.refused(tmp_path, r"manual does not exist or is empty(?s:.*)--manual_dir", AssertionError):
            _build("eyth", tmp_path, manual_dir=tmp_path / "manual")
        (tmp_path / "manual" / "holiday.jpg").touch()
        with testing.refused(tmp_path, r"neither eyth_dataset\.tar\.gz nor(?s:.*)--manual_dir", FileNotFoundError):
            _build("eyth", tmp_path, manual_dir=tmp_path / "manual")


def test_an_unsafe_archive_is_refused(tmp_path):
    (tmp_path / "manual").mkdir()
    with zipfile.ZipFile(tmp_path / "manual" / "eyth_dataset.tar.gz", "w") as archive:
        archive.writestr("../escape.txt", "")
    with testing.refused(tmp_path, r"\.\./escape\.txt(?s:.*)--manual_dir", UnsafeArchiveError):
        _build("eyth", tmp_path, manual_dir=tmp_path / "manual")


def test_known_checksums_are_compared(tmp_path):
    """By TFDS where the size is known to the byte, else by the builders."""
    gtea, voc = _module("gtea"), _module("person_parts")._VOC
    (info,) = gtea.Builder.url_infos.items()
    assert (info[0], info[1].size, info[1].checksum[:8]) == (gtea._CROPPED.url, 2839272, "2c231efa")
    assert voc.checksum.startswith("md5:da459979")
    path = tfds.core.Path(tmp_path / "hand2K_dataset.zip")
    path.write_bytes(b"PK another file")
    with pytest.raises(UnsafeArchiveError, match=r"hand2K_dataset\.zip has the sha256 .* official file has a64c0fcf"):
        gtea._ARCHIVE.check(path)
    right = dataclasses.replace(voc, checksum="md5:0cc175b9c0f1b6a831c399e269772661")
    path.write_bytes(b"a")
    right.check(path)


def test_a_tree_is_found_from_each_of_its_folders(tmp_path):
    archive = Archive("a.zip", "", tree="outer/inner", marker="lists")
    tree = tmp_path / "root" / "outer" / "inner"
    (tree / "lists").mkdir(parents=True)
    for folder in (tmp_path / "root", tree.parent, tree):
        assert archive.find(tfds.core.Path(folder)) == tfds.core.Path(tree)
    assert archive.find(tfds.core.Path(tmp_path)) is None
