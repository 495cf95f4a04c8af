"""A picture, video or camera to predict, the name of its results, and the options for them."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from refinenet_jax.errors import UsageError

_NAME_BYTES = 240  # of at most 255 for a file name; `.NAME_contours.mp4` is the longest name derived from it


@dataclass(frozen=True)
class Item:
    """One picture, video or camera.

    Attributes:
      path: path of the file, address of a picture to download, or number, device or address of a camera.
      relative: path relative to the folder, pattern or list that the item came from; it never leads out of it.
      kind: image, video or camera.
      keep_ending: whether names of results keep the ending, for example if a.jpg and a.png are predicted together.
    """

    path: str
    relative: str
    kind: str
    keep_ending: bool = False

    @property
    def name(self) -> str:
        """Name of the results: `relative`, without its ending unless that is kept, shortened if it is too long for a file."""
        path = Path(self.relative)
        if self.kind != "camera" and not self.keep_ending:
            path = path.with_suffix("")
        encoded = os.fsencode(path.name)
        if len(encoded) > _NAME_BYTES:
            end = f"~{hashlib.sha256(encoded).hexdigest()[:12]}"
            path = path.with_name(encoded[: _NAME_BYTES - len(end)].decode("utf-8", "ignore") + end)
        return str(path)


@dataclass(frozen=True)
class PredictOptions:
    """Options for the results of pictures, videos and cameras.

    Attributes:
      kinds: kinds of results, as for --save; those that a picture or video does not have are ignored.
      batch_size: number of pictures or frames per batch; None for the default of the device. Frames of a camera are not
        batched.
      max_seconds: time after which to stop; None for all.
    """

    kinds: Sequence[str] = ("masks", "overlays", "frames")
    batch_size: int | None = None
    max_seconds: float | None = None


def with_distinct_names(items: Sequence[Item]) -> list[Item]:
    """Returns the items; those that would have the same name as another keep their endings.

    Raises:
      UsageError: two items still have the same name.
    """

    def key(item: Item) -> tuple[bool, str]:
        return item.kind == "image", item.name  # a_overlay.jpg and a_overlay.mp4 differ

    counts = Counter(map(key, items))
    items = [replace(item, keep_ending=counts[key(item)] > 1) for item in items]
    owner: dict[tuple[bool, str], str] = {}
    for item in items:
        other = owner.setdefault(key(item), item.path)
        if other != item.path:
            raise UsageError(
                f"{other} and {item.path} would both be written as {item.name}. Predict them separately, or give the folder "
                "that contains both."
            )
    return items
