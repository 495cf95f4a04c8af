"""What a dataset, a source of examples and a fault in them are; every source and every reader stands on this."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from refinenet_jax.errors import UsageError

VOID = 255

# What a DataError can be about: the data doctor counts by these words.
FAULTS = (
    "undecodable",  # an image or mask that cannot be decoded
    "size mismatch",  # a mask of another size than its image
    "mask value",  # values that are neither class ids nor void
    "mask format",  # a mask that holds no class ids by its format: colors, 16 bits, JPEG
    "missing",  # an image without mask or annotation, or the reverse; a list that names a file which is not there
    "annotation",  # a faulty polygon, an unknown label, an unreadable annotation file
    "unusable",  # all else: the dataset as a whole
)


class DataError(UsageError):
    """A dataset that cannot be used; the message says what is wrong, where, and what to do about it.

    Attributes:
      fault: one of FAULTS.
    """

    def __init__(self, message: str, fault: str = "unusable"):
        super().__init__(message)
        if fault not in FAULTS:
            raise ValueError(f"fault={fault!r} must be one of {FAULTS}")
        self.fault = fault


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What a dataset says about itself.

    Attributes:
      name: as in `egohands/hands`; of a folder, the name in its dataset.yaml or its own.
      class_names: the name of class id i at position i; void (255) is not a class.
      flip_pairs: pairs of class ids that a left-right flip exchanges, such as left and right hand.
      unpaired: classes of which it is not known whether they have sides: a flip leaves them as they are.
    """

    name: str
    class_names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    unpaired: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class Source(Protocol):
    """Random access to examples. Must survive pickling, which is how it reaches worker processes."""

    info: DatasetInfo

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns `image` uint8 [h, w, 3] RGB, `mask` uint8 [h, w] of class ids with 255 = void, `id` str, and for frames
        of a video also `video` and `frame`. Sources of files also have `undecoded(index)`, which gives the same with an
        `images.Picture` as `image`."""

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Returns the image file of an example as it is stored, and its name; a dataset that keeps none gives the id."""


@contextlib.contextmanager
def naming_unreadable_files() -> Iterator[None]:
    """Turns the error of a file or folder that vanished or cannot be read into a DataError ("missing") that names it."""
    try:
        yield
    except OSError as error:
        message = f"{str(error.filename)[:300]} cannot be read ({error.strerror or error}). Restore it, or remove it."
        raise DataError(message, "missing") from error


def first_few(names: Sequence[object], limit: int = 5, separator: str = ", ") -> str:
    """The first of many, and how many more there are."""
    more = f"{separator}and {len(names) - limit} more" if len(names) > limit else ""
    return separator.join(map(str, names[:limit])) + more


def raise_together(faults: Sequence[DataError]) -> None:
    """Raises one error for all faults, if there are any, with the first few messages and the most frequent word.

    Raises:
      DataError: there are faults.
    """
    if faults:
        word = Counter(error.fault for error in faults).most_common(1)[0][0]
        raise DataError(first_few(faults, separator="\n"), word)
