"""Tests of the data doctor's findings: each planted fault is found, and nothing else."""

import cv2
import numpy as np
import pytest
from planted import HANDS, Planted, change, encode, healthy, mask, picture, with_orientation

from refinenet_jax.data.doctor.check import read
from refinenet_jax.data.doctor.findings import find
from refinenet_jax.data.examples import FAULTS, DataError, DatasetInfo


def examine(splits, **options):
    return find(read(splits), HANDS, **options)


def names(findings):
    return {finding.name for finding in findings}


def ids(finding):
    return [tuple(record.id for record in group) for group in finding.groups]


def test_healthy_dataset_has_nothing_to_find():
    assert examine(healthy()) == []


def _everywhere(split, **changes):
    def plant(splits):
        for i in range(len(splits[split])):
            change(splits[split], i, **changes)

    return plant


def _fail(*errors):
    def plant(splits):
        for i, error in enumerate(errors):
            splits["train"][i] = error

    return plant


def _copy(split, to, other_mask=False, alter=lambda image: image):
    def plant(splits):
        source = splits[split][1]
        changes = {"image": alter(source["image"]), "mask": mask(99) if other_mask else source["mask"]}
        change(splits[to], 2, **changes)

    return plant


def _recompress(image):
    return cv2.imdecode(np.frombuffer(encode(image, ".jpg", 30), np.uint8), cv2.IMREAD_COLOR_RGB)


def _black_frames(splits):
    change(splits["train"], 0, image=np.zeros_like)
    change(splits["test"], 0, image=np.zeros((64, 48, 3), np.uint8), mask=np.transpose)


PLANTS = {
    "undecodable": ("undecodable", _fail(DataError("cut short", "undecodable"))),
    "size mismatch": ("size-mismatch", _fail(DataError("too small", "size mismatch"))),
    "mask value": ("mask-value", _fail(DataError("has 7", "mask value"))),
    "file that vanished": ("missing", _fail(FileNotFoundError("gone"))),
    "masks of 0 and 255": ("binary-masks", _everywhere("train", mask=lambda m: m * np.uint8(255))),
    "inverted masks": ("inverted", _everywhere("test", mask=lambda m: np.vstack([m[:1] * 0, m[1:] * 0 + 1]))),
    "class not in the training data": ("absent-class no-foreground", _everywhere("train", mask=np.zeros_like)),
    "class not in the evaluation data": ("no-foreground", _everywhere("test", mask=np.zeros_like)),
    "same picture, other mask": ("conflicting-masks", _copy("train", "train", other_mask=True)),
    "same picture twice": ("", _copy("train", "train")),
    "same picture in two splits": ("leak", _copy("train", "test")),
    "both": ("conflicting-masks leak", _copy("train", "validation", other_mask=True)),
    "recompressed in two splits": ("near-leak", _copy("train", "test", alter=_recompress)),
    "recompressed": ("", _copy("train", "train", alter=_recompress)),
    "video in two splits": ("video-in-several-splits", lambda s: change(s["test"], 0, video="train 1")),
    "id given twice": ("duplicate-ids", lambda s: change(s["test"], 0, id="train-3")),
    "all void": ("no-foreground", lambda s: change(s["train"], 0, mask=lambda m: np.full_like(m, 255))),
    "void next to hands": (
        "",
        _everywhere("train", mask=lambda m: np.where(np.arange(m.shape[1]) < 5, 255, m).astype("u1")),
    ),
    "no hands": ("no-foreground", lambda s: change(s["train"], 0, mask=np.zeros_like)),
    "black frames of two shapes": ("", _black_frames),
    "no videos": ("", lambda s: [change(split, i, video=None) for split in s.values() for i in range(len(split))]),
}


@pytest.mark.parametrize("fault", PLANTS)
def test_planted_fault_is_found_and_nothing_else(fault):
    expected, plant = PLANTS[fault]
    splits = healthy()
    plant(splits)
    assert names(examine(splits)) == set(expected.split())


def test_every_fault_of_a_source_has_its_kind():
    splits = healthy()
    _fail(*(DataError(f"it is {fault}", fault) for fault in FAULTS))(splits)
    findings = examine(splits)
    assert [finding.name for finding in findings] == [fault.replace(" ", "-") for fault in FAULTS]
    assert all(finding.severity == "problem" for finding in findings)
    assert [finding.details for finding in findings] == [[f"it is {fault}"] for fault in FAULTS]


def test_fault_of_opening_is_reported_once_for_all_splits():
    findings = examine(healthy(), faults=[("missing", "no mask for a.jpg"), ("missing", "no mask for a.jpg")])
    assert [(f.name, f.details) for f in findings] == [("missing", ["no mask for a.jpg"])]
    assert names(find({}, None, [("annotation", "no XML")])) == {"annotation"}


def test_exif_rotation_is_named_if_the_mask_does_not_fit():
    splits = healthy()
    splits["train"].files[0] = with_orientation(encode(picture(1), ".jpg"), 6), "0.jpg"
    splits["train"][0] = DataError("64x48, not 48x64", "size mismatch")
    (finding,) = examine(splits)
    assert "EXIF" in finding.details[0]
    assert ids(finding) == [("0.jpg",)]


def test_examples_are_named_in_full():
    splits = healthy()
    _copy("train", "test", alter=_recompress)(splits)
    change(splits["validation"], 2, image=splits["train"][4]["image"])
    change(splits["test"], 1, image=splits["train"][4]["image"], video="train 0")
    findings = {finding.name: finding for finding in examine(splits)}
    assert names(findings.values()) == {"leak", "conflicting-masks", "near-leak", "video-in-several-splits"}
    assert ids(findings["leak"]) == [("train-4", "validation-2", "test-1")]
    assert ids(findings["near-leak"]) == [("train-1", "test-2")]
    assert findings["near-leak"].details == ["train and test: 1"]
    assert findings["video-in-several-splits"].details == ["train 0: train 4, test 1"]


def test_copy_within_a_split_does_not_hide_that_in_another():
    splits = healthy()
    _copy("train", "train")(splits)
    change(splits["test"], 0, image=_recompress(splits["train"][1]["image"]))
    assert names(examine(splits)) == {"near-leak"}


def test_what_the_user_accepts_becomes_a_warning():
    splits = healthy()
    change(splits["test"], 0, video="train 1", id="train-3")
    findings = examine(splits, allow=["video-in-several-splits", "leak"])
    assert [(f.name, f.severity, f.allowed) for f in findings] == [
        ("duplicate-ids", "problem", False),
        ("video-in-several-splits", "warning", True),
    ]


def test_absent_class_is_named_with_its_split():
    info = DatasetInfo("sides", ("background", "left", "right"))
    splits = {split: Planted(examples, info) for split, examples in healthy().items()}
    change(splits["validation"], 0, mask=lambda m: m * np.uint8(2))
    findings = find(read(splits), info)
    assert [(f.name, f.details) for f in findings] == [("absent-class", ["train: right"])]
