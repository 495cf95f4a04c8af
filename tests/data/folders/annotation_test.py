"""Tests of annotated pictures: labels as dataset.yaml maps them, and annotations of another size."""

import json

import folders
import numpy as np
import pytest

from refinenet_jax.data.examples import DataError

NAMED = "classes: [background, left hand, right hand]\n"
IDS = folders.mask("kitchen/001")


LABELS = "classes: {background: [], hand: [LEFT_hand, right  hand]}"


@pytest.mark.parametrize("make", [folders.labelme_xml, folders.labelme_json, folders.coco])
def test_labels_are_mapped_as_dataset_yaml_says(tmp_path, make):
    source = folders.open_all(make(tmp_path), LABELS)
    assert source.info.class_names == ("background", "hand")
    for example in source:
        np.testing.assert_array_equal(example["mask"], folders.mask(example["id"]) > 0)
    source = folders.open_all(tmp_path, "classes: [background, right hand]\nvoid: [left hand]")
    example = next(example for example in source if example["id"] == "kitchen/001")
    np.testing.assert_array_equal(example["mask"], np.array([0, 255, 1])[IDS])
    source = folders.open_all(tmp_path, "ignore: [right hand]")
    assert source.info.class_names == ("background", "left hand")
    example = next(example for example in source if example["id"] == "kitchen/001")
    expected = np.zeros_like(IDS)
    expected[3:8, 2:10] = 1  # all of it: what is ignored covers nothing
    np.testing.assert_array_equal(example["mask"], expected)


@pytest.mark.parametrize("make", [folders.labelme_xml, folders.coco])
def test_unknown_labels_are_all_named_with_the_lines_to_write(tmp_path, make):
    with pytest.raises(
        DataError,
        match=r"(?s)does not mention: left hand, right hand\. .*\n  classes: \{background: \[\], hand: \[left hand\]\}\n.*"
        r"  ignore: \[left hand, right hand\]",
    ) as error:
        folders.open_all(make(tmp_path), "classes: [background, foot]")
    assert error.value.fault == "annotation"


@pytest.mark.parametrize(
    ("yaml", "message"),
    [
        ("classes: {background: [], a: [x], b: [X]}", r"gives the label 'X' two meanings"),
        (
            "classes: [background, left hand, right hand]\nignore: [left_hand]",
            "gives the label 'left hand' two meanings",
        ),
        (NAMED + "binary: true", "binary masks have two classes"),
        ("binary: true", "binary is for masks, but .* has the layout 'labelme'."),
    ],
)
def test_settings_that_contradict_are_refused(tmp_path, yaml, message):
    with pytest.raises(DataError, match=rf"dataset\.yaml.*{message}"):
        folders.open_all(folders.labelme_xml(tmp_path), yaml)


def test_faulty_annotations_are_reported_together(tmp_path):
    root = folders.labelme_xml(tmp_path)
    two_points = "<polygon><pt><x>1</x><y>1</y></pt><pt><x>1</x><y>2</y></pt></polygon>"
    for item_id in ("kitchen/001", "street/001"):
        text = f"<annotation><object><name>left hand</name>{two_points}</object></annotation>"
        folders.put(root / "Annotations" / f"{item_id}.xml", text)
    with pytest.raises(
        DataError, match=r"(?s)kitchen/001\.xml: object 0 .*empty polygon.*\n.*street/001\.xml"
    ) as error:
        folders.open_all(root, NAMED)
    assert error.value.fault == "annotation"


@pytest.mark.parametrize(
    ("shapes", "fault", "message"),
    [
        (
            '], "imageHeight": 48, "imageWidth": 64',
            "size mismatch",
            r"has 32 x 24 pixels, but .*a\.json was drawn on 64 x 48",
        ),
        ('], "imageHeight": 1e9, "imageWidth": 1e9', "size mismatch", "drawn on 1000000000 x 1000000000"),
        (
            '{"label": "x", "points": [[1, 1], [2, 5], [34, 9]]}]',
            "size mismatch",
            "a\\.json .*a\\.png of 32 x 24",
        ),
        (
            '{"label": "x", "points": [[1, 1], [2, 5], [-1e7, 9]]}]',
            "annotation",
            r"a\.json: polygon 0 has a corner that is not finite or farther",
        ),
    ],
)
def test_annotations_that_do_not_fit_are_refused(tmp_path, shapes, fault, message):
    folders.put(tmp_path / "a.json", f'{{"shapes": [{shapes}}}')
    folders.put(tmp_path / "a.png", folders.png(folders.image("a")))
    with pytest.raises(DataError, match=message) as error:
        folders.open_all(tmp_path, "classes: [background, x]", "train")[0]
    assert error.value.fault == fault


@pytest.mark.parametrize(("size", "corners"), [((24, 32), [[3, 2], [7, 9]]), ((32, 24), [[2, 24], [9, 28]])])
def test_an_annotated_picture_is_rotated_upright(tmp_path, size, corners):
    shape = '{"label": "hand", "points": [[2.5, 3.5], [9.5, 7.5]], "shape_type": "rectangle"}'
    content = f'{{"shapes": [{shape}], "imageHeight": {size[0]}, "imageWidth": {size[1]}}}'
    for name, text in (("a", content), ("b", f'{{"shapes": [{shape}]}}')):
        folders.put(tmp_path / f"{name}.json", text)
        folders.put(tmp_path / f"{name}.jpg", folders.rotated(folders.image("a")))
    source = folders.open_all(tmp_path)
    for example in source:
        expected = corners if example["id"] == "a" else [[3, 2], [7, 9]]
        assert example["image"].shape[:2] == example["mask"].shape == (24, 32)
        assert np.argwhere(example["mask"])[[0, -1]].tolist() == expected


def test_the_reserved_label_of_labelme_is_void(tmp_path):
    shapes = [
        {"label": label, "points": [[x + 0.5, 3.5], [x + 5.5, 9.5]], "shape_type": "rectangle"}
        for label, x in (("hand", 2), ("__ignore__", 12), ("ignore", 22))
    ]
    folders.put(tmp_path / "a.json", json.dumps({"shapes": shapes}))
    folders.put(tmp_path / "a.png", folders.png(folders.image("a")))
    source = folders.open_all(tmp_path, split="train")
    assert source.info.class_names == ("background", "hand", "ignore")
    assert [source[0]["mask"][5, x] for x in (4, 14, 24)] == [1, 255, 2]
    assert folders.open_all(tmp_path, "ignore: [__ignore__]", "train")[0]["mask"][5, 14] == 0


@pytest.mark.parametrize("make", [folders.labelme_xml, folders.coco])
def test_changed_annotations_are_read_again(tmp_path, make):
    root = make(tmp_path)
    assert folders.open_all(root).info.class_names == folders.CLASSES
    for path in [*root.rglob("*.xml"), *root.rglob("annotations.json")]:
        path.write_text(path.read_text().replace("right hand", "foot"))
    assert folders.open_all(root).info.class_names == ("background", "foot", "left hand")
