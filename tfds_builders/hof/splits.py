"""Which pictures test: the owners' list if it is at hand, else a fixed third.

The paper trains on 200 pictures and tests on 100. Which ones was published as a set of pictures only, apart from the dataset.
"""

import hashlib
import pathlib
import re
from collections.abc import Iterable, Mapping

from absl import logging
from etils import epath

from refinenet_jax.data.doctor.fingerprints import ALIKE, fingerprint
from refinenet_jax.data.examples import first_few
from tfds_builders.hof.hand_over_face import FOLDER, NUMBERS
from tfds_builders.pictures import read_rgb

LIST = "test.txt"
TEST_FOLDER = f"{FOLDER}_test"
TEST_PICTURES, VALIDATION_PICTURES = 100, 40

_MAX_BYTES = 1 << 20

# By a hash of the number: as good as drawn by lot, and the same everywhere and for ever.
_ORDER = sorted(NUMBERS, key=lambda number: hashlib.sha256(str(number).encode()).digest())


def divide(numbers: Iterable[int], test: set[int] | None) -> dict[str, list[int]]:
    """Divides pictures into train, validation and test, each in numeric order.

    Args:
      numbers: Of the pictures that are there. Each goes to the same split whichever others there are.
      test: The official test pictures; None for the fixed ones.
    """
    if test is None:
        test = set(_ORDER[:TEST_PICTURES])
    validation = [number for number in _ORDER if number not in test][:VALIDATION_PICTURES]
    splits = {"train": [], "validation": [], "test": []}
    for number in sorted(numbers):
        splits["test" if number in test else "validation" if number in validation else "train"].append(number)
    return splits


def read_test(folder: epath.Path, pictures: Mapping[int, epath.Path]) -> set[int] | None:
    """Reads from `test.txt` in a folder, or else from the pictures below `hand_over_face_test/` in it, which ones test.

    Args:
      folder: Where to look.
      pictures: The pictures of the dataset by number.

    Returns:
      Their numbers; None if neither is there.

    Raises:
      ValueError: It cannot be read, names none, or one that is not among the pictures.
    """
    if (folder / LIST).exists():
        source, test = folder / LIST, _read_list(folder / LIST)
    elif (folder / TEST_FOLDER).is_dir():
        source = folder / TEST_FOLDER
        test = _recognise(source, pictures)
    else:
        return None
    if not test:
        raise ValueError(
            f"{source} names no picture. Write one number or file name per line into {LIST}, or delete it."
        )
    if absent := sorted(test - pictures.keys()):
        raise ValueError(
            f"{source} names pictures that are not there: {first_few(absent, 20)}. There are {len(pictures)}, "
            f"{min(pictures)} to {max(pictures)}. Get the missing ones, or take them out of the list."
        )
    if len(test) != TEST_PICTURES:
        logging.warning("%s names %d pictures; the paper tests on %d.", source, len(test), TEST_PICTURES)
    return test


def _read_list(path: epath.Path) -> set[int]:
    """One number or file name per line, with or without folders; blank lines do not count."""
    if path.is_dir() or path.stat().length > _MAX_BYTES:
        raise ValueError(f"{path} is no list of some hundred numbers. Write one number or file name per line into it.")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} cannot be read as text ({error}). Save it as plain UTF-8.") from error
    numbers = set()
    for index, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = re.fullmatch(r"(.*[/\\])?([1-9][0-9]{0,5})(\.\w+)?", line.strip())
        if not match:
            raise ValueError(
                f"{path}, line {index}: {line.strip()[:60]!r} is neither a number nor a file such as 7.jpg."
            )
        numbers.add(int(match[2]))
    return numbers


def _recognise(folder: epath.Path, pictures: Mapping[int, epath.Path]) -> set[int]:
    """The numbers of the test pictures by their names, each compared with the picture that has this number.

    Numbered anew, from 1 to 100, they would name other pictures, and nothing else would tell.
    """
    numbers, unlike = set(), []
    for path in sorted(pathlib.Path(folder).rglob("*")):
        if path.suffix.lower() != ".jpg" or path.name.startswith(".") or "__MACOSX" in path.parts:
            continue
        number = int(path.stem) if re.fullmatch(r"[1-9][0-9]{0,5}", path.stem) else 0
        picture = pictures.get(number)
        if not number or (picture and fingerprint(read_rgb(path)) @ fingerprint(read_rgb(picture)) < ALIKE):
            unlike.append((number, path))
        else:
            numbers.add(number)
    # Beside its picture, a file of the same name may be its mask.
    faults = [str(path.relative_to(folder)) for number, path in unlike if number not in numbers]
    if faults:
        raise ValueError(
            f"{folder} has pictures that do not look like that of their number in the dataset: {first_few(faults, 20)}. "
            f"Find out their numbers and write these, one per line, into {folder.parent / LIST}."
        )
    return numbers
