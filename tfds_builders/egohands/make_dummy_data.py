"""Writes `dummy_data/`: four synthetic videos in the official layout, small enough to commit.

    python tfds_builders/egohands/make_dummy_data.py

Pictures have flat colors with filled outlines; nothing is from EgoHands. They include both official encodings of an absent
hand (1x0 and 0x0), overlapping hands, and a frame without hands.
"""

import io
import pathlib
import shutil

import numpy as np
import scipy.io
from PIL import Image, ImageDraw

# Names of official videos, with frame numbers that have gaps as in the real ones.
VIDEOS = {
    "CARDS_COURTYARD_H_S": [3, 40, 2105],
    "PUZZLE_OFFICE_T_S": [0, 77],
    "JENGA_COURTYARD_T_S": [12, 900],
    "CARDS_OFFICE_S_B": [3, 1000],
}
COLORS = {"myleft": "peru", "myright": "sienna", "yourleft": "tan", "yourright": "pink"}
ABSENT = np.empty((1, 0)), np.empty((0, 0))


def make_hand(rng: np.random.Generator, center: tuple[float, float]) -> np.ndarray:
    """Returns a blob as a hand: float64 [12, 2] of x, y in pixels, with fractions."""
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radius = rng.uniform(60, 110, (12, 1))
    return np.array(center) + radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def make_frame(rng: np.random.Generator, index: int) -> dict[str, np.ndarray]:
    """Returns the four fields of a frame: all hands, overlapping, in the first; one in the second; none in the third."""
    frame = {name: ABSENT[(index + i) % 2] for i, name in enumerate(COLORS)}
    if index == 0:
        centers = {"myleft": (560, 480), "myright": (700, 500), "yourleft": (720, 380), "yourright": (520, 400)}
        frame = {name: make_hand(rng, center) for name, center in centers.items()}
    elif index == 1:
        frame["yourright"] = make_hand(rng, (400, 200))
    return frame


def write_polygons(path: pathlib.Path, frames: list[dict[str, np.ndarray]]) -> None:
    """Writes polygons.mat in the official form: `polygons`, a struct array [1, n] in a compressed MATLAB 5 file."""
    polygons = np.empty((1, len(frames)), [(name, object) for name in COLORS])
    for index, frame in enumerate(frames):
        polygons[0, index] = tuple(frame[name] for name in COLORS)
    content = io.BytesIO()
    scipy.io.savemat(content, {"polygons": polygons}, do_compression=True)
    # The first 116 bytes are free text with the time; without it, equal data gives equal files.
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + content.getvalue()[116:])


def write_picture(path: pathlib.Path, frame: dict[str, np.ndarray], background: tuple[int, ...]) -> None:
    """Writes a JPEG of 1280x720 with filled hands."""
    image = Image.new("RGB", (1280, 720), background)
    for name, polygon in frame.items():
        if polygon.size:
            ImageDraw.Draw(image).polygon(polygon.ravel().tolist(), fill=COLORS[name])
    image.save(path, quality=50, optimize=True)


def main() -> None:
    """Writes dummy_data/_LABELLED_SAMPLES next to this file, replacing existing files."""
    root = pathlib.Path(__file__).parent / "dummy_data" / "_LABELLED_SAMPLES"
    shutil.rmtree(root, ignore_errors=True)
    rng = np.random.default_rng(0)
    for video, numbers in VIDEOS.items():
        (root / video).mkdir(parents=True)
        frames = [make_frame(rng, index) for index in range(len(numbers))]
        write_polygons(root / video / "polygons.mat", frames)
        for number, frame in zip(numbers, frames, strict=True):
            background = tuple(int(c) for c in rng.integers(0, 90, 3))
            write_picture(root / video / f"frame_{number:04d}.jpg", frame, background)


if __name__ == "__main__":
    main()
