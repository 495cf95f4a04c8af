"""Selects the test pictures of HandOverFace: a fixed third, or the owners' test pictures.

The paper trains on 200 pictures and tests on 100. The test set was published only as a separate set of pictures.
"""

import hashlib
import re
from collections.abc import Collection

from absl import logging
from etils import epath

from tfds_builders.hof.hand_over_face import NUMBERS
from tfds_builders.lists import first_few, read_list

LIST = "test.txt"

_LINE = re.compile(r"(?:.*/)?([1-9][0-9]{0,5})(?:\.\w+)?")

# Ordered by a hash of the number: pseudo-random, and the same everywhere.
_ORDER = sorted(NUMBERS, key=lambda number: hashlib.sha256(str(number).encode()).digest())
FIXED_TEST = frozenset(_ORDER[:100])


def divide(numbers: Collection[int], test: Collection[int]) -> dict[str, list[int]]:
    """Divides pictures into train, validation and test, in numeric order; a missing picture does not change other splits."""
    validation = [number for number in _ORDER if number not in test][:40]
    splits = {"train": [], "validation": [], "test": []}
    for number in sorted(numbers):
        splits["test" if number in test else "validation" if number in validation else "train"].append(number)
    return splits


def read_test(path: epath.Path, numbers: Collection[int]) -> set[int]:
    """Reads the numbers of the owners' test pictures.

    Args:
      path: list of numbers or file names, one per line.
      numbers: the pictures of the dataset.

    Raises:
      ValueError: the list does not exist, cannot be read, names no picture, or names one that is not among `numbers`.
    """
    if not path.exists():
        raise ValueError(
            f"{path} does not exist. Write the numbers of the paper's test pictures into it, one per line."
        )
    test = {int(match[1]) for match in read_list(path, _LINE, "7 or 7.jpg")}
    if absent := sorted(test - set(numbers)):
        raise ValueError(f"{path} names missing pictures: {first_few(absent, 20)}. Get them, or remove these lines.")
    if len(test) != len(FIXED_TEST):
        logging.warning("%s names %d pictures; the paper tests on %d.", path, len(test), len(FIXED_TEST))
    return test
