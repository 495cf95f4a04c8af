"""The facts about each example that the data doctor keeps: a small record, so that no picture stays in memory."""

import dataclasses
import hashlib

import numpy as np

from refinenet_jax.data import images
from refinenet_jax.data.doctor.fingerprints import fingerprint
from refinenet_jax.data.examples import VOID, DataError, Source


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """Facts of one example.

    Attributes:
      split: where it is.
      index: in its source.
      id: of the example; of one that cannot be read, the name of its image file.
      fault: one of examples.FAULTS if it cannot be read, else empty.
      message: what the source said about the fault.
      orientation: 1 to 8, as EXIF has it; 1 is upright.
      video: it is a frame of, or None.
      size: height and width in pixels; this and all below only of examples that can be read.
      pixels: int64 [classes + 1], how many have each class; the last are void.
      shows_mask: whether the image is nothing but its own mask.
      image_digest: the same for the same pixels.
      mask_digest: likewise.
      fingerprint: see fingerprints.fingerprint.
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
    shows_mask: bool = False
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
    """Reads one example and notes what matters; a fault in it becomes part of the record."""
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
        shows_mask=_shows_mask(image, mask),
        image_digest=_digest(image),
        mask_digest=_digest(mask),
        fingerprint=fingerprint(image),
    )


def _shows_mask(image: np.ndarray, mask: np.ndarray) -> bool:
    """Whether the picture has one color for each class, up to what JPEG does to it."""
    step = max(1, min(mask.shape) // 64)
    image, mask = image[::step, ::step].astype(np.int16), mask[::step, ::step]
    colors = []
    for class_id in np.setdiff1d(np.unique(mask), VOID):
        pixels = image[mask == class_id]
        colors.append(np.median(pixels, axis=0))
        if np.abs(pixels - colors[-1]).mean() > 4:
            return False
    return len(colors) > 1 and all(np.abs(a - b).max() > 16 for i, a in enumerate(colors) for b in colors[:i])


def _digest(pixels: np.ndarray) -> bytes:
    digest = hashlib.sha256(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels))
    return digest.digest()
