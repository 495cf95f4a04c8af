"""Lists the files of a user's folder, without hidden and system files."""

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from refinenet_jax.data.examples import DataError
from refinenet_jax.data.reading import read_bytes

# Names of subfolders and lists, and the split that each means.
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}

_MAX_TEXT = 64 << 20
_JUNK = {"thumbs.db", "desktop.ini"}


def split_of(word: str) -> str:
    """Returns the split of a name, such as validation for val2017; '' if it is not a split."""
    return SPLIT_NAMES.get(word.rstrip("0123456789").lower(), "")


def read_text(path: Path) -> str:
    """Returns the content of a text file in UTF-8.

    Raises:
      DataError: the file has more than 64 MiB, or is not UTF-8.
    """
    try:
        return read_bytes(path, _MAX_TEXT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}). Save it as UTF-8."
        ) from error


def composed(name: str) -> str:
    """Returns a name with composed letters and accents (NFC), which macOS decomposes."""
    return unicodedata.normalize("NFC", name)


def child(root: Path, name: str) -> Path | None:
    """Returns the subfolder of that name, or else one whose name differs only by case; None if there is none."""
    if (root / name).is_dir():
        return root / name
    return next((path for path in sorted(root.iterdir()) if path.name.lower() == name.lower() and path.is_dir()), None)


def top_files(root: Path, endings: set[str]) -> list[str]:
    """Returns the sorted names of the files directly in a folder that have one of the suffixes (lower case)."""
    return [path.name for path in sorted(root.iterdir()) if path.suffix.lower() in endings and not _is_junk(path.name)]


def all_files(root: Path) -> list[str]:
    """Returns the files below a folder as sorted relative paths, without hidden ones. Links are followed, but each folder is
    visited once, so that cycles end."""
    return sorted(_walk(root, "", set()))


def _walk(folder: Path, prefix: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    about = folder.stat()
    if (about.st_dev, about.st_ino) in seen:
        return
    seen.add((about.st_dev, about.st_ino))
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_junk(entry.name):
                continue
            if entry.is_dir():
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", seen)
            else:
                yield prefix + entry.name


def _is_junk(name: str) -> bool:
    """Returns whether a file is hidden, or one that Windows creates in folders of pictures."""
    return name.startswith(".") or name.lower() in _JUNK
