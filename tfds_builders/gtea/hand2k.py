"""GTEA as hand2K ships it: its frames, the labels that belong to them by name, and the splits.

The layout; the last folder is an archive of its own, the masks of the CVPR 2018 paper (Urooj and Borji, section 3.1.3):

    GTEA/Images/<name>.jpg                                  663 frames, 720x405
    GTEA/Masks/<name>.png                                   hands and arms up to the sleeve
    GTEA/Annotations/<name>.xml                             LabelMe outlines of the same, left and right
    gtea_cropped/gtea_{train,test}_cropped/<name>.jpg       662 masks of the hands down to the wrist

A name is s<subject>_<activity>_<number of the frame, ten digits>. What else hand2K holds (GTEA_GAZE_PLUS, oldImages,
oldMasks) is another dataset or superseded, and not read.
"""

import dataclasses
import re
from collections.abc import Iterable

from absl import logging
from etils import epath

from tfds_builders.messages import first_few

CROPPED_PARTS = ("gtea_train_cropped", "gtea_test_cropped")

# Subject 2 is the test set, as in the paper. Of the others' frames the paper took 367 to train and 92 to validate, in lists
# that are not published. The frames of a video look alike, so whole videos are held out: these have 92 frames with a wrist
# mask, are of all three subjects and of four activities, which are all in the training set too, and have as much hand in
# the picture as the rest (5.3 %). Neither of the videos is among them of which hand2K may have one frame more.
TEST_SUBJECT = "s2"
VALIDATION_VIDEOS = ("s1_cheese", "s3_hotdog", "s4_coffee", "s4_cofhoney")
SPLITS = ("train", "validation", "test")

_NAME = re.compile(r"(?P<video>(?P<subject>s[1-4])_[a-z]+)_(?P<number>\d{10})")
_MAX_NUMBER = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class Frame:
    """One labelled frame.

    Attributes:
      image: The picture.
      label: Its mask or outlines, whichever are asked for.
      name: Such as s1_cheese_0000000020.
      video: Such as s1_cheese.
      number: Of the frame in the video.
    """

    image: epath.Path
    label: epath.Path
    name: str
    video: str
    number: int

    @property
    def split(self) -> str:
        """One of SPLITS."""
        if self.video.startswith(f"{TEST_SUBJECT}_"):
            return "test"
        return "validation" if self.video in VALIDATION_VIDEOS else "train"


def read_frames(images: epath.Path, labels: Iterable[epath.Path], official: int) -> list[Frame]:
    """Joins frames and labels by name; no file is opened. What does not join is logged.

    Args:
      images: The folder of the frames.
      labels: The folders of the labels.
      official: How many frames the whole dataset has with these labels.

    Returns:
      The frames that have a label, by name.

    Raises:
      ValueError: A folder is missing, two files are for the same frame, or no frame has a label.
    """
    labels = [*labels]
    pictures, named = index([images]), index(labels)
    where = " and ".join(str(folder) for folder in labels)
    names = sorted(pictures.keys() & named.keys())
    if not names:
        raise ValueError(
            f"No frame of {images} has a label in {where}. Frames there: {first_few(sorted(pictures)) or 'none'}. Labels there:"
            f" {first_few(sorted(named)) or 'none'}. Unpack both archives again; names must stay as they are."
        )
    for what, folder, alone in (
        ("frames without a label", images, sorted(pictures.keys() - named.keys())),
        ("labels without a frame", where, sorted(named.keys() - pictures.keys())),
    ):
        if alone:
            logging.warning("%s: %s, skipped (%d): %s", folder, what, len(alone), first_few(alone))
    if len(names) < official:
        logging.warning("%d of the %d frames of GTEA are there with their label.", len(names), official)
    frames = []
    for name in names:
        match = _NAME.fullmatch(name)
        frames.append(Frame(pictures[name], named[name], name, match["video"], int(match["number"])))
    return frames


def index(folders: Iterable[epath.Path]) -> dict[str, epath.Path]:
    """The files of frames in some folders, by name without ending. Hidden files and Thumbs.db never matter.

    Raises:
      ValueError: A folder is missing, or two files are for the same frame.
    """
    files: dict[str, epath.Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ValueError(f"{folder} is not there. Unpack the archive again.")
        others = []
        for path in sorted(folder.iterdir()):
            if path.name.startswith(".") or path.name == "Thumbs.db":
                continue
            match = _NAME.fullmatch(path.stem)
            if not match or path.suffix.lower() not in (".jpg", ".png", ".xml") or int(match["number"]) > _MAX_NUMBER:
                others.append(path.name)
            elif path.stem in files:
                raise ValueError(f"{path} and {files[path.stem]} are for the same frame. Take one of them out.")
            else:
                files[path.stem] = path
        if others:
            logging.warning("%s: files that do not belong to GTEA (%d): %s", folder, len(others), first_few(others))
    return files
