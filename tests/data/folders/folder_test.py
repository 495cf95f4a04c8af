"""Tests of folders as sources: every layout gives the same examples, and nothing faulty passes silently."""

import io
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import folders
import numpy as np
import pytest
from PIL import Image

from configs import folder as folder_config
from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders import classes
from refinenet_jax.data.sources import check_masks, open_source, splits

NAMED = "classes: [background, left hand, right hand]\n"
ALL = "train+validation+test"


def _open(root, yaml=None, split=ALL):
    if yaml is not None:
        folders.put(root / "dataset.yaml", yaml)
    return open_source(str(root), split)


def _one(root, mask, yaml=NAMED, name="a.png", image=None):
    """A folder of one picture with a mask file."""
    encoded = mask if isinstance(mask, bytes) else folders.png(mask)
    folders.put(root / "masks" / name, encoded)
    folders.put(root / "images" / "a.png", folders.png(folders.image("a")) if image is None else image)
    return _open(root, yaml, "train")


def _gif(pixels, file_format="GIF", **options):
    file = io.BytesIO()
    (Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels).save(file, file_format, **options)
    return file.getvalue()


IDS = folders.mask("kitchen/001")
HANDS = (IDS > 0).astype(np.uint8)

LAYOUTS = [folders.masks, folders.voc, folders.labelme_xml, folders.labelme_json, folders.coco]


@pytest.mark.parametrize("make", LAYOUTS)
def test_every_layout_gives_the_same_examples(tmp_path, make):
    source = _open(make(tmp_path / "my hands"), NAMED)
    assert source.info.name == "my hands"
    assert source.info.class_names == folders.CLASSES
    assert source.info.flip_pairs == ((1, 2),)
    examples = {example["id"]: example for example in source}
    assert examples.keys() == folders.PICTURES.keys()
    for item_id, example in examples.items():
        assert example.keys() == {"image", "mask", "id", "video"}
        assert example["video"] == item_id.split("/")[0]
        assert example["image"].dtype == example["mask"].dtype == np.uint8
        np.testing.assert_array_equal(example["image"], folders.image(item_id))
        np.testing.assert_array_equal(example["mask"], folders.mask(item_id))
    check_masks(source)
    with pytest.raises(IndexError):
        source[5]
    with pytest.raises(IndexError):
        source.encoded(-1)


@pytest.mark.parametrize("make", LAYOUTS)
def test_without_classes_they_are_found(tmp_path, make, capsys):
    root = make(tmp_path / "my_hands")
    names = ("background", "hand", "class 2") if make in (folders.masks, folders.voc) else folders.CLASSES
    assert _open(root).info.class_names == _open(root).info.class_names == names
    printed = capsys.readouterr().err
    assert (
        printed.count(f"found the classes 0 background, 1 {names[1]}, 2 {names[2]}. To name or order them, write into")
        == 1
    )
    assert f"{root / 'dataset.yaml'}:\n  classes: [{', '.join(names)}]" in printed


def test_splits_and_their_slices(tmp_path):
    root = folders.masks(tmp_path)
    folders.put(root / "train.txt", "\n".join(list(folders.PICTURES)[:4]))
    folders.put(root / "val.txt", "street/001")
    assert splits(str(root)) == {"train": 4, "validation": 1}
    ids = list(folders.PICTURES)
    for split, expected in [
        ("train", ids[:4]),
        ("train[:50%]", ids[:2]),
        ("train[-1:]+validation", [ids[3], ids[4]]),
        ("validation+train[1:2]", [ids[4], ids[1]]),
    ]:
        assert [example["id"] for example in _open(root, NAMED, split)] == expected
    for split, message in [
        ("val", r"has no split 'val'; it has train \(4\), validation \(1\)"),
        ("train[", r"has no split 'train\['"),
        ("train[:0]", r"'train\[:0\]' of .* is empty"),
        ("train[:9]", "has no split"),
    ]:
        with pytest.raises(DataError, match=message):
            _open(root, NAMED, split)


def test_coco_files_for_each_split(tmp_path):
    ids = list(folders.PICTURES)
    for name, part in {"train2017": ids[:3], "val2017": ids[3:]}.items():
        folders.coco(tmp_path, f"annotations/instances_{name}.json", part)
    folders.put(tmp_path / "annotations" / "captions_train2017.json", '{"info": {}, "images": []}')
    for item_id in ids[:3]:  # of this split, in a folder of its own
        (tmp_path / "images" / "train2017" / item_id).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / f"{item_id}.png").rename(tmp_path / "images" / "train2017" / f"{item_id}.png")
    train, validation = _open(tmp_path, NAMED, "train"), _open(tmp_path, NAMED, "validation")
    assert [example["id"] for example in train] == [f"train2017/{item_id}" for item_id in ids[:3]]
    assert [example["id"] for example in validation] == ids[3:]
    assert train[0]["video"] == "kitchen"
    np.testing.assert_array_equal(train[0]["mask"], folders.mask(ids[0]))


def test_pictures_that_no_coco_file_names_are_told(tmp_path, capsys):
    assert splits(str(folders.coco(tmp_path, ids=["kitchen/001"]))) == {"train": 1}
    assert f"{tmp_path}/images/kitchen/002" in capsys.readouterr().err


def test_coco_files_as_roboflow_writes_them(tmp_path):
    for name, item_id in {"train": "kitchen/001", "valid": "kitchen/002"}.items():
        folders.coco(tmp_path / name, "_annotations.coco.json", [item_id])
        (tmp_path / name / "images").rename(tmp_path / name / "kitchen_")
        (tmp_path / name / "kitchen_" / "kitchen").rename(tmp_path / name / "kitchen")
    assert splits(str(tmp_path)) == {"train": 1, "validation": 1}
    example = _open(tmp_path, NAMED, "validation")[0]
    assert (example["id"], example["video"]) == ("valid/kitchen/002", "kitchen")


def test_the_file_is_given_as_it_is_stored(tmp_path):
    source = _open(folders.masks(tmp_path), NAMED)
    index = [example["id"] for example in source].index("office/frame.2 ü")
    path = "images/office/frame.2 ü.png"
    assert source.encoded(index) == ((tmp_path / path).read_bytes(), path)


@pytest.mark.parametrize("make", LAYOUTS)
def test_a_copy_reads_the_same_without_the_folder_s_lists(tmp_path, make):
    source = _open(make(tmp_path), NAMED + "group: '(.)'")
    copy = pickle.loads(pickle.dumps(source))
    assert copy.info == source.info
    assert repr(copy) == repr(source)
    assert copy.directory == source.directory == tmp_path
    with ThreadPoolExecutor(4) as pool:
        for mine, other in zip(source, pool.map(copy.__getitem__, range(5)), strict=True):
            assert mine["id"] == other["id"]
            np.testing.assert_array_equal(mine["mask"], other["mask"])


def test_reading_needs_no_tensorflow(tmp_path):
    folders.masks(tmp_path)
    program = f"""
import sys
from refinenet_jax.data.sources import open_source
print(len(open_source({str(tmp_path)!r}, 'train[:100%]+test')[0]), 'tensorflow' in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["4", "False"], result.stderr


# Masks of other kinds.


@pytest.mark.parametrize(
    ("mask", "yaml"),
    [
        (HANDS * 255, "binary: true"),
        (np.where(HANDS, 128, 127).astype(np.uint8), "binary: true"),
        (HANDS, "binary: true"),
        (_gif(Image.fromarray(HANDS * 255).convert("1"), "PNG"), "binary: true"),
        (np.stack([HANDS * 255] * 3, -1), "binary: true"),
        (_gif(HANDS * 255, "JPEG"), "binary: true"),
        (_gif(np.stack([HANDS * 255] * 3, -1), "JPEG"), "binary: true"),
        (HANDS[..., None] * np.array([128, 0, 64], np.uint8), "colors: {background: [0, 0, 0], hand: [128, 0, 64]}"),
        (HANDS * 7, "colors: {background: [0, 0, 0], hand: [7, 7, 7]}"),
        (HANDS, None),
        (np.where(HANDS, 1, 255).astype(np.uint8), "colors: {hand: [1, 1, 1], background: [255, 255, 255]}"),
    ],
)
def test_black_and_white_and_colors_become_ids(tmp_path, mask, yaml):
    source = _one(tmp_path, mask, yaml)
    expected = HANDS if source.info.class_names[0] == "background" else 1 - HANDS
    np.testing.assert_array_equal(source[0]["mask"], expected)
    assert set(source.info.class_names) == {"background", "hand"}


def test_a_color_can_be_void(tmp_path):
    mask = np.array([(0, 0, 0), (0, 9, 0), (224, 224, 192)], np.uint8)[IDS]
    source = _one(tmp_path, mask, "colors: {background: [0, 0, 0], hand: [0, 9, 0], void: [224, 224, 192]}")
    np.testing.assert_array_equal(source[0]["mask"], np.array([0, 1, 255])[IDS])


def test_the_png_is_preferred(tmp_path):
    folders.put(tmp_path / "masks" / "a.jpg", _gif(HANDS * 255, "JPEG"))
    np.testing.assert_array_equal(_one(tmp_path, IDS)[0]["mask"], IDS)


RED = np.array([(0, 0, 0), (200, 0, 0), (0, 0, 200)], np.uint8)[IDS]


def _palette(ids):
    image = Image.fromarray(ids).convert("P")
    image.putpalette([0, 0, 0, 200, 0, 0, 0, 0, 200])
    return image


@pytest.mark.parametrize(
    ("mask", "yaml", "fault", "message"),
    [
        (IDS[1:], NAMED, "size mismatch", r"uint8 \[23, 32\]; for this image it must be uint8 \[24, 32\]"),
        (IDS + np.uint8(2), NAMED, "mask value", "has the values 3, 4, which are neither"),
        (RED, NAMED, "mask format", r"in colors.*\n  colors: .*hand: \[0, 0, 0\]|in colors"),
        (RED, "colors: {background: [0, 0, 0], hand: [200, 0, 0]}", "mask value", r"names: \[0, 0, 200\]"),
        (RED, "binary: true", "mask format", "in colors.* `binary: true`"),
        (_gif(HANDS * 255, "JPEG"), NAMED, "mask format", "is a JPEG file.* PNG.*binary: true"),
        (_gif(RED, "WEBP", lossless=True), NAMED, "mask format", "is a WEBP file"),
        (IDS.astype(np.uint16), NAMED, "mask format", "16 bits"),
        (b"", NAMED, "undecodable", r"The mask .*masks/a\.png cannot be decoded \(0 bytes"),
        (folders.png(IDS)[:60], NAMED, "undecodable", r"The mask .*masks/a\.png cannot be decoded"),
    ],
)
def test_faulty_masks_are_told_with_their_paths(tmp_path, mask, yaml, fault, message):
    with pytest.raises(DataError, match=f"(?s){message}") as error:
        _one(tmp_path, mask, yaml)[0]
    assert error.value.fault == fault
    assert str(tmp_path / "masks" / "a.png") in str(error.value)


def test_a_palette_is_read_as_ids(tmp_path):
    np.testing.assert_array_equal(_one(tmp_path, _gif(_palette(IDS), "PNG"), None)[0]["mask"], IDS)


def test_masks_of_0_and_255_are_refused_with_the_line_to_write(tmp_path):
    with pytest.raises(DataError, match=r"(?s)only the values \[0, 255\].*write into .*dataset\.yaml:\n  binary: true"):
        _one(tmp_path, HANDS * 255, None)
    with pytest.raises(DataError, match=r"(?s)only the values \[0, 255\].*write into .*dataset\.yaml:\n  binary: true"):
        check_masks(_one(tmp_path, HANDS * 255, NAMED))


def test_masks_without_foreground_are_refused(tmp_path):
    with pytest.raises(DataError, match="all 1 examples contain only background"):
        check_masks(_one(tmp_path, IDS * 0, None))


def test_a_folder_of_negatives_may_have_none_but_not_to_cut_out_of(tmp_path):
    """Void in all of it: skin, say, of which nobody knows whether it is a hand's."""
    source = _one(tmp_path, HANDS * 255, f"{NAMED}\nnegatives: true\n")
    check_masks(source)
    with pytest.raises(DataError, match="only the values"):
        check_masks(source, negatives=False)


# Pictures.


def _turned(pixels, file_format="JPEG"):
    exif = Image.Exif()
    exif[0x0112] = 6  # a viewer turns it by 90 degrees clockwise
    return _gif(np.rot90(pixels), file_format, exif=exif, **({"quality": 100} if file_format == "JPEG" else {}))


def test_a_picture_is_turned_as_its_mask_was_drawn(tmp_path):
    pixels = folders.image("a")
    upright = _one(tmp_path / "upright", IDS, image=_turned(pixels, "PNG"))[0]
    np.testing.assert_array_equal(upright["image"], pixels)
    np.testing.assert_array_equal(upright["mask"], IDS)
    stored = _one(tmp_path / "stored", np.rot90(IDS), image=_turned(pixels, "PNG"))[0]
    np.testing.assert_array_equal(stored["image"], np.rot90(pixels))
    np.testing.assert_array_equal(stored["mask"], np.rot90(IDS))
    square = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)  # fits both: as people see it
    example = _one(tmp_path / "square", IDS[:, :24], image=_turned(square, "PNG"))[0]
    np.testing.assert_array_equal(example["image"], square)


@pytest.mark.parametrize("size", [(24, 32), (32, 24), None])
def test_an_annotated_picture_is_turned_too(tmp_path, size):
    shape = '{"label": "hand", "points": [[2.5, 3.5], [9.5, 7.5]], "shape_type": "rectangle"}'
    about = f', "imageHeight": {size[0]}, "imageWidth": {size[1]}' if size else ""
    folders.put(tmp_path / "a.json", f'{{"shapes": [{shape}]{about}}}')
    folders.put(tmp_path / "a.jpg", _turned(folders.image("a")))
    example = _open(tmp_path, split="train")[0]
    assert example["image"].shape[:2] == example["mask"].shape == (size or (24, 32))
    assert np.argwhere(example["mask"])[[0, -1]].tolist() == [[3, 2], [7, 9]]


def test_a_damaged_picture_is_told_with_its_path(tmp_path):
    jpeg = cv2.imencode(".jpg", folders.image("a"))[1].tobytes()
    with pytest.raises(DataError, match=r"The image .*images/a\.png cannot be decoded .*cut short") as error:
        _one(tmp_path, IDS, image=jpeg[:-40])[0]
    assert error.value.fault == "undecodable"


# Annotations.


LABELS = "classes: {background: [], hand: [LEFT_hand, right  hand]}"


@pytest.mark.parametrize("make", [folders.labelme_xml, folders.labelme_json, folders.coco])
def test_labels_are_mapped_as_dataset_yaml_says(tmp_path, make):
    source = _open(make(tmp_path), LABELS)
    assert source.info.class_names == ("background", "hand")
    for example in source:
        np.testing.assert_array_equal(example["mask"], folders.mask(example["id"]) > 0)
    source = _open(tmp_path, "classes: [background, right hand]\nvoid: [left hand]", "train+test+validation")
    example = next(example for example in source if example["id"] == "kitchen/001")
    np.testing.assert_array_equal(example["mask"], np.array([0, 255, 1])[IDS])
    source = _open(tmp_path, "ignore: [right hand]")
    assert source.info.class_names == ("background", "left hand")
    example = next(example for example in source if example["id"] == "kitchen/001")
    expected = np.zeros_like(IDS)
    expected[3:8, 2:10] = 1  # all of it: what is left out covers nothing
    np.testing.assert_array_equal(example["mask"], expected)


@pytest.mark.parametrize("make", [folders.labelme_xml, folders.coco])
def test_unknown_labels_are_all_told_with_the_lines_to_write(tmp_path, make):
    with pytest.raises(
        DataError,
        match=r"(?s)does not mention: left hand, right hand\. .*\n  classes: \{background: \[\], hand: \[left hand\]\}\n.*"
        r"  ignore: \[left hand, right hand\]",
    ) as error:
        _open(make(tmp_path), "classes: [background, foot]")
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
        _open(folders.labelme_xml(tmp_path), yaml)


def test_faulty_annotations_are_told_together_before_anything_is_read(tmp_path):
    root = folders.labelme_xml(tmp_path)
    two_points = "<polygon><pt><x>1</x><y>1</y></pt><pt><x>1</x><y>2</y></pt></polygon>"
    for item_id in ("kitchen/001", "street/001"):
        text = f"<annotation><object><name>left hand</name>{two_points}</object></annotation>"
        folders.put(root / "Annotations" / f"{item_id}.xml", text)
    with pytest.raises(
        DataError, match=r"(?s)kitchen/001\.xml: object 0 .*empty polygon.*\n.*street/001\.xml"
    ) as error:
        _open(root, NAMED)
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
        _open(tmp_path, "classes: [background, x]", "train")[0]
    assert error.value.fault == fault


def test_pairs_may_be_of_classes_that_are_found(tmp_path):
    root = folders.masks(tmp_path)
    assert _open(root).info.flip_pairs == ()
    assert _open(root).info.unpaired == ("hand", "class 2")
    info = _open(root, "flip_pairs: [[hand, class 2]]").info
    assert (info.flip_pairs, info.unpaired) == (((1, 2),), ())
    assert _open(root, "flip_pairs: []").info.unpaired == ()
    with pytest.raises(DataError, match=r"dataset\.yaml.*'clas 2'; did you mean 'class 2'"):
        _open(root, "flip_pairs: [[hand, clas 2]]")


def test_left_and_right_of_labels_are_pairs(tmp_path):
    assert classes.flip_pairs(("background", "lhand", "rhand"), classes.Settings()) == ((1, 2),)
    assert classes.flip_pairs(("background", "lhand", "rhand"), classes.Settings(flip_pairs=())) == ()
    assert _open(folders.labelme_json(tmp_path)).info.unpaired == ()


# Folders as other programs write them, and what the operating system can do to them.


def test_the_reserved_label_of_labelme_is_void(tmp_path):
    shapes = [
        {"label": label, "points": [[x + 0.5, 3.5], [x + 5.5, 9.5]], "shape_type": "rectangle"}
        for label, x in (("hand", 2), ("__ignore__", 12), ("ignore", 22))
    ]
    folders.put(tmp_path / "a.json", json.dumps({"shapes": shapes}))
    folders.put(tmp_path / "a.png", folders.png(folders.image("a")))
    source = _open(tmp_path, split="train")
    assert source.info.class_names == ("background", "hand", "ignore")
    assert [source[0]["mask"][5, x] for x in (4, 14, 24)] == [1, 255, 2]
    assert _open(tmp_path, "ignore: [__ignore__]", "train")[0]["mask"][5, 14] == 0


def test_colors_of_cvat_are_read_from_its_labelmap(tmp_path):
    colors = np.array([(0, 0, 0), (250, 50, 83), (1, 2, 3)], np.uint8)
    for item_id in folders.PICTURES:
        folders.put(tmp_path / "SegmentationClass" / f"{item_id}.png", folders.png(colors[folders.mask(item_id)]))
    folders.put_images(tmp_path / "JPEGImages")
    folders.put(tmp_path / "ImageSets" / "Segmentation" / "default.txt", "\n".join(folders.PICTURES))
    labelmap = "# label:color_rgb:parts:actions\nbackground:0,0,0::\nRight_Hand:1,2,3::\nLeft hand:250,50,83::\n"
    folders.put(tmp_path / "labelmap.txt", labelmap)
    source = _open(tmp_path)
    assert source.info.class_names == folders.CLASSES
    for example in source:
        np.testing.assert_array_equal(example["mask"], folders.mask(example["id"]))
    with pytest.raises(DataError, match="does not mention: left hand"):
        _open(tmp_path, "classes: [background, right hand]")
    source = _open(tmp_path, "classes: [background, right hand]\nignore: [left hand]")
    assert set(np.unique(source[0]["mask"])) <= {0, 1}
    folders.put(tmp_path / "labelmap.txt", "hand=1")
    with pytest.raises(DataError, match=r"labelmap\.txt, line 1"):
        _open(tmp_path, "name: hands")


@pytest.mark.parametrize("with_pictures", [True, False])
def test_what_labelme2voc_writes_has_names_and_arrays(tmp_path, with_pictures):
    for item_id in folders.PICTURES:
        array = np.where(folders.mask(item_id) == 2, -1, folders.mask(item_id)).astype(np.int32)
        path = tmp_path / "SegmentationClass" / f"{item_id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array)
        if with_pictures:
            folders.put(tmp_path / "SegmentationClassPNG" / f"{item_id}.png", folders.png(array.astype(np.uint8)))
    folders.put_images(tmp_path / "JPEGImages")
    folders.put(tmp_path / "class_names.txt", "_background_\nleft hand\n")
    source = _open(tmp_path)
    assert source.info.class_names == ("background", "left hand")
    for example in source:
        np.testing.assert_array_equal(example["mask"], np.array([0, 1, 255])[folders.mask(example["id"])])


@pytest.mark.parametrize("unannotated", ["background", "skip"])
def test_pictures_without_annotation_are_what_the_settings_say(tmp_path, unannotated):
    root = folders.labelme_json(tmp_path)
    (root / "images" / "street" / "001.json").unlink()
    with pytest.raises(DataError, match="unannotated: background"):
        _open(root)
    folders.put(root / "dataset.yaml", f"unannotated: {unannotated}")
    examples = {example["id"]: example for example in _open(root, split="+".join(splits(str(root))))}
    assert ("street/001" in examples) == (unannotated == "background")
    if unannotated == "background":
        assert not examples["street/001"]["mask"].any()


@pytest.mark.parametrize("make", LAYOUTS)
@pytest.mark.parametrize("kind", ["dangling", "circle"])
def test_links_that_lead_nowhere_are_named(tmp_path, make, kind):
    root = make(tmp_path)
    path = next(
        p
        for p in sorted(root.rglob("*"))
        if (p.is_file() and {"images", "JPEGImages"}.isdisjoint(p.parts[:-1])) or (p.suffix == ".json")
    )
    path.unlink()
    path.symlink_to(path if kind == "circle" else root / "gone")
    with pytest.raises(DataError) as error:
        [example["id"] for example in _open(root)]
    assert error.value.fault == "missing"
    assert str(path) in str(error.value)


def test_a_dangling_dataset_yaml_is_named(tmp_path):
    root = folders.masks(tmp_path)
    (root / "dataset.yaml").symlink_to(root / "gone.yaml")
    with pytest.raises(DataError, match=r"dataset\.yaml cannot be read") as error:
        _open(root)
    assert error.value.fault == "missing"


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    root = folders.masks(tmp_path)
    (root / "images").chmod(0)
    try:
        with pytest.raises(DataError, match="images"):
            _open(root)
    finally:
        (root / "images").chmod(0o755)


def test_other_flip_pairs_can_be_named(tmp_path):
    source = _open(folders.masks(tmp_path), "classes: [background, sinister, dexter]\nflip_pairs: [[sinister, dexter]]")
    assert source.info.flip_pairs == ((1, 2),)


def test_the_folder_may_have_another_name(tmp_path):
    assert _open(folders.masks(tmp_path), NAMED + "name: kitchen_hands").info.name == "kitchen_hands"


def test_the_config_waits_for_the_name_of_a_folder():
    config = folder_config.get_config("rf_lw_mbv2")
    assert (config.model.variant, config.data.name, config.evaluate.split) == ("rf_lw_mbv2", "", "test")
    assert config.num_steps > 0
