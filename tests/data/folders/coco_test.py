"""Tests of COCO files: the same regions in their three forms, and refusing what would harm."""

import copy
import json

import folders
import numpy as np
import pytest
from pycocotools import mask as coco_mask

from refinenet_jax.data import polygons
from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders import coco

SIZE = (7, 9)
REGION = np.zeros(SIZE, bool)
REGION[2:5, 3:8] = True
REGION[4, 3] = False


def _root(*segmentations, **image):
    annotations = [
        {
            "id": 100 + i,
            "image_id": 5,
            "category_id": 3,
            "iscrowd": 0,
            "bbox": [0, 0, 1, 1],
            "segmentation": segmentation,
        }
        for i, segmentation in enumerate(segmentations)
    ]
    return {
        "info": {},
        "images": [{"id": 5, "file_name": "a.jpg", "height": SIZE[0], "width": SIZE[1], **image}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": " hand "}],
    }


def _read(tmp_path, root):
    content = root if isinstance(root, bytes) else json.dumps(root).encode()
    return coco.read_coco(folders.put(tmp_path / "c.json", content))


def _drawn(tmp_path, *segmentations):
    (annotation,) = _read(tmp_path, _root(*segmentations))
    shapes = enumerate(annotation.shapes, 1)
    return polygons.draw(*SIZE, [(shape.region.draw(*SIZE), number) for number, shape in shapes])


def _compressed(region):
    counts = coco_mask.encode(np.asfortranarray(region, np.uint8))["counts"].decode()
    return {"size": list(region.shape), "counts": counts}


def test_what_a_file_says(tmp_path):
    (picture,) = _read(tmp_path, _root([[1, 1, 4, 1, 4, 5]]))
    assert (picture.file_name, picture.size) == ("a.jpg", SIZE)
    assert picture.shapes[0].label == "hand"
    assert picture.shapes[0].region.polygons[0].tolist() == [[1, 1], [4, 1], [4, 5]]
    assert _read(tmp_path, _root())[0].shapes == ()


def test_run_lengths_go_down_the_columns(tmp_path):
    counts = {"size": [7, 9], "counts": [1, 2, 60]}
    assert np.argwhere(_drawn(tmp_path, counts)).tolist() == [[1, 0], [2, 0]]
    np.testing.assert_array_equal(_drawn(tmp_path, {"size": [7, 9], "counts": folders.runs(REGION)}), REGION)


def test_compressed_run_lengths_are_decoded_as_by_pycocotools(tmp_path):
    rng = np.random.default_rng(0)
    regions = [REGION, ~REGION, np.ones(SIZE, bool), np.zeros(SIZE, bool), *(rng.random((20, *SIZE)) < 0.4)]
    for region in regions:
        np.testing.assert_array_equal(_drawn(tmp_path, _compressed(region)), region)
    wide = np.zeros((900, 1100), bool)  # runs of more than 5, 10, 15 bits
    wide[300:700, 40:1000] = rng.random((400, 960)) < 0.9
    counts = coco._runs(_compressed(wide), wide.shape)
    np.testing.assert_array_equal(coco.Region(counts=counts).draw(900, 1100), wide)


def test_polygons_run_along_the_edges_of_pixels(tmp_path):
    # Columns 3 to 6 and rows 2 to 4, by COCO's convention; PIL's would take one more of each.
    mask = _drawn(tmp_path, [[3, 2, 7, 2, 7, 5, 3, 5]])
    assert np.argwhere(mask).tolist() == [[y, x] for y in (2, 3, 4) for x in (3, 4, 5, 6)]
    parts = _drawn(tmp_path, [[0, 0, 1, 0, 1, 1, 0, 1], [3, 2, 5, 2, 5, 3, 3, 3]])
    assert np.argwhere(parts).tolist() == [[0, 0], [2, 3], [2, 4]]


TRIANGLE = [1, 1, 4, 1, 4, 5]


def test_the_numbers_of_one_polygon_need_no_list(tmp_path):
    expected = _drawn(tmp_path / "b", [TRIANGLE])
    assert expected.any()
    np.testing.assert_array_equal(_drawn(tmp_path / "a", TRIANGLE), expected)


def test_several_run_lengths_are_one_object(tmp_path):
    counts = [{"size": [7, 9], "counts": [1, 2, 60]}, _compressed(REGION)]
    expected = REGION.copy()
    expected[1:3, 0] = True
    np.testing.assert_array_equal(_drawn(tmp_path, counts) > 0, expected)


@pytest.mark.parametrize("identity", ["5", 5, 5.0, " 5 ", "uuid-5"])
@pytest.mark.parametrize("size", [(7.0, 9.0), ("7", "9")])
def test_numbers_may_be_texts_and_ids_may_be_any_text(tmp_path, identity, size):
    root = _root([TRIANGLE], height=size[0], width=size[1])
    root["images"][0]["id"] = identity
    root["annotations"][0]["image_id"] = 5 if identity != "uuid-5" else identity
    root["categories"][0]["id"] = "3"
    (picture,) = _read(tmp_path, root)
    assert (picture.size, picture.shapes[0].label) == (SIZE, "hand")


def _with(change):
    root = copy.deepcopy(_root([[1, 1, 4, 1, 4, 5]]))
    change(root)
    return root


FAR_AROUND = [[0, 0, 9, 0] * 200_000]


@pytest.mark.parametrize(
    ("root", "message"),
    [
        (b"{", "cannot be read as JSON"),
        (b"[" * 100_000, "cannot be read as JSON"),
        (b"\xff\xfe\xff", "cannot be read as JSON"),
        (b"[]", "must have the lists images, annotations, categories"),
        ({"images": [], "annotations": {}}, "must have the lists"),
        (_root([]), r"annotation 0 \(id 100\) has no segmentation, perhaps only a box"),
        (_root([[1, 1, 2, 2]]), "empty or broken polygon: 4 numbers"),
        (_root([[1, 1, 2, 2, 3, 3, 4]]), "empty or broken polygon: 7 numbers"),
        (_root([[[[[[[1, 1, 2, 2, 3, 3]]]]]]]), "empty or broken polygon"),
        (_root([1, 1, 2, 2]), "empty or broken polygon: 4 numbers"),
        (_root([1, [1, 2]]), r"no numbers\. Write a list of polygons"),
        (_root([[[1, 1], [4, 1], [4, 5]]]), "3 numbers"),
        (_root([{"size": [7, 9], "counts": [63]}, [1, 1, 2, 2, 3, 3]]), "empty or broken polygon: no numbers"),
        (_root([[1, 1, 2, "2", 3, 3]]), "not numbers"),
        (_root([[1, 1, 2, float("nan"), 3, 3]]), "not finite or far outside the picture of 9 x 7"),
        (_root([[1, 1, 2, 1e9, 3, 3]]), "not finite or far outside"),
        (_root([[1, 1, 2, 10**400, 3, 3]]), "not finite"),
        (_root(FAR_AROUND), "outline longer than 1,000,000"),
        (_root({"size": [9, 7], "counts": [63]}), r"run lengths for \[9, 7\]; the picture is \[7, 9\]"),
        (_root({"size": [7, 9], "counts": [62]}), "run lengths for 62 pixels; the picture has 63"),
        (_root({"size": [7, 9], "counts": [70, -7]}), "numbers from 0 to the 63 pixels"),
        (_root({"size": [7, 9], "counts": [-7, 70]}), "numbers from 0 to the 63 pixels"),
        (_root({"size": [7, 9], "counts": [10**1000]}), "numbers from 0 to the 63 pixels"),
        (_root({"size": [7, 9], "counts": [31.5, 31.5]}), "numbers from 0 to the 63 pixels"),
        (_root({"size": [7, 9]}), "numbers from 0 to the 63 pixels"),
        (_root({"size": [7, 9], "counts": "P" * 1000}), "cannot be decoded"),
        (_root({"size": [7, 9], "counts": "ü"}), "cannot be decoded"),
        (_root({"size": [7, 9], "counts": "oooo"}), "cut short"),
        (_root({"size": [7, 9], "counts": "PPPP1"}), "numbers from 0 to the 63 pixels"),
        (_with(lambda r: r["annotations"][0].update(image_id=6)), "belongs to the image 6, which is not in the file"),
        (_with(lambda r: r["annotations"][0].update(category_id=4)), "has the category 4, which is not in the file"),
        (_with(lambda r: r["annotations"][0].pop("category_id")), "category_id 'None'"),
        (_with(lambda r: r["annotations"].append("hand")), r"annotation 1 \(id None\) has the image_id 'None'"),
        (_with(lambda r: r["images"].append(r["images"][0])), "image 1 .* the id 5 of an earlier one"),
        (_with(lambda r: r["categories"].append({"id": 9})), "category 1 .* the name 'None'"),
        (_root(height=0), "image 0 .* 9 x 0 pixels"),
        (_root(height=10**9), "image 0 .* 9 x 1000000000 pixels"),
        (_root(width="9 px"), "width '9 px'"),
        (_root(width=9.5), "width '9.5'"),
        (_root(id=True), "id 'True', not a number"),
        (_root(id=" "), "id '', not a whole number or text"),
        (_root(id=5.5), "id '5.5', not a whole number or text"),
        (_root(file_name=None), "file_name 'None'"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, root, message):
    with pytest.raises(DataError, match=rf"c\.json.* {message}") as error:
        _read(tmp_path, root)
    assert error.value.fault == "annotation"


def test_all_faults_are_reported_together(tmp_path):
    with pytest.raises(DataError, match=r"(?s)annotation 0 .*\n.*annotation 4 .*\nand 2 more"):
        _read(tmp_path, _root(*[[]] * 7))


def test_a_huge_file_is_not_read(tmp_path):
    with (tmp_path / "c.json").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(DataError, match="at most 1,073,741,824 are read"):
        coco.read_coco(tmp_path / "c.json")
