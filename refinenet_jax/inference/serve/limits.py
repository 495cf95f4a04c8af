"""How much one request may ask for."""

import dataclasses

from refinenet_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is refused before anything is decoded, and what is given up after a while.

    Attributes:
      picture_megabytes: of an uploaded picture, 10^6 bytes.
      picture_megapixels: of it, by its header.
      picture_seconds: from the end of its upload to its answer, waiting included.
      clip_megabytes: of an uploaded clip.
      clip_megapixels: of a frame of it.
      clip_length: of it, in seconds.
      clip_frames: of it.
      clip_seconds: from the end of its upload to its answer, waiting included.
      upload_seconds: for an upload to arrive.
      waiting: requests that wait while another one is worked on.

    Raises:
      UsageError: one of them is not positive.
    """

    picture_megabytes: float = 25.0
    picture_megapixels: float = 25.0
    picture_seconds: float = 120.0  # the first picture of a new shape waits for a compilation
    clip_megabytes: float = 200.0
    clip_megapixels: float = 9.0  # 4096 x 2160
    clip_length: float = 60.0
    clip_frames: int = 3600
    clip_seconds: float = 1800.0
    upload_seconds: float = 120.0
    waiting: int = 4

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if not value > 0:
                raise UsageError(f"{name} is {value:g}; it must be above 0.")
