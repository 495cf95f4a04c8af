"""Tests of reading annotations of PASCAL-Part, of drawing masks from them, and of reading the masks of Chen et al."""

import io
import pathlib

import numpy as np
import pytest
from etils import epath
from PIL import Image

from tfds_builders.person_parts.dummy import HEIGHT, WIDTH, box, cat, person, write_mat
from tfds_builders.person_parts.pascal_part import HAND, PARTS, VOID, Person, draw, read_persons, read_png

REALDATA = pathlib.Path(__file__).parents[3] / "shared" / "realdata"


def _person(*parts, mask=None):
    masks = tuple((name, box(*bounds) > 0) for name, bounds in parts)
    return Person(np.any([m for _, m in masks], axis=0) if mask is None else mask > 0, masks)


def _read(tmp_path, objects):
    write_mat(tmp_path / "1999_000001.mat", objects)
    return read_persons(epath.Path(tmp_path / "1999_000001.mat"))


def test_reads_persons_and_no_other_objects(tmp_path):
    size, persons = _read(tmp_path, [cat(3, 3), person(20, 3), cat(40, 3), person(30, 5, ())])
    assert size == (HEIGHT, WIDTH)
    assert [len(p.parts) for p in persons] == [15, 0]
    assert dict(persons[0].parts)["lhand"].sum() == 16
    assert persons[0].mask.dtype == bool
    assert _read(tmp_path, []) == ((0, 0), [])


@pytest.mark.parametrize(
    ("over", "under"),
    [
        *(("hair", "torso"), ("nose", "torso"), ("neck", "torso"), ("luarm", "torso"), ("luarm", "hair")),
        *(("rlarm", "torso"), ("llarm", "luarm"), ("llarm", "luleg"), ("lfoot", "luleg"), ("luleg", "torso")),
        *(("rhand", "ruleg"), ("rhand", "nose"), ("lhand", "llarm"), ("rhand", "ruarm"), ("lhand", "lfoot")),
    ],
)
def test_paint_order(over, under):
    """Whatever the order in the file, and whether both belong to the same person or not."""
    a, b = (over, (10, 10, 20, 20)), (under, (15, 10, 25, 20))
    row = [PARTS[over]] * 10 + [PARTS[under]] * 5
    for persons in ([_person(a, b)], [_person(b, a)], [_person(a), _person(b)], [_person(b), _person(a)]):
        assert draw((HEIGHT, WIDTH), persons)[15, 9:26].tolist() == [0, *row, 0]


def test_void_where_there_is_a_person_but_no_part():
    known = _person(("torso", (10, 10, 20, 20)), mask=box(10, 10, 22, 20))
    unknown = Person(box(18, 10, 30, 20) > 0, ())
    for persons in ([known, unknown], [unknown, known]):
        assert draw((HEIGHT, WIDTH), persons)[15, 8:32].tolist() == [0] * 2 + [2] * 10 + [VOID] * 10 + [0] * 2


def test_annotations_of_another_layout_are_named(tmp_path, monkeypatch):
    kind, mask, parts = person(20, 3)
    for fact, objects in (
        ("nose of object 0", [(kind, mask, parts | {"nose": mask[:9]})]),
        ("nose of object 0", [(kind, mask, parts | {"nose": "text"})]),
        ("the mask of object 1", [cat(1, 1), (kind, mask[:, :9], {})]),
        ("not text", [(3.0, mask, parts)]),
        (r"the parts \['\[?3", [(kind, mask, {3: mask})]),
    ):
        with pytest.raises(ValueError, match=rf"1999_000001\.mat .*{fact}"):
            _read(tmp_path, objects)
    path = epath.Path(tmp_path / "1999_000001.mat")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"1999_000001\.mat cannot be read"):
        read_persons(path)
    monkeypatch.setattr("tfds_builders.person_parts.pascal_part._MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(ValueError, match="the mask of object 0"):
        _read(tmp_path, [person(20, 3)])


def test_masks_of_chen_are_read_as_class_ids_or_refused(tmp_path):
    def png(mask, mode="P"):
        image, content = Image.fromarray(np.asarray(mask, np.uint8)), io.BytesIO()
        if mode == "P":
            image.putpalette(np.random.default_rng(0).bytes(768))
        image.convert(mode).save(content, "PNG")
        return content.getvalue()

    path = epath.Path(tmp_path / "1999_000001.png")
    ids = [[0, 1, 2, 3], [4, 5, 6, 255]]
    for mode in ("P", "L"):
        path.write_bytes(png(ids, mode))
        assert read_png(path).tolist() == ids
    whole = png(np.random.default_rng(0).integers(0, 7, (40, 40)))
    for fact, content in (
        ("the mode RGB", png([[0, 1]], "RGB")),
        (r"\[7, 38\]", png([[0, 7, 38, 255]], "L")),
        ("4096x4096", png(np.zeros((4096, 4096)), "L")),
        ("cannot be read", whole[: len(whole) // 2]),
        ("cannot be read", b""),
    ):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"1999_000001\.png .*{fact}"):
            read_png(path)


@pytest.mark.skipif(not (REALDATA / "pascal_part").exists(), reason=f"no real PASCAL-Part in {REALDATA}")
def test_real_annotations():
    """Parts cover 95 to 100 % of a person, and hands lie where the file has them."""
    counts = {}
    for path in sorted((REALDATA / "pascal_part").glob("*.mat")):
        size, persons = read_persons(epath.Path(path))
        with Image.open(path.with_suffix(".jpg")) as image:
            assert size == (image.height, image.width)
        canvas = draw(size, persons)
        for one in persons:
            alone = draw(size, [one])
            np.testing.assert_array_equal(alone > 0, one.mask)
            assert (alone == VOID).sum() <= 0.055 * one.mask.sum()
        hands = [mask for one in persons for name, mask in one.parts if name in ("lhand", "rhand")]
        np.testing.assert_array_equal(canvas == HAND, np.any(hands, axis=0) if hands else canvas < 0)
        counts |= {path.stem: len(persons)} if persons else {}
    assert counts == {
        **{"2008_000652": 1, "2008_000700": 1, "2008_000726": 2, "2008_000939": 1, "2008_003228": 3},
        **{"2009_001103": 2, "2010_002526": 3, "2010_005243": 6},
    }
