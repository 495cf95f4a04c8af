"""Tests of which pictures test: the fixed split, the list, and the owners' test pictures."""

import shutil

import pytest
from etils import epath
from PIL import Image

from tfds_builders.hof import hand_over_face, splits

DUMMY = epath.Path(__file__).parent / "dummy_data" / hand_over_face.FOLDER
RESIZED = {picture.number: picture.image for picture in hand_over_face.read_resized(DUMMY)}


def test_the_fixed_split_never_changes():
    divided = splits.divide(range(1, 301), None)
    assert {split: len(numbers) for split, numbers in divided.items()} == {"train": 160, "validation": 40, "test": 100}
    assert sorted(number for numbers in divided.values() for number in numbers) == list(range(1, 301))
    assert divided["validation"][:8] == [1, 3, 11, 12, 18, 21, 23, 26]
    assert divided["test"][:5] == [4, 8, 9, 10, 13]
    assert all(numbers == sorted(numbers) for numbers in divided.values())
    assert {split: sum(numbers) for split, numbers in divided.items()} == {
        "train": 24703,
        "validation": 5230,
        "test": 15217,
    }


def test_a_picture_stays_in_its_split_whichever_others_are_there():
    whole = splits.divide(range(1, 301), None)
    part = splits.divide(range(1, 301, 7), None)
    assert all(set(part[split]) <= set(whole[split]) for split in whole)
    assert splits.divide([2000], None) == {"train": [2000], "validation": [], "test": []}


def test_a_list_takes_its_pictures_and_forty_of_the_others_validate():
    test = set(range(1, 101))
    divided = splits.divide(range(1, 301), test)
    assert set(divided["test"]) == test
    assert {split: len(numbers) for split, numbers in divided.items()} == {"train": 160, "validation": 40, "test": 100}


def test_nothing_there_is_none(tmp_path):
    assert splits.read_test(epath.Path(tmp_path), RESIZED) is None


@pytest.mark.parametrize(
    "content",
    [b"9\n4\n", b"\xef\xbb\xbf4\r\n\r\n9.jpg\r\n", b"hand_over_face/images_resized/9.jpg\nC:\\test\\4.png\n9\n"],
    ids=["numbers", "Windows", "paths"],
)
def test_a_list_of_numbers_or_files_is_read(tmp_path, content, caplog):
    (tmp_path / "test.txt").write_bytes(content)
    assert splits.read_test(epath.Path(tmp_path), RESIZED) == {4, 9}
    assert "names 2 pictures; the paper tests on 100" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "names no picture"),
        (b"\n \n", "names no picture"),
        (b"4\nnine\n", "line 2: 'nine' is neither a number"),
        (b"4 9\n", "line 1: '4 9' is neither"),
        (b"-4\n", "line 1: '-4' is neither"),
        (b"0\n", "line 1: '0' is neither"),
        (b"4\n77\n301.jpg\n", r"not there: 77, 301\. There are 12, 1 to 300"),
        (b"\xff\xfe4\0\n\0", "cannot be read as text"),
        (b"4\n" * 600_000, "is no list of some hundred numbers"),
    ],
    ids=["empty", "blank", "word", "two", "negative", "zero", "absent", "UTF-16", "huge"],
)
def test_a_faulty_list_is_refused(tmp_path, content, message):
    (tmp_path / "test.txt").write_bytes(content)
    with pytest.raises(ValueError, match=rf"test\.txt.*{message}"):
        splits.read_test(epath.Path(tmp_path), RESIZED)


@pytest.fixture
def pictures(tmp_path):
    """A folder of test pictures, at original size and deep down, with masks and what computers leave behind."""
    folder = tmp_path / splits.TEST_FOLDER / "hof" / "images"
    folder.mkdir(parents=True)
    for number in (4, 9, 216):
        shutil.copy(DUMMY / "images_original_size" / f"{number}.jpg", folder)
        (folder.parent / "masks").mkdir(exist_ok=True)
        with Image.open(DUMMY / "masks" / f"{number}.png") as mask:
            mask.save(folder.parent / "masks" / f"{number}.jpg")
    (folder / "._4.jpg").write_bytes(b"\0")
    (folder / "readme.txt").touch()
    return folder


def test_the_owners_test_pictures_are_recognised_whatever_their_size(tmp_path, pictures):
    assert splits.read_test(epath.Path(tmp_path), RESIZED) == {4, 9, 216}


def test_the_list_goes_before_the_pictures(tmp_path, pictures):
    (tmp_path / "test.txt").write_text("10")
    assert splits.read_test(epath.Path(tmp_path), RESIZED) == {10}


@pytest.mark.parametrize("name", ["2.jpg", "hand.jpg"])
def test_test_pictures_that_were_numbered_anew_are_refused(tmp_path, pictures, name):
    (pictures / "9.jpg").rename(pictures / name)
    (pictures.parent / "masks" / "9.jpg").unlink()
    with pytest.raises(ValueError, match=rf"do not look like.*: hof/images/{name}\. Find out .*test\.txt"):
        splits.read_test(epath.Path(tmp_path), RESIZED)


def test_a_test_picture_that_the_dataset_lacks_is_named(tmp_path, pictures):
    without = {number: path for number, path in RESIZED.items() if number != 9}
    with pytest.raises(ValueError, match=r"hand_over_face_test names pictures that are not there: 9\."):
        splits.read_test(epath.Path(tmp_path), without)


def test_a_folder_without_pictures_is_refused(tmp_path):
    (tmp_path / splits.TEST_FOLDER).mkdir()
    with pytest.raises(ValueError, match="hand_over_face_test names no picture"):
        splits.read_test(epath.Path(tmp_path), RESIZED)
