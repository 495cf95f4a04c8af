"""The official EgoHands tree: which videos it should hold, what each one holds, and the masks its polygons draw.

The layout, as its README.txt gives it and as the files are (Bambach et al., "Lending A Hand", ICCV 2015):

    _LABELLED_SAMPLES/<ACTIVITY>_<LOCATION>_<VIEWER>_<PARTNER>/    48 videos
        frame_%04d.jpg                                             100 frames of each, 1280x720
        polygons.mat                                               up to four hands in each frame

Nothing here knows TFDS, so that masks can be drawn and checked without it.
"""

import dataclasses
import io
import math
import re

import numpy as np
from etils import epath
from PIL import Image

from refinenet_jax.data.polygons import draw
from refinenet_jax.matlab import mat5, structs

FOLDER = "_LABELLED_SAMPLES"
FRAMES_PER_VIDEO = 100
HEIGHT, WIDTH = 720, 1280

# The paper's main split (`getMetaBy('MainSplit', ...)` in the official MATLAB code). The frames of a video look alike:
# a split by frames, which is common, tests on what was trained on.
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

# The fields of polygons.mat and the id each hand has in a mask: `my` is the wearer of the camera, `your` the partner.
# Painted in this order, later over earlier: where hands overlap, the wearer's are the nearer ones to the camera.
IDENTITIES = {"yourleft": 3, "yourright": 4, "myleft": 1, "myright": 2}

# Some times the most that an official polygons.mat has: 0.9 MB, and 260,000 numbers.
_MAX_FILE_BYTES = 16 << 20
_MAX_NUMBERS = 4 << 20


@dataclasses.dataclass(frozen=True)
class Frame:
    """One labelled frame.

    Attributes:
      path: The JPEG.
      number: Its place in the video, 0..2699 at 30 Hz.
      polygons: For each of the four IDENTITIES, float64 [n,2] of x, y in pixels; n is 0 where that hand is not seen.
    """

    path: epath.Path
    number: int
    polygons: dict[str, np.ndarray]


def find(folder: epath.Path) -> epath.Path | None:
    """Finds `_LABELLED_SAMPLES`: the folder itself, in it, or in `egohands_data/` in it (everybody unzips to there)."""
    for candidate in (folder, folder / FOLDER, folder / "egohands_data" / FOLDER):
        if candidate.name == FOLDER and candidate.is_dir():
            return candidate
    return None


def missing_videos(samples: epath.Path) -> list[str]:
    """Names of the official videos of which the tree has no folder, sorted."""
    return [video for video in VIDEOS if not (samples / video).is_dir()]


def read_video(folder: epath.Path) -> list[Frame]:
    """Reads what belongs to one video: frames sorted by name, each with its polygons. No picture is opened.

    Raises:
      ValueError: A file is missing, cannot be read, or the pictures and polygons are not equally many.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".jpg" and not path.name.startswith("."))
    numbers = [re.fullmatch(r"frame_(\d{4})\.jpg", path.name) for path in paths]
    if None in numbers:
        # The polygons have no names: the i-th belongs to the i-th picture, so one more picture shifts all after it.
        stranger = paths[numbers.index(None)]
        raise ValueError(f"{stranger} is no frame of the data set (frame_0000.jpg). Take it out of the video's folder.")
    if not (folder / "polygons.mat").exists():
        raise ValueError(f"{folder} has no polygons.mat. Unpack the video again.")
    polygons = read_polygons(folder / "polygons.mat")
    if len(paths) != len(polygons):
        raise ValueError(
            f"{folder} has {len(paths)} frames, but polygons.mat is for {len(polygons)}. Unpack the video again."
        )
    return [Frame(path, int(m[1]), p) for path, m, p in zip(paths, numbers, polygons, strict=True)]


def read_polygons(path: epath.Path) -> list[dict[str, np.ndarray]]:
    """Reads a polygons.mat (MATLAB 5): for each frame, the outline of each hand.

    Returns:
      For each frame and each of the IDENTITIES float64 [n,2] of x, y in [0,1280] x [0,720]; [0,2] for a hand not seen.

    Raises:
      ValueError: The file cannot be read or is not what the data set ships.
    """
    try:
        if (size := path.stat().length) > _MAX_FILE_BYTES:
            raise ValueError(f"it has {size} bytes, more than any video's ({_MAX_FILE_BYTES})")
        rows = structs(mat5.read_variables(path.read_bytes())["polygons"], "polygons")
        if (count := sum(math.prod(row[name].shape) for row in rows for name in IDENTITIES)) > _MAX_NUMBERS:
            raise ValueError(f"it has {count} numbers, more than any video's ({_MAX_NUMBERS})")
        frames = [{name: np.asarray(row[name].read(), np.float64) for name in IDENTITIES} for row in rows]
    except Exception as error:  # A damaged file fails in any of many ways.
        raise ValueError(
            f"{path} cannot be read as the polygons of EgoHands ({type(error).__name__}: {error}). "
            "It may be cut short or of another data set; unpack it again."
        ) from error
    for index, frame in enumerate(frames):
        for name, polygon in frame.items():
            if polygon.size == 0:  # MATLAB wrote some as 1x0 and some as 0x0.
                frame[name] = np.empty((0, 2))
            elif polygon.ndim != 2 or polygon.shape[1] != 2 or len(polygon) < 3:
                raise ValueError(f"{path}: {name} of frame {index} has shape {polygon.shape}, not [3 or more, 2].")
            elif not ((polygon >= 0) & (polygon <= (WIDTH, HEIGHT))).all():  # so written, NaN fails too
                raise ValueError(f"{path}: {name} of frame {index} leaves the picture of {WIDTH}x{HEIGHT}.")
    return frames


def draw_identities(polygons: dict[str, np.ndarray]) -> np.ndarray:
    """Draws the hands of one frame.

    The official masks, drawn by MATLAB's `insertShape('FilledPolygon')`, are up to a pixel different at the edges.

    Args:
      polygons: As in `Frame`.

    Returns:
      uint8 [720,1280]: 0 background, 1 own left, 2 own right, 3 other left, 4 other right hand.
    """
    seen = [(polygons[name], identity) for name, identity in IDENTITIES.items() if len(polygons[name])]
    return draw(HEIGHT, WIDTH, seen)


def read_jpeg(path: epath.Path) -> bytes:
    """Reads the bytes of a frame, having made sure that they decode to 1280x720 RGB.

    Raises:
      ValueError: They do not.
    """
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:  # for some others PIL runs programs
            found = f"{image.format} {image.mode} {image.width}x{image.height}"
            image.draft("L", (WIDTH // 8, HEIGHT // 8))  # reads every byte, but computes 1 of 64 pixels: twice as fast
            image.load()
    except Exception as error:  # Which one depends on where the file is damaged.
        raise ValueError(f"{path} is not a whole JPEG ({error}). Unpack it again.") from error
    if found != (expected := f"JPEG RGB {WIDTH}x{HEIGHT}"):
        raise ValueError(f"{path} is {found}; EgoHands is {expected}. Polygons fit the official file only.")
    return content
