"""The files of EgoHands: the official split, the outlines of hands in each video, and masks drawn from them.

The layout (Bambach et al., "Lending A Hand", ICCV 2015):

    _LABELLED_SAMPLES/<ACTIVITY>_<LOCATION>_<VIEWER>_<PARTNER>/    48 videos
        frame_%04d.jpg                                             100 frames each, 1280x720
        polygons.mat                                               up to four hands per frame
"""

import dataclasses
import re

import numpy as np
from etils import epath

from tfds_builders import matlab
from tfds_builders.outlines import draw

FOLDER = "_LABELLED_SAMPLES"
FRAMES_PER_VIDEO = 100
HEIGHT, WIDTH = 720, 1280

# The paper's main split (`getMetaBy('MainSplit', ...)` in the official MATLAB code). The frames of a video look alike: a split
# by frames, which is common, tests on training videos.
_TRAIN = """
CARDS_COURTYARD_H_S CARDS_COURTYARD_S_H CARDS_COURTYARD_T_B CARDS_LIVINGROOM_B_T CARDS_LIVINGROOM_H_S
CARDS_LIVINGROOM_T_B CARDS_OFFICE_B_S CARDS_OFFICE_H_T CARDS_OFFICE_T_H CHESS_COURTYARD_S_H CHESS_COURTYARD_T_B
CHESS_LIVINGROOM_B_S CHESS_LIVINGROOM_H_T CHESS_LIVINGROOM_S_B CHESS_OFFICE_B_S CHESS_OFFICE_H_T CHESS_OFFICE_S_B
CHESS_OFFICE_T_H JENGA_COURTYARD_B_H JENGA_COURTYARD_H_B JENGA_COURTYARD_S_T JENGA_LIVINGROOM_B_H JENGA_LIVINGROOM_H_B
JENGA_LIVINGROOM_T_S JENGA_OFFICE_B_S JENGA_OFFICE_S_B JENGA_OFFICE_T_H PUZZLE_COURTYARD_B_S PUZZLE_COURTYARD_S_B
PUZZLE_COURTYARD_T_H PUZZLE_LIVINGROOM_B_T PUZZLE_LIVINGROOM_H_S PUZZLE_LIVINGROOM_S_H PUZZLE_OFFICE_B_H
PUZZLE_OFFICE_H_B PUZZLE_OFFICE_T_S
"""
_VALIDATION = "CARDS_LIVINGROOM_S_H CHESS_COURTYARD_H_S JENGA_COURTYARD_T_S PUZZLE_OFFICE_S_T"
_TEST = """
CARDS_COURTYARD_B_T CARDS_OFFICE_S_B CHESS_COURTYARD_B_T CHESS_LIVINGROOM_T_H JENGA_LIVINGROOM_S_T JENGA_OFFICE_H_T
PUZZLE_COURTYARD_H_T PUZZLE_LIVINGROOM_T_B
"""
SPLITS = {"train": _TRAIN.split(), "validation": _VALIDATION.split(), "test": _TEST.split()}
VIDEOS = sorted(video for videos in SPLITS.values() for video in videos)

# The fields of polygons.mat and the mask id of each hand: `my` is the wearer of the camera, `your` the partner. Drawn in this
# order, later over earlier: where hands overlap, the wearer's are closer to the camera.
IDENTITIES = {"yourleft": 3, "yourright": 4, "myleft": 1, "myright": 2}


@dataclasses.dataclass(frozen=True)
class Frame:
    """One labeled frame.

    Attributes:
      path: path of the JPEG.
      number: frame number in the video, 0..2699 at 30 Hz.
      polygons: for each of the four IDENTITIES, float64 [n, 2] of x, y in pixels; n is 0 if the hand is not visible.
    """

    path: epath.Path
    number: int
    polygons: dict[str, np.ndarray]


def read_video(folder: epath.Path) -> list[Frame]:
    """Reads the frames of a video, sorted by name, with their polygons. Pictures are not opened.

    Raises:
      ValueError: a file is missing or cannot be read, or the numbers of pictures and polygons differ.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".jpg" and not path.name.startswith("."))
    numbers = [re.fullmatch(r"frame_(\d{4})\.jpg", path.name) for path in paths]
    if None in numbers:
        # Polygons have no names: the i-th belongs to the i-th picture, so that an extra picture would shift all later ones.
        raise ValueError(f"{paths[numbers.index(None)]} is not a frame (frame_0000.jpg). Move it out of the folder.")
    polygons = read_polygons(folder / "polygons.mat")
    if len(paths) != len(polygons):
        raise ValueError(f"{folder} has {len(paths)} frames, but polygons.mat has {len(polygons)}. Unpack it again.")
    return [Frame(path, int(m[1]), p) for path, m, p in zip(paths, numbers, polygons, strict=True)]


def read_polygons(path: epath.Path) -> list[dict[str, np.ndarray]]:
    """Reads polygons.mat: the outline of each hand in each frame.

    Returns:
      For each frame and each of the IDENTITIES float64 [n, 2] of x, y in [0, 1280] x [0, 720]; [0, 2] if a hand is not
      visible.

    Raises:
      ValueError: the file cannot be read or is not one of EgoHands.
    """
    # The largest of the dataset has 0.9 MB and unpacks to 2 MB.
    polygons = matlab.load(path, "polygons", max_bytes=16 << 20, max_unpacked=64 << 20)
    if not {*IDENTITIES} <= {*(polygons.dtype.names or ())}:
        raise ValueError(f"{path} has no {', '.join(IDENTITIES)}. Unpack the video again.")
    return [{name: _outline(path, i, name, row[name]) for name in IDENTITIES} for i, row in enumerate(polygons.ravel())]


def _outline(path: epath.Path, index: int, name: str, polygon: np.ndarray) -> np.ndarray:
    if polygon.size == 0:  # stored as 1x0 or as 0x0
        return np.empty((0, 2))
    if polygon.dtype.kind not in "iuf" or polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
        raise ValueError(f"{path}: {name} of frame {index} is {polygon.dtype} {list(polygon.shape)}. Unpack it again.")
    if not ((polygon >= 0) & (polygon <= (WIDTH, HEIGHT))).all():  # also fails for NaN
        raise ValueError(f"{path}: {name} of frame {index} leaves the picture ({WIDTH}x{HEIGHT}). Unpack it again.")
    return polygon.astype(np.float64)


def draw_identities(polygons: dict[str, np.ndarray]) -> np.ndarray:
    """Draws the hands of one frame.

    The official masks, drawn by MATLAB's `insertShape('FilledPolygon')`, differ by up to a pixel at the edges.

    Args:
      polygons: polygons as in `Frame`.

    Returns:
      uint8 [720, 1280]: 0 background, 1 own left, 2 own right, 3 other left, 4 other right hand.
    """
    seen = [(polygons[name], identity) for name, identity in IDENTITIES.items() if len(polygons[name])]
    return draw(HEIGHT, WIDTH, seen)
