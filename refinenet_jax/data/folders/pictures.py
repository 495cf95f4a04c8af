"""Finds the pictures named in an annotation file, which may be given by a path of another machine or a URL."""

import functools
import posixpath
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from refinenet_jax.data.examples import DataError, first_few
from refinenet_jax.data.folders.listing import all_files, composed


class PictureFinder:
    """Finds pictures in a folder by names that may differ in case, composed accents or leading folders."""

    def __init__(self, root: Path):
        self._root = root

    def find(self, annotations: Path, words: Sequence[str], name: str) -> tuple[Path, str]:
        """Returns the path of a picture, and the part of its name by which it was found.

        Args:
          annotations: file that names the picture.
          words: names of subfolders that may contain pictures of this file.
          name: name of the picture as written in the file.

        Raises:
          DataError: "missing": no picture matches the name, or several do.
        """
        folders = [self._root / parent / word for word in words for parent in ("images", "")]
        folders = list(dict.fromkeys([*folders, self._root / "images", annotations.parent, self._root]))
        readings = _readings(name)
        for reading in readings:
            for folder in folders:
                if (folder / reading).is_file():
                    return folder / reading, reading
        for reading in readings:
            for folder in folders:
                files = self._by_folded_name.get(_folded((folder / reading).relative_to(self._root).as_posix()), [])
                if len(files) > 1:
                    several = first_few([str(self._root / file) for file in files])
                    raise DataError(
                        f"{annotations} names the picture {name!r}, which matches {several}. Keep one of them.",
                        "missing",
                    )
                if files:
                    return self._root / files[0], reading
        places = first_few(sorted(map(str, folders)), 12)
        raise DataError(
            f"{annotations} names the picture {name[:200]!r}, which is in none of {places}. Add it there.", "missing"
        )

    @functools.cached_property
    def _by_folded_name(self) -> dict[str, list[str]]:
        files = defaultdict(list)
        for file in all_files(self._root):
            files[_folded(file)].append(file)
        return files


def _readings(name: str) -> list[str]:
    """Returns relative paths that a name can mean, longest first, also without scheme, query and parent folders."""
    texts = [name]
    if re.match(r"[a-zA-Z][\w+.-]*://|.*[?]d=", name):
        local = re.sub(r"^[a-zA-Z][\w+.-]*://[^/]*", "", name)
        texts = [unquote(local.split("?d=")[-1]), unquote(re.split("[?#]", local)[0])]
    readings = []
    for text in texts:
        path = PurePosixPath(posixpath.normpath(text.replace("\\", "/").lstrip("/")))
        parts = [part for part in path.parts if part not in ("..", ".") and not re.fullmatch("[a-zA-Z]:", part)]
        readings += ["/".join(parts[i:]) for i in range(len(parts))]
    return readings


def _folded(name: str) -> str:
    return composed(composed(name).casefold())
