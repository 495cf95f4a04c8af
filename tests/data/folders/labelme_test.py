"""Tests of reading LabelMe's XML and JSON, and of refusing what would harm."""

import base64
import json

import folders
import numpy as np
import pytest

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.folders.annotation import Annotation
from refinenet_jax.data.folders.labelme import read_labelme

TRIANGLE = [[1, 2], [30.5, 4], [5, 20]]


def _xml_object(name="hand", points=TRIANGLE, more=""):
    corners = "".join(f"<pt><x>{x}</x><y>\n{y}\n</y></pt>" for x, y in points)
    return f"<object><name>\n{name}\n</name>{more}<polygon><username>me</username>{corners}</polygon></object>"


def _xml(*objects, size="<imagesize><nrows>480</nrows><ncols>640</ncols></imagesize>"):
    return f"<annotation><filename>\n1.jpg\n</filename><folder>a</folder>{''.join(objects)}{size}</annotation>".encode()


def _json(*shapes, **fields):
    return json.dumps(
        {"imagePath": "1.jpg", "imageHeight": 480, "imageWidth": 640, "shapes": shapes, **fields}
    ).encode()


def _json_shape(points=TRIANGLE, **fields):
    return {"label": "hand", "points": points, "group_id": None, "shape_type": "polygon", "flags": {}, **fields}


def _read(tmp_path, content) -> Annotation:
    # The ending says nothing.
    (tmp_path / "annotation.txt").write_bytes(content)
    return read_labelme(tmp_path / "annotation.txt")


def _found(annotation):
    return [(shape.label, shape.region.tolist()) for shape in annotation.shapes]


@pytest.mark.parametrize("content", [_xml(_xml_object()), _json(_json_shape(), imageData="A" * 1000)])
def test_both_forms_say_the_same(tmp_path, content):
    annotation = _read(tmp_path, content)
    assert annotation.size == (480, 640)
    assert _found(annotation) == [("hand", TRIANGLE)]
    assert annotation.shapes[0].region.dtype == np.float64


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
def test_other_encodings_are_read(tmp_path, encoding):
    xml = (
        f'<?xml version="1.0" encoding="{encoding[:6]}"?>'.replace("utf-8-", "utf-8")
        + _xml(_xml_object("Händé")).decode()
    )
    if encoding != "utf-16-le":
        assert _found(_read(tmp_path, xml.encode(encoding))) == [("Händé", TRIANGLE)]
    content = json.dumps({"shapes": [_json_shape(label="Händé")]}, ensure_ascii=False).encode(encoding)
    assert _found(_read(tmp_path, content)) == [("Händé", TRIANGLE)]


def test_deleted_objects_are_skipped(tmp_path):
    deleted = _xml_object("deleted", [], "<deleted> 1 </deleted>")
    kept = _xml_object("kept", more="<deleted>0</deleted><verified>0</verified>")
    annotation = _read(tmp_path, _xml(deleted, kept))
    assert _found(annotation) == [("kept", TRIANGLE)]


def test_an_object_of_two_polygons_gives_both(tmp_path):
    twice = (
        _xml_object(points=TRIANGLE).replace("</object>", "") + _xml_object(points=TRIANGLE[::-1])[len("<object>") :]
    )
    assert _found(_read(tmp_path, _xml(twice))) == [("hand", TRIANGLE), ("hand", TRIANGLE[::-1])]


def test_rectangles_and_circles_become_polygons(tmp_path):
    box = [[3, 4], [10, 4], [10, 9], [3, 9]]
    shapes = (
        _json_shape([[3, 4], [10, 9]], shape_type="rectangle"),
        _json_shape(box, shape_type="rectangle"),
        {"label": "old", "points": TRIANGLE},
        _json_shape([[20, 30], [23, 34]], shape_type="circle"),
    )
    annotation = _read(tmp_path, _json(*shapes))
    assert _found(annotation)[:3] == [("hand", box), ("hand", box), ("old", TRIANGLE)]
    circle = annotation.shapes[3].region
    np.testing.assert_allclose(np.linalg.norm(circle - [20, 30], axis=1), 5)
    x, y = circle.T
    area = abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2
    assert area == pytest.approx(25 * np.pi, rel=0.002)


SQUARE = np.ones((2, 2), bool)


def _mask_shape(corners, inside):
    encoded = base64.b64encode(folders.png(inside.astype(np.uint8) * 255)).decode()
    return _json_shape(corners, shape_type="mask", mask=encoded)


@pytest.mark.parametrize("corners", [[[5, 7], [7, 8]], [[7.0, 8.0], [5.0, 7.0]]])
def test_an_ai_mask_is_a_bitmap_between_two_pixels(tmp_path, corners):
    inside = np.array([[True, False, True], [False, True, True]])
    (shape,) = _read(tmp_path, _json(_mask_shape(corners, inside))).shapes
    assert np.argwhere(shape.region.draw(20, 30)).tolist() == [[7, 5], [7, 7], [8, 6], [8, 7]]
    assert np.argwhere(shape.region.draw(8, 6)).tolist() == [[7, 5]]
    assert not shape.region.draw(7, 30).any()


LAUGHS = (
    '<!DOCTYPE a [<!ENTITY a "hahaha"><!ENTITY b "&a;&a;&a;&a;">]><annotation><filename>&b;</filename></annotation>'
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither XML nor JSON"),
        (b"\x89PNG\r\n\x1a\n", "neither XML nor JSON"),
        (b"[]", "neither XML nor JSON"),
        (b"<annotation><object>", "cannot be read as XML"),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', "cannot be read as XML"),
        (LAUGHS.encode(), "cannot be read as XML .*DOCTYPE"),
        (LAUGHS.encode("utf-16"), "cannot be read as XML .*DOCTYPE"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation/>', "cannot be read as XML .*DOCTYPE"),
        (b"<html><body/></html>", "<html>"),
        (_xml(_xml_object(), _xml_object("left", [[1, 2], [3, 4]])), r"object 1 \('left'\) has an empty polygon \(2 p"),
        (_xml(_xml_object("left", [])), r"object 0 \('left'\) has an empty polygon"),
        (_xml("<object><name>left</name><segm/></object>"), r"object 0 \('left'\) has no polygon"),
        (_xml(_xml_object(points=[*TRIANGLE, ("nan", 1)])), r"object 0 \('hand'\) has a point that is not finite"),
        (_xml(_xml_object(points=[*TRIANGLE, ("", 1)])), r"object 0 \('hand'\) has points that are not two numbers"),
        (b'{"shapes": [', "cannot be read as JSON"),
        (b'{"shapes": ' + b"[" * 100_000, "cannot be read as JSON"),
        (b'{"shapes": {"label": "hand"}}', "no list 'shapes'"),
        (b'{"images": [], "annotations": []}', "no list 'shapes'"),
        (_json("hand"), "object 0 is 'hand', not a shape"),
        (_json(_json_shape(), _json_shape([[1, 2]])), r"object 1 \('hand'\) has an empty polygon \(1 points\)"),
        (_json(_json_shape(None)), "empty polygon"),
        (_json(_json_shape([[1, 2, 3]] * 3)), "not two numbers"),
        (_json(_json_shape([1, 2, 3])), "not two numbers"),
        (_json(_json_shape({"x": 1})), "not two numbers"),
        (_json(_json_shape([[1, 2], [float("inf"), 1], [2, 2]])), "not finite"),
        (_json(_json_shape([[1, 2], [3, 4]], shape_type="line")), r"object 0 \('hand'\) has the shape_type 'line'"),
        (_json(_json_shape([[1, 2]], shape_type=["x"])), "shape_type"),
        (_xml(size="<imagesize><nrows>big</nrows><ncols>1</ncols></imagesize>"), "the size 'big' x '1'"),
        (_json(imageHeight=[480]), r"size \[480\] x 640"),
        (_json(_json_shape([[1, 2]], shape_type="circle")), r"empty polygon \(1 points\)"),
        (_json(_json_shape([[1, 2], [3, 4]], shape_type="mask")), r"object 0 \('hand'\) has a mask .*PNG"),
        (_json(_json_shape([[1, 2], [3, 4]], shape_type="mask", mask="!")), "a mask .*PNG in base64"),
        (_json(_json_shape([[1, 2], [3, 4]], shape_type="mask", mask="AAAA")), "object 0 .* cannot be decoded"),
        (_json(_mask_shape([[1, 2], [3, 4]], SQUARE)), r"a mask of \[2, 2\], but its corners"),
        (_json(_mask_shape([[1, 2]], SQUARE)), r"empty polygon \(1 points\)"),
        (_json(_mask_shape([[-1, 2], [0, 3]], SQUARE)), r"a mask of \[2, 2\], but its corners"),
        (_json(_json_shape([[1, 2]], shape_type="rectangle")), r"empty polygon \(1 points\)"),
        (b"{" + b"[" * 2_000_001, "more than 2,000,000 elements"),
        (b"<annotation>" + b"<a/>" * 2_000_001, "more than 2,000,000 elements"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, content, message):
    with pytest.raises(DataError, match=rf"annotation\.txt.* {message}") as error:
        _read(tmp_path, content)
    assert error.value.fault == "annotation"


def test_a_huge_file_is_not_read(tmp_path):
    with (tmp_path / "huge.xml").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(DataError, match=r"huge\.xml has 1,099,511,627,776 bytes"):
        read_labelme(tmp_path / "huge.xml")
