"""The official EYTH tree: its three lists, the pictures they name, and their masks.

The layout (Urooj and Borji, "Analysis of Hand Segmentation in the Wild", CVPR 2018):

    eyth_dataset/
      images/<video>/frame<number>.jpg           videos vid4, vid6 and vid9, 384x216
      masks/<video>/frame<number>[.png]          black and white; those of vid4 and vid9 have no ending
      train-val-test-split/{train,val,test}.txt  a line for each frame: vid4/frame25.jpg

Nothing here knows TFDS.
"""

import dataclasses
import re
from collections.abc import Iterator

from absl import logging
from etils import epath

from refinenet_jax.data.examples import first_few
from tfds_builders.pictures import read_binary

FOLDER = "eyth_dataset"
# The list of each split, and how many frames the official one names.
SPLITS = {"train": ("train.txt", 774), "validation": ("val.txt", 258), "test": ("test.txt", 258)}

_LISTS = "train-val-test-split"
# Names only, so that no line leads out of the tree. Ending and leading folders vary with who wrote the list.
_LINE = re.compile(r"(?:.*/)?(?P<video>\w+)/(?P<stem>[A-Za-z_]*(?P<number>\d{1,9}))(?:\.\w+)?")
_PICTURES = (".jpg", ".jpeg", ".png")
# A mask saved anew without loss goes before the JPEG of an old archive.
_MASKS = (".png", "", ".jpg")

_AGAIN = "Unpack the archive again."
_OR_LESS = "Unpack the archive again, or take the line out to build from the others."


@dataclasses.dataclass(frozen=True)
class Frame:
    """One labelled frame.

    Attributes:
      image: The picture.
      mask: Its mask.
      video: Such as vid4.
      number: Of the frame, from its name.
    """

    image: epath.Path
    mask: epath.Path
    video: str
    number: int

    @property
    def name(self) -> str:
        """Such as vid4/frame25."""
        return f"{self.video}/{self.image.stem}"


def find(folder: epath.Path) -> epath.Path | None:
    """Finds the tree: the folder itself, if it has the lists, or `eyth_dataset/` in it."""
    if (folder / _LISTS).is_dir():
        return folder
    return folder / FOLDER if (folder / FOLDER).is_dir() else None


def read_frames(tree: epath.Path) -> dict[str, list[Frame]]:
    """Reads the lists, finds the files and reads the masks; no picture is opened. What is odd but usable is logged.

    Returns:
      The frames of each of the SPLITS, in the order of its list.

    Raises:
      ValueError: The lists, the files they name, or masks are missing or faulty; all faults at once.
    """
    faults: list[str] = []
    pictures = _index(tree / "images", faults)
    listed: dict[str, str] = {}
    splits = {split: _read_split(tree, filename, pictures, listed, faults) for split, (filename, _) in SPLITS.items()}
    soft = []
    for frame in (frame for frames in splits.values() for frame in frames):
        try:
            if read_binary(frame.mask)[1]:
                soft.append(frame.name)
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise ValueError(first_few([f"{tree} cannot be used as EYTH:", *faults], 21, "\n"))
    _log_oddities(tree, splits, sorted(pictures.keys() - listed.keys()), soft)
    return splits


def _index(images: epath.Path, faults: list[str]) -> dict[str, epath.Path]:
    """The pictures by name, such as vid4/frame25."""
    pictures: dict[str, epath.Path] = {}
    for path in sorted(images.glob("*/*")):
        hidden = path.name.startswith(".") or path.parent.name.startswith(".")
        if path.suffix.lower() in _PICTURES and not hidden:
            other = pictures.setdefault(f"{path.parent.name}/{path.stem}", path)
            if other != path:
                faults.append(f"{path} and {other.name} are both the same frame. Take one of them out.")
    return pictures


def _read_split(
    tree: epath.Path, filename: str, pictures: dict[str, epath.Path], listed: dict[str, str], faults: list[str]
) -> list[Frame]:
    """The frames that a list names. Notes in `listed` which list each name was in first, and in `faults` what is wrong."""
    frames = []
    try:
        lines = [*_read_list(tree / _LISTS / filename)]
    except ValueError as error:
        faults.append(str(error))
        return []
    for video, stem, number in lines:
        name = f"{video}/{stem}"
        mask = next((p for ending in _MASKS if (p := tree / "masks" / video / f"{stem}{ending}").is_file()), None)
        before = listed.get(name)
        listed.setdefault(name, filename)
        if before == filename:
            faults.append(f"{filename} names {name} twice. Take one line out.")
        elif before:
            faults.append(f"{filename} names {name}, and so does {before}: splits share no frame. Take one line out.")
        elif name not in pictures:
            faults.append(f"{filename} names {name}, which is not in {tree / 'images'}. {_OR_LESS}")
        elif mask is None:
            faults.append(f"{filename} names {name}, of which {tree / 'masks'} has no mask. {_OR_LESS}")
        else:
            frames.append(Frame(pictures[name], mask, video, number))
    return frames


def _read_list(path: epath.Path) -> Iterator[tuple[str, str, int]]:
    """Yields video, name without ending, and number of each frame."""
    if not path.is_file():
        raise ValueError(f"{path} is not there: without it nobody knows the split. {_AGAIN}")
    try:
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text ({error.reason} at byte {error.start}). {_AGAIN}") from error
    lines = {number: line.strip().replace("\\", "/") for number, line in enumerate(lines, 1) if line.strip()}
    if not lines:
        raise ValueError(f"{path} names no frame. {_AGAIN}")
    for number, line in lines.items():
        match = _LINE.fullmatch(line)
        if not match:
            raise ValueError(f"{path}, line {number}: {line[:60]!r} is no frame such as vid4/frame25.jpg. {_AGAIN}")
        yield match["video"], match["stem"], int(match["number"])


def _log_oddities(tree: epath.Path, splits: dict[str, list[Frame]], unlisted: list[str], soft: list[str]) -> None:
    counts = {split: (len(splits[split]), official) for split, (_, official) in SPLITS.items()}
    if any(found != official for found, official in counts.values()):
        logging.warning(
            "%s is not the whole of EYTH: its lists name %d frames, the official ones %d (%s). What is built from it has no"
            " scores to compare with.",
            *(tree, *(sum(column) for column in zip(*counts.values(), strict=True))),
            ", ".join(f"{split} {found} of {official}" for split, (found, official) in counts.items()),
        )
    if unlisted:
        logging.warning("%s: pictures in no list, left out (%d): %s", tree, len(unlisted), first_few(unlisted, 10))
    if soft:
        logging.warning(
            "%s: masks with grey between black and white, as JPEG leaves it (archives from before 2018-08-23 have such), cut"
            " at 128 (%d): %s",
            *(tree, len(soft), first_few(soft, 10)),
        )
