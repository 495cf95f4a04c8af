"""EgoYouTubeHands (Urooj and Borji, CVPR 2018) as a TFDS dataset: frames, masks of hands, and the official lists.

images/<video>/frame<number>.jpg           videos vid4, vid6 and vid9, 384x216
masks/<video>/frame<number>[.png]          black and white; those of vid4 and vid9 have no ending
train-val-test-split/{train,val,test}.txt  one line per frame: vid4/frame25.jpg
"""

import dataclasses
import re
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from tfds_builders.hand_dataset import Archive, Example, HandConfig, HandDataset
from tfds_builders.lists import first_few, raise_faults, read_list
from tfds_builders.pictures import read_binary, read_image

_HOMEPAGE = "https://github.com/aurooj/Hand-Segmentation-in-the-Wild"
_ID = "1EwjJx-V-Gq7NZtfiT6LZPLGXD2HN--qT"
_LISTS = "train-val-test-split"
# 17 MB, about 2,600 files.
_ARCHIVE = Archive(
    "eyth_dataset.tar.gz",
    f"https://drive.google.com/uc?export=download&id={_ID}",
    tree="eyth_dataset",
    marker=_LISTS,
)
# The list of each split, and the official number of frames.
SPLITS = {"train": ("train.txt", 774), "validation": ("val.txt", 258), "test": ("test.txt", 258)}

# Names only, so that no line leads out of the tree. Endings and leading folders vary between lists.
_LINE = re.compile(r"(?:.*/)?(?P<video>\w+)/(?P<stem>[A-Za-z_]*(?P<number>\d{1,9}))(?:\.\w+)?")
# A lossless mask is preferred to a JPEG from an old archive.
_MASK_ENDINGS = (".png", "", ".jpg")


@dataclasses.dataclass(frozen=True)
class Frame:
    """A labeled frame: name, such as vid4/frame25, files and frame number."""

    name: str
    image: epath.Path
    mask: epath.Path
    number: int


class Builder(HandDataset):
    """DatasetBuilder for EgoYouTubeHands."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {"1.1.0": "Masks are a LabeledImage.", "1.0.0": "Initial release."}
    BUILDER_CONFIGS: ClassVar = [HandConfig(name="hands", description="Background and hand.")]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
Open https://drive.google.com/file/d/{_ID}/view in a browser and download
{_ARCHIVE.filename} (17 MB; page {_HOMEPAGE}).
Put it, or the folder eyth_dataset/ from it, into a folder and pass that as --manual_dir.
"""

    def _info(self) -> tfds.core.DatasetInfo:
        return self.hand_info(homepage=_HOMEPAGE, video=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        splits = read_frames(self.locate(dl_manager, _ARCHIVE))
        return {split: self._generate_examples(frames) for split, frames in splits.items()}

    def _generate_examples(self, frames: list[Frame]) -> Any:
        return self.make_examples(frames, _example)


def _example(frame: Frame) -> Example:
    mask = read_binary(frame.mask)
    return frame.name, {
        "image": read_image(frame.image, mask.shape),
        "mask": mask[..., np.newaxis],
        "id": frame.name,
        "video": frame.name.split("/")[0],
        "frame": frame.number,
    }


def read_frames(tree: epath.Path) -> dict[str, list[Frame]]:
    """Reads the lists and finds the files, which are not opened. Harmless irregularities are logged.

    Returns:
      The frames of each of the SPLITS, in the order of its list.

    Raises:
      ValueError: lists are faulty, or lists or listed files are missing; the message has all faults.
    """
    faults, listed = [], {}
    splits = {split: [] for split in SPLITS}
    for split, (filename, _) in SPLITS.items():
        try:
            lines = read_list(tree / _LISTS / filename, _LINE, "vid4/frame25.jpg")
        except ValueError as error:
            faults.append(error)
            continue
        for match in lines:
            name = f"{match['video']}/{match['stem']}"
            image = tree / "images" / f"{name}.jpg"
            mask = next((p for e in _MASK_ENDINGS if (p := tree / "masks" / f"{name}{e}").is_file()), None)
            if name in listed:
                faults.append(f"{filename} and {listed[name]} both name {name}. Remove one of the lines.")
            elif mask is None or not image.is_file():
                what = "image" if mask else "mask"
                faults.append(
                    f"{filename} names {name}, but {tree} has no {what} of it. Unpack it again or remove the line."
                )
            else:
                splits[split].append(Frame(name, image, mask, int(match["number"])))
            listed.setdefault(name, filename)
    raise_faults(f"{tree} cannot be used as EYTH:", faults)
    counts = {split: (len(splits[split]), official) for split, (_, official) in SPLITS.items()}
    if any(count != official for count, official in counts.values()):
        counts = ", ".join(f"{split} {count} of {official}" for split, (count, official) in counts.items())
        logging.warning("%s is not the complete EYTH (%s): scores on it are not comparable.", tree, counts)
    names = {f"{path.parent.name}/{path.stem}" for path in (tree / "images").glob("*/[!.]*.jpg")}
    if unlisted := sorted(names - listed.keys()):
        logging.warning("%s: pictures in no list, skipped (%d): %s", tree, len(unlisted), first_few(unlisted))
    return splits
