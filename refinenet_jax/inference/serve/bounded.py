"""A Segmenter for uploads of any size: few programs to compile, and a known most of memory and time."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from refinenet_jax.errors import UsageError
from refinenet_jax.inference import fitting
from refinenet_jax.inference.segmenter import Segmentation, Segmenter

# Sides that the network sees are multiples of this: at most (side / STEP)^2 sizes in all, 25 of 640 pixels.
STEP = 128
MOST = 32 * STEP


@dataclass(frozen=True, eq=False)
class BoundedSegmenter:
    """Shrinks what is large, segments it, and brings the scores back to the image's own size, bilinearly.

    Attributes:
      segmenter: of pictures no larger than `side`; made by `of`.
      side: longest side, in pixels, of what is segmented. Smaller images are not enlarged.
    """

    segmenter: Segmenter
    side: int

    @classmethod
    def of(cls, segmenter: Segmenter, side: int) -> "BoundedSegmenter":
        """The same network.

        Raises:
          UsageError: a side that is no multiple of STEP from STEP to MOST, or below the segmenter's own longest side.
        """
        if side % STEP or not STEP <= side <= MOST:
            raise UsageError(f"side is {side}; it must be a multiple of {STEP}, from {STEP} to {MOST}. 640 is usual.")
        if segmenter.longest_side > side:
            raise UsageError(
                f"side is {side}; the network wants pictures of {segmenter.longest_side}. Give a larger one."
            )
        return cls(replace(segmenter, size_multiple=STEP, shapes={}), side)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.segmenter.class_names

    def __call__(self, image: np.ndarray) -> Segmentation:
        """Segments one image, uint8 [h, w, 3] RGB."""
        return next(self.stream([image]))

    def stream(self, images: Iterable[np.ndarray], batch_size: int = 1) -> Iterator[Segmentation]:
        """Segments images as they come, in order; one at a time, whatever `batch_size`, which would double the programs."""
        del batch_size
        waiting: deque[np.ndarray] = deque()

        def shrunk() -> Iterator[np.ndarray]:
            for image in images:
                waiting.append(image)
                yield fitting.resize_image(image, self.inference_size(image.shape[:2]))

        for result in self.segmenter.stream(shrunk(), batch_size=1):
            image = waiting.popleft()
            yield Segmentation(image, fitting.resize_scores(result.scores, image.shape[:2]), result.class_names)

    def inference_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Size (h, w) at which an image of a size (h, w) is segmented, before it is padded to multiples of STEP."""
        return fitting.fitted_size(size, self.side) if max(size) > self.side else size
