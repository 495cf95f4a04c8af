"""Tests of recognizing layouts and of pairing files: nothing is left out silently."""

import json
import unicodedata

import folders
import pytest

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders.layouts import choose_layout, layouts_in, read_layout


def _touch(root, *paths):
    for path in paths:
        folders.put(root / path, {"json": "{}", "xml": "<annotation/>"}.get(path.rpartition(".")[2], ""))
    return root


def _pairs(root, layout="masks"):
    items = read_layout(layout, root)
    return {
        item.id: (item.image.relative_to(root).as_posix(), item.annotation.relative_to(root).as_posix())
        for item in items
    }


COCO = json.dumps({"info": {}, "images": [], "annotations": [], "categories": []})
LABELME = json.dumps({"version": "5.0", "flags": {}, "shapes": []})


@pytest.mark.parametrize(
    ("files", "layouts"),
    [
        ({"images/a.jpg": "", "masks/a.png": ""}, ["masks"]),
        ({"Images/a.jpg": "", "MASKS/a.png": ""}, ["masks"]),
        ({"JPEGImages/a.jpg": "", "SegmentationClass/a.png": "", "Annotations/a.xml": "<annotation/>"}, ["voc"]),
        ({"images/a.jpg": "", "annotations/a.xml": "<annotation/>"}, ["labelme"]),
        ({"images/a.jpg": "", "annotations/a.json": LABELME}, ["labelme"]),
        ({"images/1/a.jpg": "", "images/1/a.json": LABELME}, ["labelme"]),
        ({"a.jpg": "", "a.json": LABELME}, ["labelme"]),
        ({"a.jpg": "", "annotations/a.xml": "<annotation/>"}, ["labelme"]),
        ({"a.jpg": "", "package.json": "{}"}, []),
        ({"images/a.jpg": "", "annotations/hands.json": COCO}, []),
        ({"images/a.jpg": "", "annotations.xml": "<annotations/>"}, []),  # CVAT
        ({"ds/img/a.jpg": "", "ds/ann/a.jpg.json": "{}", "meta.json": "{}"}, []),  # Supervisely
        ({"a.jpg": "", "via_project.json": "{}"}, []),
        ({"images/a.jpg": "", "annotations/instances_train2017.json": COCO}, ["coco"]),
        ({"images/a.jpg": "", "annotations.json": COCO}, ["coco"]),
        ({"a.jpg": "", "annotations.json": COCO}, ["coco"]),
        ({"train/a.jpg": "", "train/_annotations.coco.json": COCO}, ["coco"]),
        ({"images/a.jpg": ""}, []),
        ({"images/a.jpg": "", "masks/a.png": "", "annotations/a.xml": "<annotation/>"}, ["masks", "labelme"]),
        ({"images/a.jpg": "", "masks/a.png": "", "annotations.json": COCO}, ["masks", "coco"]),
    ],
)
def test_layouts_are_recognized(tmp_path, files, layouts):
    for path, content in files.items():
        folders.put(tmp_path / path, content)
    assert layouts_in(tmp_path) == layouts
    if len(layouts) == 1:
        assert choose_layout(tmp_path, "") == layouts[0]
    elif layouts:
        assert choose_layout(tmp_path, layouts[1]) == layouts[1]
        with pytest.raises(
            DataError, match=rf"(?s)has 2 layouts, masks and {layouts[1]}.*dataset\.yaml:\n  layout: masks"
        ):
            choose_layout(tmp_path, "")
    else:
        with pytest.raises(DataError, match=r"no supported layout.* as COCO"):
            choose_layout(tmp_path, "")
    if "voc" not in layouts:
        with pytest.raises(DataError, match="has not the layout 'voc'"):
            choose_layout(tmp_path, "voc")


def test_pictures_and_masks_are_paired_by_path_without_ending(tmp_path):
    _touch(tmp_path, "images/b/1.JPG", "images/a.x.jpeg", "images/a.tif", "images/ü 1.png")
    _touch(tmp_path, "masks/b/1", "masks/a.x.bmp", "masks/a.png", "masks/ü 1.gif")
    assert _pairs(tmp_path) == {
        "a": ("images/a.tif", "masks/a.png"),
        "a.x": ("images/a.x.jpeg", "masks/a.x.bmp"),
        "b/1": ("images/b/1.JPG", "masks/b/1"),
        "ü 1": ("images/ü 1.png", "masks/ü 1.gif"),
    }


def test_files_of_systems_and_texts_are_no_pictures(tmp_path):
    _touch(tmp_path, "images/a.jpg", "images/.DS_Store", "images/Thumbs.db", "images/._a.jpg", "images/list.txt")
    _touch(tmp_path, "masks/a.png", "masks/.DS_Store", "masks/.hidden/b.png", "masks/desktop.ini", "masks/README.md")
    assert list(_pairs(tmp_path)) == ["a"]


def test_links_are_followed_but_in_no_circle(tmp_path):
    _touch(tmp_path, "elsewhere/vid/1.jpg", "masks/vid/1.png", "images/2.jpg", "masks/2.png")
    (tmp_path / "images" / "vid").symlink_to(tmp_path / "elsewhere" / "vid")
    (tmp_path / "images" / "again").symlink_to(tmp_path / "images")
    (tmp_path / "masks" / "up").symlink_to(tmp_path / "masks")
    assert list(_pairs(tmp_path)) == ["2", "vid/1"]


@pytest.mark.parametrize("layout", ["masks", "voc", "labelme"])
def test_all_without_a_partner_is_reported_at_once_and_the_advice_works(tmp_path, layout):
    images, others, ending = {
        "masks": ("images", "masks", "png"),
        "voc": ("JPEGImages", "SegmentationClass", "png"),
        "labelme": ("images", "annotations", "xml"),
    }[layout]
    _touch(tmp_path, *(f"{images}/{i}.jpg" for i in range(8)), *(f"{others}/{i}.{ending}" for i in range(7, 10)))
    with pytest.raises(DataError) as error:
        read_layout(layout, tmp_path)
    assert error.value.fault == "missing"
    message = str(error.value)
    assert "7 pictures" in message
    assert "0, 1, 2, 3, 4, and 2 more" in message
    assert f"8.{ending}, 9.{ending}" in message
    for i in (8, 9):
        (tmp_path / others / f"{i}.{ending}").unlink()
    assert "unannotated: background" in message
    assert "unannotated: skip" in message
    items = read_layout(layout, tmp_path, "background")
    assert [item.annotation is None for item in items] == [True] * 7 + [False]
    assert [item.id for item in read_layout(layout, tmp_path, "skip")] == ["7"]


def test_files_of_other_endings_are_counted(tmp_path, capsys):
    _touch(tmp_path, "images/a.jfif", "images/b.JPE", "images/c.xyz", "images/d.xyz", "images/e", "images/notes.txt")
    _touch(tmp_path, "masks/a.png", "masks/b.png")
    assert list(_pairs(tmp_path)) == ["a", "b"]
    assert "3 files" in (said := capsys.readouterr().err)
    assert "1 without ending, 2 .xyz" in said


def test_names_that_macos_wrote_are_the_same(tmp_path):
    nfd, nfc = (unicodedata.normalize(form, "Hände/ü") for form in ("NFD", "NFC"))
    _touch(tmp_path, f"images/{nfd}.jpg", f"masks/{nfc}.png")
    assert _pairs(tmp_path) == {nfc: (f"images/{nfd}.jpg", f"masks/{nfc}.png")}


def test_of_voc_only_listed_pictures_need_a_mask(tmp_path):
    _touch(
        tmp_path, "JPEGImages/a.jpg", "JPEGImages/b.jpg", "SegmentationClass/a.png", "ImageSets/Segmentation/train.txt"
    )
    assert list(_pairs(tmp_path, "voc")) == ["a"]


def test_two_pictures_of_one_name_are_refused(tmp_path):
    _touch(tmp_path, "images/a.jpg", "images/a.png", "masks/a.png")
    with pytest.raises(DataError, match=r"images has 1 names twice.*: a\. Keep one"):
        read_layout("masks", tmp_path)
    (tmp_path / "images" / "a.png").unlink()
    _touch(tmp_path, "masks/a.bmp")
    with pytest.raises(DataError, match=r"masks has 1 names twice.*: a\. Keep one"):
        read_layout("masks", tmp_path)


def test_annotations_in_the_folder_itself_are_no_pictures(tmp_path):
    _touch(tmp_path, "a.jpg", "b/c.jpg", "annotations/a.xml", "annotations/b/c.xml", "annotations/thumbnail.jpg")
    assert [item.id for item in read_layout("labelme", tmp_path)] == ["a", "b/c"]


@pytest.mark.parametrize("file_name", ["gone.jpg", "../gone.jpg", "/etc/passwd", "..\\b.jpg", "", "https://a.b/c?d=e"])
def test_pictures_that_a_coco_file_does_not_find_are_reported(tmp_path, file_name):
    _touch(tmp_path, "a.jpg")
    root = folders.coco_object(["kitchen/001", "kitchen/002"])
    for image in root["images"]:
        image["file_name"] = file_name
    folders.put(tmp_path / "annotations.json", json.dumps(root))
    with pytest.raises(DataError) as error:
        read_layout("coco", tmp_path)
    assert error.value.fault == "missing"
    assert str(error.value).count(f"names the picture {file_name!r}") == 2
    assert str(tmp_path / "images") in str(error.value)


def test_a_picture_in_two_coco_files_is_refused(tmp_path):
    for name in ("train", "val"):
        folders.coco(tmp_path, f"annotations/instances_{name}.json", ["kitchen/001"])
    with pytest.raises(DataError, match=r"has 1 names twice, .*in two lists: kitchen/001"):
        read_layout("coco", tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ("annotations/instances_train.json", "annotations/instances_hands.json"),
            "instances_hands.json. Rename or move",
        ),
        (("annotations/instances_train.json", "annotations.json"), "COCO files of several kinds"),
        (("annotations.json", "train/_annotations.coco.json"), "COCO files of several kinds"),
    ],
)
def test_coco_files_of_several_kinds_are_refused(tmp_path, files, message):
    for path in files:
        folders.put(tmp_path / path, COCO)
    with pytest.raises(DataError, match=message):
        layouts_in(tmp_path)
