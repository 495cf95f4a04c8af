"""Writes the results of a picture: one file per kind, completely or not at all, and never outside the output folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from refinenet_jax import visualize
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmentation import Segmentation


def paths(root: Path, name: str, kinds: Sequence[str]) -> dict[str, Path]:
    """Returns the files of one picture by kind, without kinds that have no file per picture."""
    return {kind: root / f"{name}{KINDS[kind][0]}" for kind in kinds if kind in KINDS}


def write(result: Segmentation, root: Path, name: str, kinds: Sequence[str]) -> None:
    """Writes ROOT/NAME_mask.png and so on, replacing existing files.

    masks: uint8 class ids. palette: class ids with a color palette. overlays, contours: visualizations. cutouts: RGBA with a
    transparent background. scores: `scores`, float16 [h, w, c] probabilities, and `class_names`, for `numpy.load`.

    Raises:
      UsageError: a file cannot be written, or would be outside `root`.
    """
    for kind, path in paths(root, name, kinds).items():
        write_whole(path, root, lambda partial, kind=kind: KINDS[kind][1](result, partial))


def write_whole(path: Path, root: Path, writer: Callable[[Path], object]) -> None:
    """Writes a file atomically: `writer` writes a hidden file next to `path`, which is then renamed.

    Raises:
      UsageError: the file cannot be written, or a link leads outside `root`.
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
    """Creates a folder for results.

    Raises:
      UsageError: it cannot be created, or is outside `root`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from error
    if not folder.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"{folder} leads out of {root}, to {folder.resolve()}. Remove that link.")


def cannot_write(path: Path, error: OSError) -> UsageError:
    """Returns the error for a file that cannot be written."""
    return UsageError(
        f"{path} cannot be written ({error.strerror or error}). Correct that and use --resume, or give another --output."
    )


def _image(draw: Callable[[Segmentation], np.ndarray]) -> Callable[[Segmentation, Path], None]:
    return lambda result, path: visualize.write(str(path), draw(result))


def _write_scores(result: Segmentation, path: Path) -> None:
    np.savez_compressed(path, scores=result.scores.astype(np.float16), class_names=np.array(result.class_names))


# Ending of the file of each kind, and the function that writes it.
KINDS: dict[str, tuple[str, Callable[[Segmentation, Path], None]]] = {
    "masks": ("_mask.png", _image(lambda result: result.mask)),
    "palette": ("_palette.png", lambda result, path: visualize.colored_mask(result.mask).save(path)),
    "overlays": ("_overlay.jpg", _image(Segmentation.overlay)),
    "contours": ("_contours.jpg", _image(Segmentation.contours)),
    "cutouts": ("_cutout.png", _image(Segmentation.cutout)),
    "scores": ("_scores.npz", _write_scores),
}
