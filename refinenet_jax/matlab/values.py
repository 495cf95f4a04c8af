"""What MATLAB's two file formats have in common: a tree of values, and the reasons to refuse one.

A struct is a dict; a cell, or an array of structs, is a list (in MATLAB's order, column by column); text is a str; an array of
numbers is a `Numbers`; what nothing here has a use for (objects, function handles, sparse and complex arrays) is None.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

# A trained RefineNet-152 has about 20,000 values, nested 12 deep; an annotated photograph or video has some thousands.
MAX_VALUES = 50_000
MAX_DEPTH = 64
MAX_NAME = 64  # bytes; MATLAB allows 63
MAX_TEXT = 1 << 16  # bytes; longer ones are None
MAX_ALL_TEXT = 16 << 20

SAVE_AGAIN = "Save it again in MATLAB, with '-v7.3'."
COPY_AGAIN = "Copy or download it again."


class Refused(Exception):
    """A file, or a part of it, that is damaged, crafted, or larger than anything of its kind."""

    def __init__(self, reason: str, cure: str = COPY_AGAIN):
        super().__init__(reason)
        self.reason, self.cure = reason, cure


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Numbers:
    """An array of numbers that stays in the file.

    Attributes:
      shape: in MATLAB's order, at least two axes.
      dtype: of the array that `read` returns; truth values are uint8.
      read: reads it from the file, every time anew; raises Refused where the file turns out to be damaged.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]


def limit_of_bytes(file_size: int) -> int:
    """How many bytes the contents of a compressed file may take.

    Weights shrink by a tenth. Masks shrink to hundredths, as bombs do, and a crowded photograph may have 100 MB of them.
    """
    return 8 * file_size + (256 << 20)


def structs(value: Any, what: str) -> list[dict[str, Any]]:
    """The structs of an array of them: MATLAB does not tell one struct from an array of one, nor empty arrays of any kind.

    Args:
      value: From a tree of values.
      what: What it is, for the message, in the plural.

    Raises:
      Refused: it is anything else.
    """
    found = [value] if isinstance(value, dict) else value
    if isinstance(value, Numbers) and 0 in value.shape:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Refused(f"{what} are no structs")
    return found


EMPTY = Numbers((0, 0), np.dtype(float), lambda: np.zeros((0, 0)))
