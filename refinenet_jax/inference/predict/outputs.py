"""What is written of a picture: one file for each kind of result, whole or not at all, and never outside the folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from refinenet_jax import visualize
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmentation import Segmentation

# Endings of what `write` writes.
ENDINGS = {
    "masks": "_mask.png",
    "palette": "_palette.png",
    "overlays": "_overlay.jpg",
    "contours": "_contours.jpg",
    "side-by-side": "_side.jpg",
    "cutouts": "_cutout.png",
    "scores": "_scores.npz",
}


def paths(root: Path, name: str, kinds: Sequence[str]) -> dict[str, Path]:
    """The files of one picture, by kind; kinds that have no file for each picture are left out."""
    return {kind: root / f"{name}{ENDINGS[kind]}" for kind in kinds if kind in ENDINGS}


def write(result: Segmentation, root: Path, name: str, kinds: Sequence[str]) -> None:
    """Writes ROOT/NAME_mask.png and so on, replacing what is there.

    masks: uint8 class ids. palette: the same, coloured by a palette. overlays, contours: pictures to look at. side-by-side:
    picture and overlay. cutouts: RGBA, transparent where there is background. scores: `scores` float16 [h, w, c],
    probabilities, and `class_names`, for `numpy.load`.

    Raises:
      UsageError: a file cannot be written, or would lie outside `root`.
    """
    for kind, path in paths(root, name, kinds).items():
        write_whole(path, root, lambda partial, kind=kind: _WRITERS[kind](result, partial))


def write_whole(path: Path, root: Path, writer: Callable[[Path], object]) -> None:
    """Lets `writer` write a hidden file next to `path`, which then takes its name: a killed run leaves no half-written file.

    Raises:
      UsageError: it cannot be written, or would lie outside `root`, where a link leads.
    """
    prepare_folder(path.parent, root)
    partial = path.with_name(f".{path.name}")
    try:
        partial.unlink(missing_ok=True)  # it may be a link
        writer(partial)
        partial.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error


def prepare_folder(folder: Path, root: Path) -> None:
    """Makes a folder for results.

    Raises:
      UsageError: it cannot be made, or lies outside `root`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    if not folder.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{folder} leads out of {root}, to {folder.resolve()}; take that link away.")


def cannot_write(path: Path, error: OSError) -> UsageError:
    """The error for a file that cannot be written."""
    return UsageError(
        f"{path} cannot be written ({error.strerror or error}). Make room and resume with --resume, or "
        "give another --output."
    )


def side_by_side(result: Segmentation) -> np.ndarray:
    """The picture and, at its right, its overlay, uint8 [h, 2 w, 3]."""
    return np.concatenate([result.image, result.overlay()], axis=1)


def _write_palette(result: Segmentation, path: Path) -> None:
    image = Image.fromarray(result.mask)
    image.putpalette(visualize.palette().tobytes())
    image.save(path)


def _write_scores(result: Segmentation, path: Path) -> None:
    np.savez_compressed(path, scores=result.scores.astype(np.float16), class_names=np.array(result.class_names))


_WRITERS: dict[str, Callable[[Segmentation, Path], None]] = {
    "masks": lambda result, path: visualize.write(str(path), result.mask),
    "palette": _write_palette,
    "overlays": lambda result, path: visualize.write(str(path), result.overlay()),
    "contours": lambda result, path: visualize.write(str(path), result.contours()),
    "side-by-side": lambda result, path: visualize.write(str(path), side_by_side(result)),
    "cutouts": lambda result, path: visualize.write(str(path), result.cutout()),
    "scores": _write_scores,
}
