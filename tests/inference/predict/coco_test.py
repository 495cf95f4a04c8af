"""COCO files: pycocotools reads them, and their regions are the mask's."""

import json

import numpy as np
import pytest
from pycocotools.coco import COCO

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.predict import coco
from refinenet_jax.inference.segmentation import Segmentation

NAMES, KINDS = ("background", "left", "right"), ("masks", coco.KIND)


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


def write(root, masks: dict[str, np.ndarray], process="0"):
    with coco.Journal(root, KINDS, process) as journal:
        for name, mask in masks.items():
            journal.add(result(mask), name)


def test_pycocotools_reads_the_regions_of_the_mask(mask, tmp_path):
    write(tmp_path, {"sub/a.jpg": mask, "empty.jpg": np.zeros((7, 9), np.uint8)})
    coco.assemble(tmp_path, KINDS, NAMES)
    found = COCO(str(tmp_path / "coco.json"))
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
        assert (drawn > 0)[mask == class_id].mean() > 0.95
        assert (drawn > 0)[mask != class_id].mean() < 0.02
    assert isinstance(entries[0]["segmentation"], dict)  # of the region with a hole
    assert isinstance(entries[1]["segmentation"], list)


def test_processes_and_repeated_pictures_make_one_file(mask, tmp_path):
    write(tmp_path, {"b.jpg": np.zeros_like(mask), "a.jpg": mask}, "0")
    write(tmp_path, {"b.jpg": mask, "c.jpg": mask}, "1")
    coco.assemble(tmp_path, KINDS, NAMES)
    whole = json.loads((tmp_path / "coco.json").read_text())
    assert [image["file_name"] for image in whole["images"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert len(whole["annotations"]) == 12
    assert [a["id"] for a in whole["annotations"]] == list(range(1, 13))
    assert {path.name for path in tmp_path.iterdir()} == {"coco.json"}


def test_a_journal_with_an_incomplete_line_is_resumed(mask, tmp_path):
    write(tmp_path, {"a.jpg": mask, "b.jpg": mask})
    (journal,) = (tmp_path / ".journals").iterdir()
    journal.write_bytes(journal.read_bytes()[:-20])
    assert coco.begin(tmp_path, KINDS, resume=True) == {"a.jpg"}
    write(tmp_path, {"b.jpg": mask})
    coco.assemble(tmp_path, KINDS, NAMES)
    finished = json.loads((tmp_path / "coco.json").read_text())
    assert [image["file_name"] for image in finished["images"]] == ["a.jpg", "b.jpg"]

    assert coco.begin(tmp_path, KINDS, resume=True) == {"a.jpg", "b.jpg"}
    write(tmp_path, {"c.jpg": np.zeros_like(mask)})
    coco.assemble(tmp_path, KINDS, NAMES)
    resumed = json.loads((tmp_path / "coco.json").read_text())
    assert [image["file_name"] for image in resumed["images"]] == ["a.jpg", "b.jpg", "c.jpg"]
    assert resumed["annotations"] == finished["annotations"]


def test_without_resume_earlier_journals_are_removed(mask, tmp_path):
    write(tmp_path, {"old.jpg": mask})
    assert coco.begin(tmp_path, KINDS, resume=False) == set()
    write(tmp_path, {"new.jpg": mask})
    coco.assemble(tmp_path, KINDS, NAMES)
    assert "old.jpg" not in (tmp_path / "coco.json").read_text()


def test_a_foreign_file_is_not_resumed(tmp_path):
    (tmp_path / "coco.json").write_text("[]")
    with pytest.raises(UsageError, match=r"coco\.json.*--overwrite"):
        coco.begin(tmp_path, KINDS, resume=True)
