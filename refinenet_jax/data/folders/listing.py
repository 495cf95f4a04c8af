"""What lies in a folder of the user's, without the files that systems leave there."""

import os
from collections.abc import Iterator
from pathlib import Path

_JUNK = {"thumbs.db", "desktop.ini"}


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
