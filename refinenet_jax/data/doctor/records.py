"""Small records of the facts about each example that the data doctor needs, so that no picture stays in memory."""

import dataclasses
import hashlib

import numpy as np

from refinenet_jax.data import images
from refinenet_jax.data.doctor.fingerprints import fingerprint
from refinenet_jax.data.examples import VOID, DataError, Source


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """Facts about one example.

    Attributes:
      split: split of the example.
      index: index in its source.
      id: id of the example; if it cannot be read, the name of its image file.
      fault: one of examples.FAULTS if it cannot be read, else empty.
      message: error message of the source, if any.
      orientation: EXIF orientation, 1 to 8; 1 is upright.
      video: video that the example is a frame of, or None.
      size: (height, width) in pixels; this and the following fields are set only for readable examples.
      pixels: int64 [classes + 1], number of pixels of each class, followed by void.
      image_digest: hash of the pixels.
      mask_digest: hash of the mask.
      fingerprint: result of fingerprints.fingerprint.
    """

    split: str
    index: int
    id: str
    fault: str = ""
    message: str = ""
    orientation: int = 1
    video: str | None = None
    size: tuple[int, int] = (0, 0)
    pixels: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(1, np.int64))
    image_digest: bytes = b""
    mask_digest: bytes = b""
    fingerprint: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def foreground(self) -> int:
        """Pixels of any class but background."""
        return int(self.pixels[1:-1].sum())

    @property
    def labeled(self) -> int:
        """Pixels that are not void."""
        return int(self.pixels[:-1].sum())


def inspect(source: Source, split: str, index: int) -> Record:
    """Reads one example and returns its facts; an error in it becomes part of the record."""
    name, orientation = f"example {index}", 1
    try:
        encoded, name = source.encoded(index)
        orientation = images.orientation(encoded)
        example = source[index]
    except (DataError, OSError) as error:
        return Record(split, index, name, getattr(error, "fault", "missing"), str(error), orientation=orientation)
    image, mask = example["image"], example["mask"]
    classes = (*range(source.info.num_classes), VOID)
    return Record(
        split,
        index,
        example["id"],
        orientation=orientation,
        video=example.get("video"),
        size=mask.shape,
        pixels=np.array([np.count_nonzero(mask == class_id) for class_id in classes]),
        image_digest=_digest(image),
        mask_digest=_digest(mask),
        fingerprint=fingerprint(image),
    )


def _digest(pixels: np.ndarray) -> bytes:
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels))
    return digest.digest()
