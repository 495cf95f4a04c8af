"""Writes annotations in the official form, for tests and benchmarks."""

import pathlib

import numpy as np
import scipy.io

from tfds_builders.egohands.labeled_samples import IDENTITIES


def write_polygons(path: pathlib.Path, frames: list[dict[str, np.ndarray]]) -> None:
    """Writes polygons.mat: `polygons`, a struct array [1, n] of the outlines of each frame, in a compressed MATLAB 5 file."""
    polygons = np.empty((1, len(frames)), [(name, object) for name in IDENTITIES])
    for index, frame in enumerate(frames):
        polygons[0, index] = tuple(frame[name] for name in IDENTITIES)
    scipy.io.savemat(path, {"polygons": polygons}, appendmat=False, do_compression=True)
