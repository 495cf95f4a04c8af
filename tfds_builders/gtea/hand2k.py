"""GTEA as published in hand2K: frames, labels joined by name, and splits.

The layout, in which the last folder is a separate archive, the masks of the CVPR 2018 paper (Urooj and Borji, section 3.1.3):

    GTEA/Images/<name>.jpg                                  663 frames, 720x405
    GTEA/Masks/<name>.png                                   hands and arms up to the sleeve
    gtea_cropped/gtea_{train,test}_cropped/<name>.jpg       662 masks of the hands up to the wrist

A name is s<subject>_<activity>_<frame number with ten digits>. Other folders of hand2K (Annotations,
GTEA_GAZE_PLUS, oldImages, oldMasks) are not read.
"""

import dataclasses
import re
from collections.abc import Iterable

from absl import logging
from etils import epath

from tfds_builders.lists import first_few

CROPPED_PARTS = ("gtea_train_cropped", "gtea_test_cropped")

# Subject 2 is the test set, as in the paper. The paper uses 367 of the other frames for training and 92 for validation, with
# unpublished lists. The frames of a video look alike, so whole videos are held out: these have 92 frames with a wrist mask, are
# of all three subjects and of four activities that are also in the training set, and have the same share of hand pixels as the
# rest (5.3 %). They do not include the videos of which hand2K may have one more frame.
VALIDATION_VIDEOS = ("s1_cheese", "s3_hotdog", "s4_coffee", "s4_cofhoney")
SPLITS = ("train", "validation", "test")

_NAME = re.compile(r"(?P<video>(?P<subject>s[1-4])_[a-z]+)_(?P<number>\d{10})")


@dataclasses.dataclass(frozen=True)
class Frame:
    """One labeled frame.

    Attributes:
      image: path of the picture.
      label: path of its mask.
      name: name, such as s1_cheese_0000000020.
      video: video, such as s1_cheese.
      number: frame number in the video.
    """

    image: epath.Path
    label: epath.Path
    name: str
    video: str
    number: int

    @property
    def split(self) -> str:
        """Split of the frame, one of SPLITS."""
        part = "validation" if self.video in VALIDATION_VIDEOS else "train"
        return "test" if self.video.startswith("s2_") else part


def read_frames(images: epath.Path, labels: Iterable[epath.Path], official: int) -> list[Frame]:
    """Joins frames and labels by name; no file is opened. Frames and labels without a partner are logged.

    Args:
      images: folder of the frames.
      labels: folders of the labels.
      official: number of frames of the complete dataset with these labels.

    Returns:
      The frames with a label, sorted by name.

    Raises:
      ValueError: a folder is missing, two files are for the same frame, or no frame has a label.
    """
    labels = [*labels]
    pictures, named = index([images]), index(labels)
    where = " and ".join(str(folder) for folder in labels)
    names = sorted(pictures.keys() & named.keys())
    if not names:
        raise ValueError(f"No frame of {images} has a label in {where}. Unpack both archives again and keep the names.")
    for what, folder, alone in (
        ("frames without a label", images, sorted(pictures.keys() - named.keys())),
        ("labels without a frame", where, sorted(named.keys() - pictures.keys())),
    ):
        if alone:
            logging.warning("%s: %s, skipped (%d): %s", folder, what, len(alone), first_few(alone))
    if len(names) < official:
        logging.warning("%d of the %d frames of GTEA have a label.", len(names), official)
    frames = []
    for name in names:
        match = _NAME.fullmatch(name)
        frames.append(Frame(pictures[name], named[name], name, match["video"], int(match["number"])))
    return frames


def index(folders: Iterable[epath.Path]) -> dict[str, epath.Path]:
    """Returns the files of frames in some folders, by name without ending. Hidden files and Thumbs.db are ignored.

    Raises:
      ValueError: a folder is missing, or two files are for the same frame.
    """
    files: dict[str, epath.Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} does not exist. Unpack the archive again.")
        others = []
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name == "Thumbs.db":
                continue
            if not _NAME.fullmatch(path.stem):
                others.append(path.name)
            elif path.stem in files:
                raise ValueError(f"{path} and {files[path.stem]} are for the same frame. Remove one of them.")
            else:
                files[path.stem] = path
        if others:
            logging.warning("%s: files that do not belong to GTEA (%d): %s", folder, len(others), first_few(others))
    return files
