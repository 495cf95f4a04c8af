"""COCO files: pycocotools reads them, and their regions are the mask's."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict import coco
from refinenet_jax.inference.segmentation import Segmentation

NAMES = ("background", "left", "right")


def result(mask: np.ndarray) -> Segmentation:
    scores = np.full((*mask.shape, 3), 0.1, np.float32)
    np.put_along_axis(scores, mask[..., None].astype(int), 0.8, -1)
    return Segmentation(np.zeros((*mask.shape, 3), np.uint8), scores, NAMES)


@pytest.fixture
def mask():
    """Two regions of the left hand, one of them with a hole; a big one of the right hand; a speck."""
    found = np.zeros((60, 80), np.uint8)
    found[5:25, 5:30] = 1
    found[10:14, 10:15] = 0
    found[40:50, 5:20] = 1
    found[20:55, 40:75] = 2
    found[2, 70] = 2
    return found


def write(root, masks: dict[str, np.ndarray], forms=coco.FORMS, process="0", **options):
    with coco.Journals(root, forms, process, **options) as journals:
        for name, mask in masks.items():
            journals.add(result(mask), name)


@pytest.mark.parametrize("form", coco.FORMS)
def test_pycocotools_reads_the_regions_of_the_mask(form, mask, tmp_path):
    write(tmp_path, {"sub/a.jpg": mask, "empty.jpg": np.zeros((7, 9), np.uint8)})
    coco.assemble(tmp_path, [form], NAMES)
    found = COCO(str(tmp_path / f"{form}.json"))
    assert found.loadCats(found.getCatIds()) == [{"id": 1, "name": "left"}, {"id": 2, "name": "right"}]
    names = {image["file_name"]: image for image in found.imgs.values()}
    assert set(names) == {"sub/a.jpg", "empty.jpg"}
    assert (names["empty.jpg"]["height"], names["empty.jpg"]["width"]) == (7, 9)
    entries = found.loadAnns(found.getAnnIds())
    assert [(a["category_id"], a["area"]) for a in entries] == [(1, 480), (1, 150), (2, 1225), (2, 1)]
    assert entries[0]["bbox"] == [5, 5, 25, 20]
    assert all(a["score"] == 0.8 and a["image_id"] == names["sub/a.jpg"]["id"] for a in entries)
    for class_id in (1, 2):
        drawn = sum(found.annToMask(a).astype(int) for a in entries if a["category_id"] == class_id)
        if form == "rle":
            np.testing.assert_array_equal(drawn, mask == class_id)
        else:
            assert (drawn > 0)[mask == class_id].mean() > 0.95
            assert (drawn > 0)[mask != class_id].mean() < 0.02
    assert isinstance(entries[0]["segmentation"], dict)  # of the region with a hole
    assert isinstance(entries[1]["segmentation"], dict if form == "rle" else list)


def test_processes_and_repeated_pictures_make_one_file(mask, tmp_path):
    write(tmp_path, {"b.jpg": np.zeros_like(mask), "a.jpg": mask}, ["rle"], "0")
    write(tmp_path, {"b.jpg": mask, "c.jpg": mask}, ["rle"], "1")
    coco.assemble(tmp_path, ["rle"], NAMES)
    whole = json.loads((tmp_path / "rle.json").read_text())
    assert [image["file_name"] for image in whole["images"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert len(whole["annotations"]) == 12
    assert [a["id"] for a in whole["annotations"]] == list(range(1, 13))
    assert {path.name for path in tmp_path.iterdir()} == {"rle.json"}


def test_a_journal_with_an_incomplete_line_is_resumed(mask, tmp_path):
    write(tmp_path, {"a.jpg": mask, "b.jpg": mask}, ["rle"])
    (journal,) = (tmp_path / ".journals").iterdir()
    journal.write_bytes(journal.read_bytes()[:-20])
    assert coco.begin(tmp_path, ["rle"], resume=True) == {"a.jpg"}
    write(tmp_path, {"b.jpg": mask}, ["rle"])
    coco.assemble(tmp_path, ["rle"], NAMES)
    finished = json.loads((tmp_path / "rle.json").read_text())
    assert [image["file_name"] for image in finished["images"]] == ["a.jpg", "b.jpg"]

    assert coco.begin(tmp_path, ["rle"], resume=True) == {"a.jpg", "b.jpg"}
    write(tmp_path, {"c.jpg": np.zeros_like(mask)}, ["rle"])
    coco.assemble(tmp_path, ["rle"], NAMES)
    resumed = json.loads((tmp_path / "rle.json").read_text())
    assert [image["file_name"] for image in resumed["images"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert resumed["annotations"] == finished["annotations"]


def test_without_resume_earlier_journals_are_removed(mask, tmp_path):
    write(tmp_path, {"old.jpg": mask}, ["rle"])
    assert coco.begin(tmp_path, ["rle"], resume=False) == set()
    write(tmp_path, {"new.jpg": mask}, ["rle"])
    coco.assemble(tmp_path, ["rle"], NAMES)
    assert "old.jpg" not in (tmp_path / "rle.json").read_text()


def test_a_foreign_file_is_not_resumed(tmp_path):
    (tmp_path / "rle.json").write_text("[]")
    with pytest.raises(UsageError, match=r"rle\.json.*--overwrite"):
        coco.begin(tmp_path, ["rle"], resume=True)
