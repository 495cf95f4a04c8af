"""Reads masks of class ids from several kinds of image files, and checks them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import cv2
import numpy as np

from refinenet_jax.data import images
from refinenet_jax.data.examples import VOID, DataError, DatasetInfo, first_few
from refinenet_jax.data.folders.dataset_yaml import FILE, Settings, as_yaml


def read_mask(path: Path, settings: Settings) -> np.ndarray:
    """Reads a mask file. The settings select brightness (`binary`) or colors; otherwise the values are class ids.

    Returns:
      uint8 [h, w], not yet checked against the number of classes.

    Raises:
      DataError: "undecodable"; "mask format": the file is a JPEG, which changes values, has 16 bits, is in colors that
        the settings do not name, or has a palette that contradicts its values; "mask value": a color is not in the settings.
    """
    what = f"The mask {path}"
    encoded = images.read(path)
    pixels = images.decode_mask(encoded, what)
    palette = images.palette(encoded)
    lossy = images.sniff(encoded) in images.LOSSY
    if settings.binary:
        return _bright(pixels, lossy, palette, what)
    if lossy:
        raise DataError(
            f"{what} is a {images.sniff(encoded)} file, which changes the values, so they are not class ids. Export it again as"
            f" PNG; or, if it is only black and white, write `binary: true` into {FILE}.",
            "mask format",
        )
    if settings.colors:
        return _ids_of_colors(pixels if palette is None else palette[pixels], settings, what)
    if pixels.ndim == 3:
        raise DataError(
            f"{what} is in colors. Save class ids in one channel, or write the colors into {FILE}, for instance\n"
            f"{colors_line(_colors_in(pixels), settings.classes)}",
            "mask format",
        )
    if palette is not None and settings.binary is None:
        _refuse_bright_background(pixels, palette, what)
    return pixels


def contents(path: Path, binary: bool | None = None) -> Counter[tuple[int | None, tuple[int, int, int] | None]]:
    """Counts the pixels of a mask file by class id and color, without settings.

    The color is None for plain ids, and the id is None for masks in colors; palette images have both. `binary` is as in
    Settings. Raises the errors of read_mask.
    """
    encoded = images.read(path)
    pixels = images.decode_mask(encoded, f"The mask {path}")
    if pixels.ndim == 3 and images.sniff(encoded) not in images.LOSSY:
        colors = Counter(_colors_in(pixels)).most_common(256)  # a photograph has many more
        return Counter({(None, color): number for color, number in colors})
    mask = read_mask(path, Settings(binary=binary))
    palette = images.palette(encoded)
    numbers = cv2.calcHist([mask], [0], None, [256], [0, 256]).ravel().astype(int)
    return Counter(
        {
            (value, None if palette is None else tuple(palette[value].tolist())): int(numbers[value])
            for value in np.flatnonzero(numbers).tolist()
        }
    )


def colors_line(counts: Mapping[tuple[int, int, int], int], names: Iterable[str] = ()) -> str:
    """Returns the line of dataset.yaml that names these colors; the background is black, or else the most frequent color.

    Args:
      counts: number of pixels of each color.
      names: names of the classes, if they are known.
    """
    ordered = sorted(counts, key=lambda color: (color != (0, 0, 0), -counts[color]))
    names = list(names) or ["background", "hand", *(f"class {i}" for i in range(2, len(ordered)))]
    return "  colors: " + as_yaml({name: list(color) for name, color in zip(names, ordered, strict=False)})


def check_mask(mask: np.ndarray, image_size: tuple[int, ...], info: DatasetInfo, where: str) -> None:
    """Checks that a mask has the size of its image and contains only class ids and void.

    Args:
      mask: the mask, any array.
      image_size: (height, width) of the image.
      info: description of the dataset.
      where: name of the example in messages, after "The mask of ...".

    Raises:
      DataError: "mask format": it is not uint8 [h, w]; "size mismatch"; "mask value": neither a class id nor void.
    """
    if mask.dtype != np.uint8 or mask.shape != image_size:
        raise DataError(
            f"The mask of {where} is {mask.dtype} {list(mask.shape)}; for this image it must be uint8 {list(image_size)}, one"
            " class id per pixel.",
            "size mismatch" if mask.dtype == np.uint8 and mask.ndim == 2 else "mask format",
        )
    # Adding 1 in uint8 wraps void (255) to 0, so one maximum finds every value outside the classes.
    if (mask + np.uint8(1)).max() > info.num_classes:
        values = np.unique(mask)
        wrong = values[(values >= info.num_classes) & (values != VOID)].tolist()
        raise DataError(
            f"The mask of {where} has the values {first_few(wrong, 8)}, which are neither class ids"
            f" (0..{info.num_classes - 1}: {', '.join(info.class_names)}) nor void (255). Masks saved as JPEG or resized"
            " smoothly get many such values: use PNG and nearest-neighbor interpolation.",
            "mask value",
        )


def _bright(pixels: np.ndarray, lossy: bool, palette: np.ndarray | None, what: str) -> np.ndarray:
    """Converts a black and white mask to ids: white is 1."""
    colors = None
    if palette is not None:
        used = np.unique(pixels)
        if _is_gray(palette[used]):
            pixels = _luma(palette)[pixels]
        elif used.max() > 1 or np.diff(_luma(palette[:2])) <= 0:  # otherwise ids, as in VOC's black and red
            colors = palette[pixels]
    elif pixels.ndim == 3 and lossy:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    elif pixels.ndim == 3:
        colors = pixels
    if colors is not None:
        raise DataError(
            f"{what} is in colors, but with `binary: true` in {FILE} masks must be gray. Write instead\n"
            f"{colors_line(_colors_in(colors))}",
            "mask format",
        )
    if not lossy and pixels.max() <= 1:
        return pixels  # already ids, as in 1-bit files
    return (pixels >= 128).astype(np.uint8)


def _refuse_bright_background(pixels: np.ndarray, palette: np.ndarray, what: str) -> None:
    """Refuses palettes whose first color is bright: some programs sort palettes, so that hands would become background."""
    used = np.flatnonzero(np.bincount(pixels.ravel()))
    luma = _luma(palette[used])
    if used[0] or luma[0] < 16:
        return
    gray = _is_gray(palette[used])
    if luma.min() < 16 or (gray and luma[0] >= 128):
        line = "binary: true" if gray else colors_line(_colors_in(palette[pixels])).strip()
        raise DataError(
            f"{what} has a palette in which the value 0, the background, is the color {palette[0].tolist()}. Write into"
            f" {FILE} `{line}` if the colors are correct, or `binary: false` if the values are class ids.",
            "mask format",
        )


def _is_gray(colors: np.ndarray) -> bool:
    return bool((np.ptp(colors.astype(int), axis=-1) <= 16).all())


def _luma(colors: np.ndarray) -> np.ndarray:
    """Returns the brightness, uint8 [n], of colors uint8 [n, 3]."""
    return cv2.cvtColor(colors[None], cv2.COLOR_RGB2GRAY)[0]


def _ids_of_colors(pixels: np.ndarray, settings: Settings, what: str) -> np.ndarray:
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, -1)
    codes = _codes(pixels)
    mask = np.zeros(codes.shape, np.uint8)
    known = np.zeros(codes.shape, bool)
    for color, class_id in settings.colors.items():
        here = codes == _codes(np.array(color, np.uint8))
        mask[here] = class_id
        known |= here
    if not known.all():
        unknown = _colors_in(pixels[~known])
        raise DataError(
            f"{what} has {np.count_nonzero(~known)} pixels of colors that neither `colors` in {FILE} nor labelmap.txt names:"
            f" {first_few(list(map(list, unknown)))}. Name them; or, if the masks were resized smoothly, use nearest-neighbor"
            " interpolation.",
            "mask value",
        )
    return mask


def _codes(colors: np.ndarray) -> np.ndarray:
    """Returns one number for each color, int32 [...], of colors uint8 [..., 3]."""
    return colors.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def _colors_in(pixels: np.ndarray) -> dict[tuple[int, int, int], int]:
    """Counts each color in uint8 [..., 3]."""
    codes, counts = np.unique(_codes(pixels), return_counts=True)
    return {(c >> 16, c >> 8 & 255, c & 255): n for c, n in zip(codes.tolist(), counts.tolist(), strict=True)}
