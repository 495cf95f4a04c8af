"""Finds the pictures that annotation files name."""

import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from refinenet_jax.data.examples import DataError, first_few


def find_picture(root: Path, annotations: Path, words: Sequence[str], name: str) -> tuple[Path, str]:
    """Returns the path of a picture, and the part of its name by which it was found.

    Names may start with folders of another machine, and accents may be composed or not, as on macOS.

    Args:
      root: the folder of the dataset.
      annotations: file in it that names the picture.
      words: names of subfolders that may contain pictures of this file.
      name: name of the picture as written in the file.

    Raises:
      DataError: "missing": no picture has the name.
    """
    folders = [root / parent / word for word in words for parent in ("images", "")]
    folders = list(dict.fromkeys([*folders, root / "images", annotations.parent, root]))
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("..", "/", "//")]
    for first in range(len(parts)):
        for folder in folders:
            for form in ("NFC", "NFD"):
                reading = unicodedata.normalize(form, "/".join(parts[first:]))
                if (folder / reading).is_file():
                    return folder / reading, reading
    places = first_few(sorted(map(str, folders)), 12)
    raise DataError(
        f"{annotations} names the picture {name[:200]!r}, which is in none of {places}. Add it there.", "missing"
    )
