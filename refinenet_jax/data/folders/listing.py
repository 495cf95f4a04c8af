"""What lies in a folder of the user's, without the files that systems leave there."""

import codecs
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

# Names of sub-folders and lists, and the split that each is.
SPLIT_NAMES = {"train": "train", "val": "validation", "valid": "validation", "validation": "validation", "test": "test"}

_JUNK = {"thumbs.db", "desktop.ini"}


def split_of(word: str) -> str:
    """validation for val2017; empty for what is no split."""
    return SPLIT_NAMES.get(word.rstrip("0123456789").lower(), "")


def read_text(path: Path) -> str:
    """A text file in UTF-8 or, by its byte-order mark, UTF-16. Bytes that are no text become what file names with them have."""
    content = path.read_bytes()
    if content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return content.decode("utf-16", "replace")
    return content.decode("utf-8-sig", "surrogateescape")


def composed(name: str) -> str:
    """A name with letters and accents together (NFC): macOS stores them apart."""
    return unicodedata.normalize("NFC", name)


def has_undecoded(name: str) -> bool:
    """Whether a name holds bytes that are no UTF-8."""
    return any("\udc80" <= letter <= "\udcff" for letter in name)


def child(root: Path, name: str) -> Path | None:
    """The sub-folder of that name, else one that differs by capitals."""
    if (root / name).is_dir():
        return root / name
    return next((path for path in sorted(root.iterdir()) if path.name.lower() == name.lower() and path.is_dir()), None)


def top_files(root: Path, endings: set[str]) -> list[str]:
    """The names of files in a folder, not below it, that have one of the endings (lower case), sorted."""
    return [path.name for path in sorted(root.iterdir()) if path.suffix.lower() in endings and not _is_junk(path.name)]


def all_files(root: Path) -> list[str]:
    """The files below a folder as paths relative to it, sorted. Hidden ones are left out; links are followed, to each
    folder once, so that a circle ends."""
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
    """Whether a file is hidden, or one that Windows leaves in folders of pictures."""
    return name.startswith(".") or name.lower() in _JUNK
