"""Results of one image: scores, mask, regions, outlines and visualizations."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import contourpy
import cv2
import numpy as np

from refinenet_jax import visualize

# Maximum distance in pixels between an outline and the corners it omits. The center of every pixel is at least sqrt(2) / 4
# from an outline, so that none changes sides.
_POLYGON_TOLERANCE = 0.35
_SHOWN_SIDE = 1280  # longer side of the overlay in a notebook, pixels


@dataclass(frozen=True)
class Region:
    """Connected component of one class; pixels are connected by sides or corners.

    Attributes:
      class_id: class id, never 0.
      class_name: name of the class.
      area: number of pixels.
      box: bounding box (left, top, width, height) in pixels.
      score: mean probability of the class over the region.
    """

    class_id: int
    class_name: str
    area: int
    box: tuple[int, int, int, int]
    score: float


@dataclass(frozen=True, eq=False)
class Polygon:
    """Outline of one region.

    Coordinates are x, y in pixels from the image's upper left corner; the pixel in column x and row y covers (x, y) to (x + 1,
    y + 1). Rings are not closed by repeating their first point.

    Attributes:
      class_id: class id.
      class_name: name of the class.
      outer: float32 [n, 2], the ring around the region.
      holes: rings float32 [n, 2] around the holes of the region.
    """

    class_id: int
    class_name: str
    outer: np.ndarray
    holes: tuple[np.ndarray, ...]


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Class probabilities of one image, with the mask and everything else derived from them.

    Attributes:
      image: uint8 [h, w, 3] RGB, as given.
      scores: float32 [h, w, c], class probabilities.
      class_names: names of the c classes, background first.
      source: file, address or camera of the image; None if it was given as an array.
      seconds: time of a video frame from the start of the file, or of a camera frame from the first frame; None for pictures.
    """

    image: np.ndarray
    scores: np.ndarray
    class_names: tuple[str, ...]
    source: str | None = None
    seconds: float | None = None

    @cached_property
    def mask(self) -> np.ndarray:
        """Class ids, uint8 [h, w]."""
        return self.scores.argmax(-1).astype(np.uint8)

    def overlay(self) -> np.ndarray:
        """Returns the image with the classes tinted and outlined, uint8 [h, w, 3] RGB."""
        return visualize.overlay(self.image, self.mask)

    def __repr__(self) -> str:
        height, width = self.image.shape[:2]
        return f"Segmentation({self.source or f'{width}x{height}'}, classes {', '.join(self.class_names)})"

    def _repr_png_(self) -> bytes:
        """Returns the overlay as PNG for notebooks."""
        picture = self.overlay()
        scale = min(_SHOWN_SIDE / max(picture.shape[:2]), 1)
        picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else picture
        return cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes()

    def contours(self) -> np.ndarray:
        """Returns the image with the classes outlined, uint8 [h, w, 3] RGB."""
        return visualize.outlines(self.image, self.mask)

    def cutout(self) -> np.ndarray:
        """Returns the image with a transparent background, uint8 [h, w, 4] RGBA.

        Opacity follows the probability of all foreground classes together: 0 below 1/4, full above 3/4, half at 1/2. Edges are
        soft, and a slightly uncertain background leaves no haze.
        """
        opacity = np.clip((1 - self.scores[..., 0]) * 2 - 0.5, 0, 1)
        return np.dstack([self.image, np.rint(opacity * 255).astype(np.uint8)])

    def regions(self) -> list[Region]:
        """Returns the connected components of all foreground classes, by class, largest first."""
        regions = []
        for class_id, (left, top, width, height), inside in self._regions():
            scores = self.scores[top : top + height, left : left + width, class_id][inside]
            box = (left, top, width, height)
            regions.append(Region(class_id, self.class_names[class_id], scores.size, box, float(scores.mean())))
        return regions

    def polygons(self) -> list[Polygon]:
        """Returns the outlines of the regions, in the order of `regions`.

        The pixels with centers inside `outer` and outside `holes` are exactly those of the region.
        """
        polygons = []
        for class_id, (left, top, _, _), inside in self._regions():
            # Where two pixels touch at a corner, the mean of four is exactly 0.5: a lower level connects them.
            generator = contourpy.contour_generator(z=np.pad(inside, 1).astype(float), fill_type="OuterOffset")
            (points,), (ends,) = generator.filled(0.49, 2)
            # Lines are halfway between pixel centers; the first column of `inside` has index 1 and its center at left + 0.5.
            points = np.rint(points * 2) / 2 + (left - 0.5, top - 0.5)
            outer, *holes = (
                cv2.approxPolyDP(ring[:-1].astype(np.float32), _POLYGON_TOLERANCE, closed=True)[:, 0]
                for ring in np.split(points, ends[1:-1])
            )
            polygons.append(Polygon(class_id, self.class_names[class_id], outer, tuple(holes)))
        return polygons

    def _regions(self) -> Iterator[tuple[int, tuple[int, int, int, int], np.ndarray]]:
        """Yields class id, box, and which pixels of the box belong to the region, bool [h, w]."""
        for class_id in np.unique(self.mask[self.mask > 0]).tolist():
            _, labels, facts, _ = cv2.connectedComponentsWithStats((self.mask == class_id).astype(np.uint8))
            for label in (np.argsort(-facts[1:, cv2.CC_STAT_AREA], kind="stable") + 1).tolist():
                left, top, width, height, _ = box = facts[label].tolist()
                yield class_id, tuple(box[:4]), labels[top : top + height, left : left + width] == label
