"""One picture, video or camera to predict, and the name of its results."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from refinenet_jax.errors import UsageError

_NAME_BYTES = 240  # of a file name's 255; `.NAME_contours.mp4` is the longest name made of it
_DIGEST = 12


@dataclass(frozen=True)
class Item:
    """One picture, video or camera.

    Attributes:
      path: of the file; the address of a picture to download; of a camera its number, device or address.
      relative: the path that names it, relative to the folder, pattern or list it came from; never leads out of it.
      kind: image, video or camera.
      keep_ending: whether results keep the ending in their names, as where a.jpg and a.png are predicted together.
    """

    path: str
    relative: str
    kind: str
    keep_ending: bool = False

    @property
    def name(self) -> str:
        """What results are called after: `relative` without its ending, and shortened where the file system's limit asks it."""
        path = Path(self.relative)
        if self.kind != "camera" and not self.keep_ending:
            path = path.with_suffix("")
        encoded = os.fsencode(path.name)
        if len(encoded) > _NAME_BYTES:
            start = encoded[: _NAME_BYTES - _DIGEST - 1].decode("utf-8", "ignore")
            path = path.with_name(f"{start}~{hashlib.sha256(encoded).hexdigest()[:_DIGEST]}")
        return str(path)


def with_distinct_names(items: Sequence[Item]) -> list[Item]:
    """The items, with their endings kept in the names of those that would otherwise have the same.

    Raises:
      UsageError: two have the same name even so.
    """

    def key(item: Item) -> tuple[bool, str]:
        return item.kind == "image", item.name  # a_overlay.jpg and a_overlay.mp4 differ

    settled: list[Item] = []
    while settled != items:  # a name that keeps its ending may be that of a third
        settled = list(items)
        counts = Counter(map(key, settled))
        items = [replace(item, keep_ending=item.keep_ending or counts[key(item)] > 1) for item in settled]
    owner: dict[tuple[bool, str], str] = {}
    for item in items:
        other = owner.setdefault(key(item), item.path)
        if other != item.path:
            raise UsageError(
                f"{other} and {item.path} would both be written as {item.name}; predict them apart, or give the folder "
                "that holds both."
            )
    return settled
