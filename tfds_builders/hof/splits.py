"""Selects the test pictures of HandOverFace: a fixed third, or the owners' test pictures.

The paper trains on 200 pictures and tests on 100. The test set was published only as a separate set of pictures.
"""

import hashlib
import pathlib
import re
from collections.abc import Iterable, Mapping

import cv2
import numpy as np
from absl import logging
from etils import epath

from tfds_builders.hof.hand_over_face import NUMBERS
from tfds_builders.lists import read_list
from tfds_builders.messages import first_few
from tfds_builders.pictures import read_rgb

LIST = "test.txt"
TEST_FOLDER = "hand_over_face_test"

_LINE = re.compile(r"(?:.*/)?([1-9][0-9]{0,5})(?:\.\w+)?")

# Ordered by a hash of the number: pseudo-random, and the same everywhere.
_ORDER = sorted(NUMBERS, key=lambda number: hashlib.sha256(str(number).encode()).digest())
FIXED_TEST = frozenset(_ORDER[:100])
_VALIDATION_PICTURES = 40
# Measured on EgoHands and rendered pictures: at least 0.95 for recompressed or resized copies, at most 0.8 for others.
_LEAST_LIKENESS = 0.9
_FREQUENCIES = 12
# Norm for a contrast of about 3 gray levels; below it is camera noise, which is similar in all dark pictures.
_LEAST_CONTRAST = 400.0


def divide(numbers: Iterable[int], test: set[int] | frozenset[int]) -> dict[str, list[int]]:
    """Divides pictures into train, validation and test, in numeric order; a missing picture does not change other splits."""
    validation = [number for number in _ORDER if number not in test][:_VALIDATION_PICTURES]
    splits = {"train": [], "validation": [], "test": []}
    for number in sorted(numbers):
        splits["test" if number in test else "validation" if number in validation else "train"].append(number)
    return splits


def read_test(folder: epath.Path, pictures: Mapping[int, epath.Path]) -> set[int]:
    """Reads the numbers of the owners' test pictures from `test.txt` or, if there is none, from `hand_over_face_test/`.

    Args:
      folder: folder with one of them.
      pictures: the pictures of the dataset by number.

    Raises:
      ValueError: neither exists, or it cannot be read, names no picture, or names one that is not among `pictures`.
    """
    source = folder / LIST
    if source.exists():
        test = {int(match[1]) for match in read_list(source, _LINE, "7 or 7.jpg")}
    elif (source := folder / TEST_FOLDER).is_dir():
        test = _recognize(source, pictures)
    else:
        raise ValueError(
            f"{folder} has neither {LIST} nor {TEST_FOLDER}/ with the paper's test pictures. Add one of them."
        )
    if not test:
        raise ValueError(f"{source} names no picture. Write one number or file name per line into {folder / LIST}.")
    if absent := sorted(test - pictures.keys()):
        raise ValueError(
            f"{source} names missing pictures: {first_few(absent, 20)}. Get them, or remove them from the list."
        )
    if len(test) != len(FIXED_TEST):
        logging.warning("%s names %d pictures; the paper tests on %d.", source, len(test), len(FIXED_TEST))
    return test


def _recognize(folder: epath.Path, pictures: Mapping[int, epath.Path]) -> set[int]:
    """Returns the numbers in the names of the test pictures; each is compared with the dataset's picture of this number.

    Pictures renumbered from 1 to 100 would otherwise select wrong ones without an error.
    """
    numbers, unlike = set(), []
    for path in sorted(pathlib.Path(folder).rglob("*.jpg")):
        if path.name.startswith("."):
            continue
        number = int(path.stem) if re.fullmatch(r"[1-9][0-9]{0,5}", path.stem) else 0
        picture = pictures.get(number)
        if not number or (picture and _likeness(path, picture) < _LEAST_LIKENESS):
            unlike.append((number, path))
        else:
            numbers.add(number)
    # A file with the same name may be the picture's mask.
    faults = [str(path.relative_to(folder)) for number, path in unlike if number not in numbers]
    if faults:
        raise ValueError(
            f"{folder} has pictures that differ from those with their number in the dataset: {first_few(faults, 20)}. Write"
            f" their true numbers, one per line, into {folder.parent / LIST}."
        )
    return numbers


def _likeness(path: epath.Path, other: epath.Path) -> float:
    return float(_fingerprint(read_rgb(path)) @ _fingerprint(read_rgb(other)))


def _fingerprint(image: np.ndarray) -> np.ndarray:
    """Returns the lowest frequencies, weighted by frequency; otherwise most pictures (bright above, dark below) are similar."""
    gray = cv2.cvtColor(cv2.resize(image, (32, 32), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    weights = np.hypot(*np.mgrid[:_FREQUENCIES, :_FREQUENCIES])
    spectrum = (cv2.dct(gray.astype(np.float32))[:_FREQUENCIES, :_FREQUENCIES] * weights).ravel()
    return spectrum / max(float(np.linalg.norm(spectrum)), _LEAST_CONTRAST)
