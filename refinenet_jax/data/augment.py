"""Training augmentation in NumPy: (image, mask, random generator) -> (image, mask)."""

import dataclasses
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from refinenet_jax.data.examples import VOID
from refinenet_jax.data.images import Picture
from refinenet_jax.errors import UsageError

MEAN_COLOR = (124, 116, 104)  # ImageNet mean, RGB: padding is zero after normalization

_LUMA = np.array([0.299, 0.587, 0.114])  # RGB weights, ITU-R BT.601


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random scale, flip and crop, optionally color and blur. The defaults follow the RefineNet authors' training.

    Attributes:
      crop_size: size of the output in pixels, for a square crop, or (height, width).
      short_edge: (minimum, maximum) length of the shorter edge, in pixels, to which pictures are first resized; None or ()
        keeps the size.
      longest_side: length of the longest side, in pixels, to which pictures are resized before the random scale, so that
        objects of several datasets have comparable sizes; 0 keeps the size. Cannot be combined with `short_edge`.
      scales: scale factors, one of which is drawn for each example.
      flip: whether to mirror left and right with probability 1/2; class ids that name a side are exchanged.
      crop: 'class_centered' centers the crop on a random pixel of a random class in the picture; 'random' is uniform.
      color_jitter: brightness, contrast and saturation are each multiplied by up to 1 +- this value; 0 disables it.
      blur: probability of a Gaussian blur with a standard deviation of 0.5 to 2 pixels.
      color_cast: red, green and blue are each multiplied by up to 1 +- this value; 0 disables it.
      motion_blur: probability of a blur along a line of 3 to 15 pixels in a random direction.
      jpeg: probability of JPEG compression with a quality of 15 to 75.
      uneven_light: brightness is multiplied by a smooth random field between 2^-this and 2^this, which adds shadows and
        overexposed areas; 0 disables it.
    """

    crop_size: int | tuple[int, int] = 400
    short_edge: tuple[int, int] | tuple[()] | None = (450, 1100)
    scales: tuple[float, ...] = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3)
    flip: bool = True
    crop: str = "class_centered"
    color_jitter: float = 0.0
    blur: float = 0.0
    longest_side: int = 0
    color_cast: float = 0.0
    motion_blur: float = 0.0
    jpeg: float = 0.0
    uneven_light: float = 0.0

    def __post_init__(self):
        if min(self.shape) < 1:
            raise UsageError(f"crop_size={self.crop_size} must be at least 1 pixel")
        if not self.scales or min(self.scales) <= 0:
            raise UsageError(f"scales={self.scales} must contain at least one number, all above 0")
        if self.short_edge and (None in self.short_edge or not 1 <= self.short_edge[0] <= self.short_edge[-1]):
            raise UsageError(f"short_edge={self.short_edge} must be (shortest, longest) in pixels, or () for no bounds")
        if self.crop not in ("class_centered", "random"):
            raise UsageError(f"crop={self.crop!r} must be 'class_centered' or 'random'")
        if self.longest_side < 0 or (self.longest_side and self.short_edge):
            raise UsageError(
                f"longest_side={self.longest_side} must be 0, or at least 1 pixel together with short_edge=()"
            )
        for name in ("color_jitter", "blur", "color_cast", "motion_blur", "jpeg", "uneven_light"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name}={getattr(self, name)} must be from 0 to 1")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the output."""
        return (self.crop_size, self.crop_size) if isinstance(self.crop_size, int) else tuple(self.crop_size)

    def __call__(
        self,
        image: np.ndarray | Picture,
        mask: np.ndarray,
        rng: np.random.Generator,
        flip_pairs: Sequence[tuple[int, int]] = (),
        paste: Callable | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augments one example.

        Args:
          image: uint8 [h, w, 3] RGB, of any size from 1 x 1; or an `images.Picture`, of which a JPEG that is scaled by a half
            or less is decoded at 1/2, 1/4 or 1/8 of its size.
          mask: uint8 [h, w], class ids; 255 is void.
          rng: the only source of randomness. The number of draws does not depend on the settings, so that different settings
            are compared on the same crops.
          flip_pairs: pairs of class ids that a flip exchanges.
          paste: function (image, mask, rng, flip_pairs) -> (image, mask) applied to the scaled crop before color and blur,
            such as `CopyPaste`.

        Returns:
          Image uint8 [*shape, 3] and mask uint8 [*shape], contiguous. Outside the picture the image is MEAN_COLOR and the
          mask is 255.

        Raises:
          DataError: an `images.Picture` cannot be decoded.
        """
        draws = rng.random(27)
        scaled = self._scaled_size(mask.shape, draws[0])
        if self.crop == "class_centered":
            center = _class_center(mask, *draws[1:3])
            top, left = (
                _clamp(round((c + 0.5) * new / old - size / 2), new, size)
                for c, new, old, size in zip(center, scaled, mask.shape, self.shape, strict=True)
            )
        else:
            top, left = (
                min(0, new - size) + int(draw * (abs(new - size) + 1))
                for new, size, draw in zip(scaled, self.shape, draws[3:5], strict=True)
            )
        flip = self.flip and draws[5] < 0.5

        (rows, out_rows), (columns, out_columns) = (
            _window(start, new, old, size)
            for start, new, old, size in zip((top, left), scaled, mask.shape, self.shape, strict=True)
        )
        height, width = out_rows.stop - out_rows.start, out_columns.stop - out_columns.start
        patch = _resize_image(image, rows, columns, height, width)
        # Between pixel centers, like the image; INTER_NEAREST is off by half a pixel.
        patch_mask = cv2.resize(mask[rows, columns], (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        if paste is not None:
            patch, patch_mask = paste(patch, patch_mask, rng, flip_pairs)
        patch = self._photographed(patch, draws)

        padding = out_rows.start, self.shape[0] - out_rows.stop, out_columns.start, self.shape[1] - out_columns.stop
        out_image = cv2.copyMakeBorder(patch, *padding, cv2.BORDER_CONSTANT, value=MEAN_COLOR)
        out_mask = cv2.copyMakeBorder(patch_mask, *padding, cv2.BORDER_CONSTANT, value=VOID)
        return _flip(out_image, out_mask, flip_pairs) if flip else (out_image, out_mask)

    def _photographed(self, image: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Applies color, blur and compression, as another camera might."""
        if self.color_jitter:
            image = _jitter(image, *(1 + self.color_jitter * (2 * draws[6:9] - 1)))
        if self.color_cast:
            image = cv2.transform(image, np.diag(1 + self.color_cast * (2 * draws[11:14] - 1)))
        if self.uneven_light:
            image = _uneven_light(image, self.uneven_light * (2 * draws[18:27] - 1))
        if draws[9] < self.blur:
            image = cv2.GaussianBlur(image, (0, 0), 0.5 + 1.5 * draws[10])
        if draws[14] < self.motion_blur:
            image = _motion_blur(image, 3 + 12 * draws[15], np.pi * draws[16])
        if draws[17] < self.jpeg:
            quality = 15 + int(60 * draws[17] / self.jpeg)
            _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
            image = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
        return image

    def _scaled_size(self, size: tuple[int, int], draw: float) -> tuple[int, int]:
        """Returns the size of the whole picture after the bounds on its edges and the random scale."""
        short = min(size)
        bounded = min(max(short, self.short_edge[0]), self.short_edge[1]) if self.short_edge else short
        common = self.longest_side / max(size) if self.longest_side else bounded / short
        scale = common * self.scales[int(draw * len(self.scales))]
        return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _class_center(mask: np.ndarray, class_draw: float, pixel_draw: float) -> tuple[int, int]:
    """Returns row and column of a random pixel of a random class in the mask, or of any pixel if all are void."""
    counts = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel()
    present = np.flatnonzero(counts[:VOID])
    class_id = present[int(class_draw * len(present))] if len(present) else VOID
    # The n-th such pixel in reading order; all of them need not be listed for it.
    is_class = (mask == class_id).view(np.uint8)
    until_row = cv2.reduce(is_class, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).cumsum()
    n = int(pixel_draw * until_row[-1])
    row = int(np.searchsorted(until_row, n, side="right"))
    return row, int(np.flatnonzero(is_class[row])[n - until_row[row - 1] if row else n])


def _clamp(start: int, new: int, size: int) -> int:
    """Moves a window of `size` so that it lies inside `new` pixels, or contains them if it is larger."""
    low, high = sorted((0, new - size))
    return min(max(start, low), high)


def _window(start: int, new: int, old: int, size: int) -> tuple[slice, slice]:
    """Returns, along one axis, the slice of the picture that a window of the scaled picture shows and its slice of the output.

    Only this slice is then resized, not the whole picture. Its ends are rounded outwards to whole pixels, equally for image
    and mask: they stay aligned, and the scale is off by less than two source pixels over the window.
    """
    first, last = max(start, 0), min(start + size, new)
    return slice(first * old // new, -(-last * old // new)), slice(first - start, last - start)


def _resize_image(image: np.ndarray | Picture, rows: slice, columns: slice, height: int, width: int) -> np.ndarray:
    """A window of a picture, resized."""
    old = rows.stop - rows.start, columns.stop - columns.start
    if isinstance(image, Picture):
        reduction = max(by for by in image.reductions if by == 1 or (by * height <= old[0] and by * width <= old[1]))
        image = image.decode(reduction)
        if reduction > 1:  # the window begins and ends between pixels
            steps = np.divide(old, (height * reduction, width * reduction))
            starts = np.divide((rows.start, columns.start), reduction) + steps / 2 - 0.5  # the first pixel's center
            turn = np.array([[steps[1], 0, starts[1]], [0, steps[0], starts[0]]])
            how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            return cv2.warpAffine(image, turn, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
    shrinks = height <= old[0] and width <= old[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return cv2.resize(image[rows, columns], (width, height), interpolation=how)


def _flip(image: np.ndarray, mask: np.ndarray, flip_pairs: Sequence[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return cv2.flip(image, 1), exchange_sides(cv2.flip(mask, 1), flip_pairs)


def exchange_sides(mask: np.ndarray, flip_pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Returns a mask, uint8 [h, w], in which the two class ids of each pair are exchanged."""
    exchanged = np.arange(256, dtype=np.uint8)
    for a, b in flip_pairs:
        exchanged[[a, b]] = b, a
    return exchanged[mask]


def _jitter(image: np.ndarray, brightness: float, contrast: float, saturation: float) -> np.ndarray:
    """Scales brightness, contrast and saturation by one affine map of the RGB colors, rounded and clipped once."""
    mean = float(_LUMA @ cv2.mean(image)[:3])
    linear = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _LUMA))
    offset = np.full((3, 1), brightness * (1 - contrast) * mean)
    return cv2.transform(image, np.hstack([linear, offset]))


def _uneven_light(image: np.ndarray, exposures: np.ndarray) -> np.ndarray:
    """Multiplies by a smooth field, interpolated from a 3 x 3 grid of exposures (powers of two)."""
    height, width = image.shape[:2]
    field = cv2.resize(exposures.reshape(3, 3).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image * np.exp2(field)[..., None], 0, 255).astype(np.uint8)


def _motion_blur(image: np.ndarray, length: float, angle: float) -> np.ndarray:
    """Averages along a line of `length` pixels at `angle` radians."""
    size = 2 * int(np.ceil(length / 2)) + 1
    offset = np.array([np.cos(angle), np.sin(angle)]) * length / 2 * 16  # in sixteenths of a pixel
    first, last = (np.round(16 * (size // 2) + sign * offset).astype(int).tolist() for sign in (-1, 1))
    kernel = np.zeros((size, size), np.uint8)
    cv2.line(kernel, first, last, 255, 1, cv2.LINE_AA, 4)
    return cv2.filter2D(image, -1, kernel / kernel.sum(dtype=float))
