"""Masks of class ids: made from image files of several kinds, and checked."""

from pathlib import Path

import cv2
import numpy as np

from refinenet_jax.data import images
from refinenet_jax.data.examples import VOID, DataError, DatasetInfo, first_few
from refinenet_jax.data.folders.dataset_yaml import FILE, Settings


def read_mask(path: Path, settings: Settings) -> np.ndarray:
    """Reads a mask file; by the user's settings from brightness (`binary`) or colours, else its values as they are.

    Returns:
      uint8 [h, w], not yet checked against the number of classes.

    Raises:
      DataError: "undecodable"; "mask format": of JPEG, which changes values, with 16 bits, or in colours that settings
        does not name; "mask value": a colour is not among those.
    """
    encoded = images.read(path)
    what = f"The mask {path}"
    pixels = images.decode_mask(encoded, what)
    lossy = images.sniff(encoded) in images.LOSSY
    if settings.binary:
        return _bright(pixels, lossy, images.has_palette(encoded), what)
    if lossy:
        raise DataError(
            f"{what} is a {images.sniff(encoded)} file, which changes the values: they are no class ids. Save it as PNG from"
            f" where it was drawn; or, if it is only black and white, write `binary: true` into {FILE}.",
            "mask format",
        )
    if settings.colours:
        if images.has_palette(encoded):
            raise DataError(
                f"{what} has a palette, and its values are read as class ids. Take `colours` out of {FILE}, or save the mask in"
                " RGB.",
                "mask format",
            )
        return _ids_of_colours(pixels, settings, what)
    if pixels.ndim == 3:
        raise DataError(
            f"{what} is in colours. Save class ids in one channel; or write the colours into {FILE}, for instance\n"
            f"  colours: {{background: [0, 0, 0], hand: {_colours_in(pixels)[-1]}}}",
            "mask format",
        )
    return pixels


def values_in(path: Path) -> list[int]:
    """The values that occur in a mask file, read without settings; errors as of read_mask."""
    return np.flatnonzero(cv2.calcHist([read_mask(path, Settings())], [0], None, [256], [0, 256])).tolist()


def check_mask(mask: np.ndarray, image_size: tuple[int, ...], info: DatasetInfo, where: str) -> None:
    """Makes sure that a mask fits its image and holds class ids only.

    Args:
      mask: the mask.
      image_size: height and width of the image.
      info: of the dataset.
      where: names the example, behind "The mask of ...".

    Raises:
      DataError: "mask format": it is not uint8 [h, w]; "size mismatch"; "mask value": neither class ids nor void.
    """
    if mask.dtype != np.uint8 or mask.shape != image_size:
        raise DataError(
            f"The mask of {where} is {mask.dtype} {list(mask.shape)}; for this image it must be uint8 {list(image_size)}, one"
            " class id per pixel.",
            "size mismatch" if mask.dtype == np.uint8 and mask.ndim == 2 else "mask format",
        )
    # Adding 1 in uint8 takes void (255) to 0, so one maximum finds every value outside the classes.
    if (mask + np.uint8(1)).max() > info.num_classes:
        values = np.unique(mask)
        wrong = values[(values >= info.num_classes) & (values != VOID)].tolist()
        raise DataError(
            f"The mask of {where} has the values {first_few(wrong, 8)}, which are neither class ids"
            f" (0..{info.num_classes - 1}: {', '.join(info.class_names)}) nor void (255). Many odd values come"
            " from masks saved as JPEG or resized smoothly: use PNG and nearest-neighbour.",
            "mask value",
        )


def _bright(pixels: np.ndarray, lossy: bool, palette: bool, what: str) -> np.ndarray:
    """1 where a black and white mask is white."""
    if pixels.ndim == 3:
        if not lossy:
            raise DataError(f"{what} is in colours; with `binary: true` in {FILE} masks are grey.", "mask format")
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if palette or (not lossy and pixels.max() <= 1):
        return pixels  # ids already: of 1-bit files, and as some programs write them
    return (pixels >= 128).astype(np.uint8)


def _ids_of_colours(pixels: np.ndarray, settings: Settings, what: str) -> np.ndarray:
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, -1)
    codes = _codes(pixels)
    mask = np.zeros(codes.shape, np.uint8)
    known = np.zeros(codes.shape, bool)
    for colour, class_id in settings.colours.items():
        here = codes == _codes(np.array(colour, np.uint8))
        mask[here] = class_id
        known |= here
    if not known.all():
        strangers = _colours_in(pixels[~known][None])
        raise DataError(
            f"{what} has {np.count_nonzero(~known)} pixels of colours that `colours` in {FILE} does not name:"
            f" {first_few(strangers)}. Name them; many odd ones come from masks resized smoothly: use nearest-neighbour.",
            "mask value",
        )
    return mask


def _codes(colours: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] -> one number for each colour."""
    return colours.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def _colours_in(pixels: np.ndarray) -> list[list[int]]:
    """The colours that occur in uint8 [h, w, 3], the rarest first."""
    codes, counts = np.unique(_codes(pixels), return_counts=True)
    return [[int(c) >> 16, int(c) >> 8 & 255, int(c) & 255] for c in codes[np.argsort(counts)]]
