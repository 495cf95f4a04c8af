"""Tests of the builder: TFDS's own checks on dummy_data/, then which files make which examples, and what is refused."""

import dataclasses
import functools
import pathlib
import shutil
import tarfile
import zipfile
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
from etils import epath

from tfds_builders import testing
from tfds_builders.person_parts import dummy, official_tree, person_parts_dataset_builder
from tfds_builders.person_parts.dummy import box, cat, person, write_mat

DUMMY = pathlib.Path(__file__).parent / "dummy_data"
REALDATA = pathlib.Path(__file__).parents[3] / "shared" / "realdata"
PICTURES = "VOCdevkit/VOC2010/JPEGImages"
MATS = "trainval/Annotations_Part"
FOLDERS = ("pascal_part", "person_part")
TRAIN, VALIDATION = {"1999_000001", "1999_000002", "1999_000003"}, {"1999_000010", "1999_000011"}


class PersonPartsTest(tfds.testing.DatasetBuilderTestCase):
    """Tests for the person_parts dataset."""

    DATASET_CLASS = person_parts_dataset_builder.Builder
    BUILDER_CONFIG_NAMES_TO_TEST = ["parts", "hands", "lower_arms"]  # noqa: RUF012
    SPLITS = {"train": 3, "validation": 2}  # noqa: RUF012


_build = functools.partial(testing.build, person_parts_dataset_builder.Builder)
_masks = testing.masks_of


@pytest.fixture(autouse=True)
def _without_checksum(monkeypatch):
    """The archives made here are not the official ones."""
    voc = dataclasses.replace(person_parts_dataset_builder._VOC, checksum="")
    monkeypatch.setattr(person_parts_dataset_builder, "_VOC", voc)


@pytest.fixture
def tree(tmp_path):
    """A copy of the dummy tree to damage."""
    return shutil.copytree(DUMMY, tmp_path / "tree")


@pytest.fixture
def without_chen(tree):
    shutil.rmtree(tree / "pascal_person_part")
    return tree


def test_the_three_configs_have_the_same_pictures(tmp_path):
    built = {c: _build(tmp_path, c, DUMMY) for c in ("parts", "hands", "lower_arms")}
    for builder in built.values():
        assert {*_masks(builder, "train")} == TRAIN
        assert {*_masks(builder, "validation")} == VALIDATION
    parts, hands, lower_arms = (_masks(builder) for builder in built.values())
    for name in TRAIN | VALIDATION:
        assert hands[name].dtype == np.uint8
        assert (lower_arms[name][hands[name] == 1] == 1).all()
        np.testing.assert_array_equal(lower_arms[name] == 1, parts[name] == 4)
    assert set(np.unique(parts["1999_000001"])) == set(range(7))
    # A person without arms teaches, too.
    assert not (hands["1999_000010"] == 1).any()


def test_all_persons_of_a_picture_are_drawn(tmp_path):
    mask = _masks(_build(tmp_path, "hands", DUMMY))["1999_000002"]
    left, right = (mask[22:26, x + 8 : x + 12] for x in (4, 40))
    assert left[:3].all()
    assert right.all()
    assert (mask == 1).sum() == 2 * (16 + 25)


def test_drawn_parts_are_those_of_chen_but_for_void(tmp_path, without_chen):
    """A person without parts is background."""
    chen = _masks(_build(tmp_path, "parts", DUMMY))
    drawn = _masks(_build(tmp_path / "drawn", "parts", without_chen))
    assert set(chen) == set(drawn) == TRAIN | VALIDATION
    for name in drawn:
        np.testing.assert_array_equal(np.where(drawn[name] == 255, 0, drawn[name]), chen[name])
    belt = box(*np.add(dummy.BELT, (20, 3, 20, 3)))
    legs = box(25, 29, 35, 37)  # over the belt
    np.testing.assert_array_equal(drawn["1999_000010"] == 255, (belt > 0) & (legs == 0))
    assert 255 not in chen["1999_000003"]


def _archives(tree, folder):
    """The tree as its owners publish it."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "pascal_person_part.zip", "w") as archive:
        for file in sorted((tree / "pascal_person_part").rglob("*")):
            archive.write(file, file.relative_to(tree))
    with tarfile.open(folder / "trainval.tar.gz", "w:gz") as archive:
        archive.add(tree / MATS, "Annotations_Part")
    with tarfile.open(folder / "VOCtrainval_03-May-2010.tar", "w") as archive:
        archive.add(tree / "VOCdevkit", "VOCdevkit")
    return folder


def test_without_chens_lists_voc_splits_those_with_parts(tmp_path, without_chen):
    builder = _build(tmp_path, "hands", without_chen)
    assert ({*_masks(builder, "train")}, {*_masks(builder, "validation")}) == (TRAIN, VALIDATION)


def test_without_any_lists_nothing_is_built(tmp_path, without_chen):
    shutil.rmtree(without_chen / "VOCdevkit/VOC2010/ImageSets")
    _refused(tmp_path, "lower_arms", without_chen, r"VOC2010/ImageSets/Main/train\.txt cannot be read")


def _refused(tmp_path, config, tree, match):
    with testing.refused(tmp_path, match):
        _build(tmp_path, config, tree)


def test_missing_files_are_named(tmp_path, tree):
    (tree / MATS / "1999_000002.mat").unlink()
    _refused(tmp_path, "hands", tree, "Annotations_Part lacks the annotation of 1 pictures: 1999_000002")
    (tree / PICTURES / "1999_000003.jpg").unlink()
    (tree / PICTURES / "1999_000010.jpg").unlink()
    _refused(tmp_path, "parts", tree, r"JPEGImages lacks the file of 2 pictures: 1999_000003.*1999_000010")


def test_faulty_annotations_are_refused_before_anything_is_written(tmp_path, tree):
    kind, mask, parts = person(4, 2)
    write_mat(tree / MATS / "1999_000011.mat", [(kind, mask, parts | {"tail": mask})])
    _refused(tmp_path, "hands", tree, r"1999_000011\.mat .*object 0 \(person\) has the parts \['tail'\]")
    write_mat(tree / MATS / "1999_000011.mat", [])
    _refused(tmp_path, "hands", tree, r"1999_000011\.mat has no object with a mask")
    write_mat(tree / MATS / "1999_000011.mat", [cat(3, 3)])
    assert not _masks(_build(tmp_path / "cat", "hands", tree))["1999_000011"].any()


def _download(archives, answers):
    """Replaces TFDS's download: maps the start of an address to a file, or to the error that is raised."""

    def download(_, url):
        answer = next((answer for start, answer in answers.items() if url.startswith(start)), url.rpartition("/")[2])
        if isinstance(answer, Exception):
            raise answer
        return tfds.core.Path(archives / answer)

    return mock.patch("tensorflow_datasets.download.DownloadManager.download", autospec=True, side_effect=download)


@pytest.fixture
def archives(tmp_path, tree):
    folder = _archives(tree, tmp_path / "server")
    (folder / "page.html").write_text("<!DOCTYPE html><html>This domain is for sale</html>")
    return folder


GONE = tfds.download.DownloadError("HTTP code: 404")


@pytest.mark.parametrize("answer", [GONE, "page.html"], ids=["404", "page"])
def test_optional_archives_may_be_unavailable(tmp_path, archives, answer):
    with _download(archives, {"http://www.liang": answer}) as download:
        assert set(_masks(_build(tmp_path, "parts"))) == TRAIN | VALIDATION
    assert any("trainval.tar.gz" in call.args[1] for call in download.call_args_list)
    with _download(archives, {}) as download:
        assert set(_masks(_build(tmp_path / "all", "parts"))) == TRAIN | VALIDATION
    assert not any("trainval.tar.gz" in call.args[1] for call in download.call_args_list)  # not needed


@pytest.mark.parametrize(
    ("content", "fact"),
    [
        (b"1999_000001\n1999_000010\n", "1999_000010 twice"),
        (b"1999_000001\n1999_000001\n", "1999_000001 twice"),
        (b"../../etc/passwd", "line 1"),
    ],
)
def test_bad_lists_are_named(tree, content, fact):
    """Good ones may be unsorted and end lines in any way."""
    lists = epath.Path(tree) / "pascal_person_part" / official_tree.LISTS
    (lists / "train_id.txt").write_bytes(b"1999_000003\r\n\r\n1999_000001 \r\n1999_000002")
    assert official_tree.read_lists(lists, "_id.txt") == {"train": sorted(TRAIN), "validation": sorted(VALIDATION)}
    (lists / "train_id.txt").write_bytes(content)
    with pytest.raises(ValueError, match=fact):
        official_tree.read_lists(lists, "_id.txt")


def _real_tree(root):
    """The real files in the official layout, with lists of half of them each."""
    for folder, ending, into in (
        ("pascal_part", ".jpg", PICTURES),
        ("person_part", ".jpg", PICTURES),
        ("pascal_part", ".mat", MATS),
        ("person_part", ".png", "pascal_person_part/pascal_person_part_gt"),
    ):
        (root / into).mkdir(parents=True, exist_ok=True)
        for path in (REALDATA / folder).glob(f"*{ending}"):
            (root / into / path.name).symlink_to(path)
    for folder, into, ending in (
        ("pascal_part", "VOCdevkit/VOC2010/ImageSets/Main", ".txt"),
        ("person_part", f"pascal_person_part/{official_tree.LISTS}", "_id.txt"),
    ):
        (root / into).mkdir(parents=True)
        names = [path.stem for path in sorted((REALDATA / folder).glob("*.jpg"))]
        for first, name in enumerate(("train", "val")):
            (root / into / f"{name}{ending}").write_text("\n".join(names[first::2]))
    return root


@pytest.mark.skipif(
    not all((REALDATA / name).exists() for name in FOLDERS),
    reason=f"no real files in {REALDATA}",
)
def test_real_files(tmp_path):
    """The 4 masks of Chen et al.; then the 8 annotations with persons, in all configs."""
    tree = _real_tree(tmp_path / "tree")
    chen = _masks(_build(tmp_path / "chen", "parts", tree))
    assert {name: int(mask.max()) for name, mask in chen.items()} == {
        **{"2008_002176": 5, "2008_007586": 5},
        **{"2008_008246": 6, "2009_001521": 6},
    }
    shutil.rmtree(tree / "pascal_person_part")
    parts, hands, lower_arms = (_masks(_build(tmp_path, c, tree)) for c in ("parts", "hands", "lower_arms"))
    assert set(parts) == set(hands) == set(lower_arms)
    assert len(parts) == 8
    for name, mask in parts.items():
        np.testing.assert_array_equal(lower_arms[name] == 1, mask == 4)
        for other in (hands, lower_arms):
            np.testing.assert_array_equal(other[name] == 255, mask == 255)
        assert (mask == 255).sum() <= 0.055 * (mask > 0).sum()
        assert 0 < (hands[name] == 1).sum() < (lower_arms[name] == 1).sum()


if __name__ == "__main__":
    tfds.testing.test_main()
