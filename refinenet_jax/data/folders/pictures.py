"""Finds the pictures that annotation files name."""

import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from refinenet_jax.data.examples import DataError, first_few
from refinenet_jax.data.folders.listing import all_files, composed


class PictureFinder:
    """Finds pictures in a folder by names that may start with folders of another machine, or differ in case."""

    def __init__(self, root: Path):
        self._root = root

    def find(self, annotations: Path, words: Sequence[str], name: str) -> tuple[Path, str]:
        """Returns the path of a picture, and the part of its name by which it was found.

        Args:
          annotations: file that names the picture.
          words: names of subfolders that may contain pictures of this file.
          name: name of the picture as written in the file.

        Raises:
          DataError: "missing": no picture has the name, or several differ from it only by case.
        """
        folders = [self._root / parent / word for word in words for parent in ("images", "")]
        folders = list(dict.fromkeys([*folders, self._root / "images", annotations.parent, self._root]))
        parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("..", "/", "//")]
        readings = ["/".join(parts[first:]) for first in range(len(parts))]
        for reading in readings:
            for folder in folders:
                if (folder / reading).is_file():
                    return folder / reading, reading
        for reading in readings:
            for folder in folders:
                files = self._by_folded_name.get(_folded((folder / reading).relative_to(self._root)), [])
                if len(files) > 1:
                    message = (
                        f"{annotations} names the picture {name[:200]!r}, which can be {first_few(files)}. Keep one."
                    )
                    raise DataError(message, "missing")
                if files:
                    return self._root / files[0], reading
        places = first_few(sorted(map(str, folders)), 12)
        raise DataError(
            f"{annotations} names the picture {name[:200]!r}, which is in none of {places}. Add it there.", "missing"
        )

    @functools.cached_property
    def _by_folded_name(self) -> Mapping[str, list[str]]:
        files = defaultdict(list)
        for file in all_files(self._root):
            files[_folded(Path(file))].append(file)
        return files


def _folded(path: Path) -> str:
    """Returns a path in a form that ignores case and composed accents, which macOS decomposes."""
    return composed(composed(path.as_posix()).casefold())
