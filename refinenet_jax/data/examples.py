"""Datasets, example sources and data errors: the definitions that all sources and readers share."""

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from refinenet_jax.errors import UsageError

VOID = 255

# Kinds of DataError; the data doctor counts errors by kind.
FAULTS = (
    "undecodable",  # an image or mask that cannot be decoded
    "size mismatch",  # a mask whose size differs from that of its image
    "mask value",  # values that are neither class ids nor void
    "mask format",  # a mask whose format cannot store class ids: colors, 16 bits, JPEG
    "missing",  # an image without mask or annotation, or the reverse; a listed file that does not exist
    "annotation",  # an invalid polygon, an unknown label, an unreadable annotation file
    "unusable",  # everything else: the dataset as a whole
)


class DataError(UsageError):
    """Error about a dataset that cannot be used; the message says what is wrong, where, and how to fix it.

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
    """Name and classes of a dataset.

    Attributes:
      name: name as in `egohands/hands`; for a folder, the name in its dataset.yaml or that of the folder.
      class_names: names of the classes, by class id; void (255) is not a class.
      flip_pairs: pairs of class ids that a left-right flip exchanges, such as left and right hand.
      unpaired: classes that may name a side, but have no known counterpart; a flip leaves them unchanged.
    """

    name: str
    class_names: tuple[str, ...]
    flip_pairs: tuple[tuple[int, int], ...] = ()
    unpaired: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


class Source(Protocol):
    """Random access to examples. Sources must be picklable, to be sent to worker processes."""

    info: DatasetInfo

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns `image` uint8 [h, w, 3] RGB, `mask` uint8 [h, w] of class ids (255 = void), `id` str, and for video frames
        also `video` and `frame`. Sources of files also have `undecoded(index)`, with an `images.Picture` as `image`."""

    def encoded(self, index: int) -> tuple[bytes, str]:
        """Returns the stored image file of an example and its file name, or the id if no file name is stored."""


class FileSource:
    """Base of the sources that read stored pictures, which they decode after `undecoded`."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Returns an example as described in `Source`; raises IndexError, and DataError if it is faulty."""
        example = self.undecoded(index)
        return {**example, "image": example["image"].decode()}

    def _checked(self, index: int) -> int:
        if not 0 <= index < len(self):
            raise IndexError(f"{self!r} has no example {index}")
        return index


@contextlib.contextmanager
def naming_unreadable_files() -> Iterator[None]:
    """Raises a DataError ("missing") that names the file if a file or folder cannot be read."""
    try:
        yield
    except OSError as error:
        message = f"{str(error.filename)[:300]} cannot be read ({error.strerror or error}). Restore it, or remove it."
        raise DataError(message, "missing") from error


def first_few(names: Sequence[object], limit: int = 5, separator: str = ", ") -> str:
    """Joins the first `limit` names and the number of remaining ones."""
    more = f"{separator}and {len(names) - limit} more" if len(names) > limit else ""
    return separator.join(map(str, names[:limit])) + more


def raise_together(faults: Sequence[DataError]) -> None:
    """Raises one error for all faults, if there are any, with the first few messages and the most frequent kind.

    Raises:
      DataError: there is at least one fault.
    """
    if faults:
        word = Counter(error.fault for error in faults).most_common(1)[0][0]
        raise DataError(first_few(faults, separator="\n"), word)
