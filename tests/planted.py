"""Datasets for the data doctor: healthy ones of pictures that do not resemble each other, to plant faults in."""

from collections.abc import Callable

import cv2
import numpy as np

from refinenet_jax.data.examples import DatasetInfo

HANDS = DatasetInfo("hands", ("background", "hand"))
SIZE = (48, 64)
SPLITS = {"train": 8, "validation": 3, "test": 4}


def picture(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Colored clouds, uint8 [h, w, 3]; another seed gives another picture."""
    rng = np.random.default_rng(seed)
    clouds = sum(
        cv2.resize(rng.normal(0, weight, (n, n, 3)), size[::-1], interpolation=cv2.INTER_CUBIC)
        for n, weight in ((3, 40), (6, 25), (12, 12))
    )
    return (clouds + 128).clip(0, 255).astype(np.uint8)


def mask(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A hand of a rectangle, uint8 [h, w]."""
    rng = np.random.default_rng(seed)
    result = np.zeros(size, np.uint8)
    top, left = rng.integers(0, size[0] // 2), rng.integers(0, size[1] // 2)
    result[top : top + size[0] // 3, left : left + size[1] // 3] = 1
    return result


def encode(pixels: np.ndarray, ending: str = ".png", quality: int = 95) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if ending == ".jpg" else []
    return cv2.imencode(ending, pixels[..., ::-1] if pixels.ndim == 3 else pixels, options)[1].tobytes()


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with EXIF data that ask the viewer to turn it."""
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]


class Planted(list):
    """A source in memory: a list of examples, some perhaps replaced by the error that reading them raises."""

    def __init__(self, examples, info: DatasetInfo = HANDS):
        super().__init__(examples)
        self.info = info
        self.files = {}  # index -> (bytes, name), where they are not the plain PNG

    def __getitem__(self, index: int) -> dict:
        example = super().__getitem__(index)
        if isinstance(example, Exception):
            raise example
        return example

    def encoded(self, index: int) -> tuple[bytes, str]:
        if index in self.files:
            return self.files[index]
        return encode(self[index]["image"]), f"{self[index]['id']}.png"


def healthy() -> dict[str, Planted]:
    """Three splits without anything to find."""
    splits, seed = {}, 0
    for split, number in SPLITS.items():
        examples = []
        for i in range(number):
            seed += 1
            examples.append(
                {
                    "image": picture(seed),
                    "mask": mask(seed),
                    "id": f"{split}-{i}",
                    "video": f"{split} {i % 2}",
                    "frame": i,
                }
            )
        splits[split] = Planted(examples)
    return splits


def change(source: Planted, index: int, **changes: Callable[[np.ndarray], np.ndarray] | str) -> None:
    """Replaces parts of an example: by a value, or by a function of the old one."""
    example = list.__getitem__(source, index)
    source[index] = example | {key: value(example[key]) if callable(value) else value for key, value in changes.items()}
