"""Tests of drawing masks from annotations of PASCAL-Part, and of reading those of Chen et al."""

import io
import pathlib

import numpy as np
import pytest
from etils import epath
from PIL import Image

from tfds_builders.person_parts import pascal_part
from tfds_builders.person_parts.make_dummy_data import HEIGHT, WIDTH, box, cat, person, write_mat
from tfds_builders.person_parts.pascal_part import HAND, PARTS, VOID, Person, draw, read_persons, read_png

REALDATA = pathlib.Path(__file__).parents[3] / "shared" / "realdata"
SIZE = (HEIGHT, WIDTH)
HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)


def _person(*parts, mask=None):
    masks = tuple((name, box(*bounds) > 0) for name, bounds in parts)
    return Person(np.any([m for _, m in masks], axis=0) if mask is None else mask > 0, masks)


def _read(tmp_path, objects):
    write_mat(tmp_path / "1999_000001.mat", objects)
    return read_persons(epath.Path(tmp_path / "1999_000001.mat"))


def test_a_person_has_24_parts():
    assert len(PARTS) == 24
    lateral = {"ear", "eye", "ebrow", "larm", "uarm", "hand", "lleg", "uleg", "foot"}
    single = {"head", "nose", "mouth", "hair", "torso", "neck"}
    assert set(PARTS) == single | {side + part for side in "lr" for part in lateral}
    for part in lateral:
        assert PARTS["l" + part] == PARTS["r" + part]
    assert set(PARTS.values()) == set(range(1, HAND + 1))


def test_reads_persons_and_no_other_objects(tmp_path):
    size, persons = _read(tmp_path, [cat(3, 3), person(20, 3), cat(40, 3), person(30, 5, ())])
    assert size == SIZE
    assert [len(p.parts) for p in persons] == [15, 0]
    assert dict(persons[0].parts)["lhand"].sum() == 16
    assert persons[0].mask.dtype == bool
    assert _read(tmp_path, []) == ((0, 0), [])


def test_the_hands_of_all_persons_survive(tmp_path):
    """In the project that this one follows only those of the last person did."""
    _, persons = _read(tmp_path, [person(2, 2), person(22, 2), person(42, 2)])
    hands = draw(SIZE, persons) == HAND
    for left in (2, 22, 42):
        assert hands[21:25, left + 8 : left + 12].all()
        assert hands[26:31, left + 12 : left + 17].all()
    assert hands.sum() == 3 * (16 + 25)


@pytest.mark.parametrize(
    ("over", "under"),
    [
        *(("hair", "torso"), ("nose", "torso"), ("neck", "torso"), ("luarm", "torso"), ("luarm", "hair")),
        *(("rlarm", "torso"), ("llarm", "head"), ("llarm", "luarm"), ("llarm", "luleg"), ("lfoot", "luleg")),
        *(("luleg", "torso"), ("rlleg", "ruleg"), ("ruarm", "rlleg"), ("rhand", "ruleg"), ("rhand", "nose")),
        *(("lhand", "llarm"), ("rhand", "ruarm"), ("lhand", "lfoot")),
    ],
)
def test_paint_order(over, under):
    """Whatever the order in the file, and whether both belong to the same person or not."""
    a, b = (over, (10, 10, 20, 20)), (under, (15, 10, 25, 20))
    row = [PARTS[over]] * 10 + [PARTS[under]] * 5
    for persons in ([_person(a, b)], [_person(b, a)], [_person(a), _person(b)], [_person(b), _person(a)]):
        canvas = draw(SIZE, persons)
        assert canvas[15, 10:25].tolist() == row
        assert not canvas[15, 25:].any()


def test_nothing_cuts_a_hand():
    everything = [(name, (0, 0, WIDTH, HEIGHT)) for name in PARTS if PARTS[name] != HAND]
    canvas = draw(SIZE, [_person(("lhand", (5, 5, 9, 9)), *everything), _person(*everything)])
    np.testing.assert_array_equal(canvas == HAND, box(5, 5, 9, 9) > 0)


def test_void_where_no_part_is_told():
    known = _person(("torso", (10, 10, 20, 20)), mask=box(10, 10, 22, 20))
    unknown = Person(box(18, 10, 30, 20) > 0, ())
    for persons in ([known, unknown], [unknown, known]):
        canvas = draw(SIZE, persons)
        assert canvas[15, 8:32].tolist() == [0] * 2 + [TORSO] * 10 + [VOID] * 10 + [0] * 2


def test_an_unknown_part_is_named(tmp_path):
    kind, mask, parts = person(20, 3)
    with pytest.raises(ValueError, match=r"1999_000001\.mat: object 1 \(person\) has a part 'tail'; .* head leye"):
        _read(tmp_path, [cat(1, 1), (kind, mask, parts | {"tail": mask})])


def test_masks_of_different_sizes_are_named(tmp_path):
    kind, mask, parts = person(20, 3)
    with pytest.raises(ValueError, match=r"object 0 \(person\) has 'nose' of shape \(9, 64\); its mask is \(48, 64\)"):
        _read(tmp_path, [(kind, mask, parts | {"nose": mask[:9]})])
    with pytest.raises(ValueError, match=r"object 1 \(person\) has a mask of shape \(48, 9\)"):
        _read(tmp_path, [cat(1, 1), (kind, mask[:, :9], {})])
    with pytest.raises(ValueError, match=r"object 0 \(person\) has 'nose' of shape \(\)"):
        _read(tmp_path, [(kind, mask, parts | {"nose": "text"})])


def test_masks_larger_than_pictures_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(pascal_part, "_MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(
        ValueError, match=r"object 0 \(person\) has a mask of shape \(48, 64\), larger than any picture"
    ):
        _read(tmp_path, [person(20, 3)])


def test_names_that_are_no_text_are_refused(tmp_path):
    kind, mask, parts = person(20, 3)
    for objects in ([(3.0, mask, parts)], [(kind, mask, {3: mask})]):
        with pytest.raises(ValueError, match=r"1999_000001\.mat cannot be read .* is no text"):
            _read(tmp_path, objects)


def test_an_unreadable_annotation_is_named(tmp_path, monkeypatch):
    path = epath.Path(tmp_path / "1999_000001.mat")
    write_mat(tmp_path / path.name, [person(3, 3)])
    whole = path.read_bytes()
    for content in (b"", b"text" * 100, whole[:600], whole[:-40], whole[:300] + bytes(50) + whole[350:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"1999_000001\.mat cannot be read as an annotation.*; unpack it again"):
            read_persons(path)
    path.write_bytes(whole)
    monkeypatch.setattr(pascal_part, "_MAX_FILE_BYTES", 100)
    with pytest.raises(ValueError, match=r"more than any annotation \(100\)"):
        read_persons(path)


def _png(mask, mode="P"):
    image = Image.fromarray(np.asarray(mask, np.uint8))
    if mode == "P":
        image.putpalette(np.random.default_rng(0).bytes(768))
    content = io.BytesIO()
    image.convert(mode).save(content, "PNG")
    return content.getvalue()


def _read_png(tmp_path, content):
    path = epath.Path(tmp_path / "1999_000001.png")
    path.write_bytes(content)
    return read_png(path)


def test_a_palette_is_read_as_numbers(tmp_path):
    mask = [[0, 1, 2, 3], [4, 5, 6, 255]]
    for mode in ("P", "L"):
        assert _read_png(tmp_path, _png(mask, mode)).tolist() == mask


def test_a_png_of_anything_else_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"1999_000001\.png has the mode RGB, colours instead of class ids"):
        _read_png(tmp_path, _png([[0, 1]], "RGB"))
    with pytest.raises(ValueError, match=r"1999_000001\.png has the values \[7, 38\]; classes are 0 to 6"):
        _read_png(tmp_path, _png([[0, 7, 38, 255]], "L"))
    jpeg = io.BytesIO()
    Image.new("L", (9, 9)).save(jpeg, "JPEG")
    whole = _png(np.random.default_rng(0).integers(0, 7, (40, 40)))
    for content in (b"", jpeg.getvalue(), whole[: len(whole) // 2], b"BM" + bytes(60)):
        with pytest.raises(ValueError, match=r"1999_000001\.png cannot be read as a PNG.*Unpack it again"):
            _read_png(tmp_path, content)
    with pytest.raises(ValueError, match="claims 4096x4096 pixels"):
        _read_png(tmp_path, _png(np.zeros((4096, 4096)), "L"))


@pytest.mark.skipif(not (REALDATA / "pascal_part").exists(), reason=f"no real PASCAL-Part in {REALDATA}")
def test_real_annotations():
    """Parts cover 95 to 100 % of a person, hands lie where the file has them, and half of all parts touch another."""
    counts = {}
    for path in sorted((REALDATA / "pascal_part").glob("*.mat")):
        size, persons = read_persons(epath.Path(path))
        with Image.open(path.with_suffix(".jpg")) as image:
            assert size == (image.height, image.width)
        canvas = draw(size, persons)
        if not persons:
            assert not canvas.any()
            continue
        counts[path.stem] = len(persons)
        for one in persons:
            alone = draw(size, [one])
            np.testing.assert_array_equal(alone > 0, one.mask)
            assert (alone == VOID).sum() <= 0.055 * one.mask.sum()
        hands = [mask for one in persons for name, mask in one.parts if name in ("lhand", "rhand")]
        np.testing.assert_array_equal(canvas == HAND, np.any(hands, axis=0))
    assert counts == {
        **{"2008_000652": 1, "2008_000700": 1, "2008_000726": 2, "2008_000939": 1, "2008_003228": 3},
        **{"2009_001103": 2, "2010_002526": 3, "2010_005243": 6},
    }


@pytest.mark.skipif(not (REALDATA / "person_part").exists(), reason=f"no real Person-Part masks in {REALDATA}")
def test_real_masks():
    areas = {p.stem: np.bincount(read_png(epath.Path(p)).ravel()) for p in (REALDATA / "person_part").glob("*.png")}
    assert {name: len(area) for name, area in areas.items()} == {
        **{"2008_002176": 6, "2008_007586": 6},
        **{"2008_008246": 7, "2009_001521": 7},
    }
    assert areas["2008_008246"].tolist() == [166672, 2151, 7854, 2004, 1981, 3614, 3224]
