"""GTEA (Fathi et al., CVPR 2011) as a TFDS dataset, with the hand masks of hand2K or of the CVPR 2018 paper."""

import functools
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders.gtea import hand2k
from tfds_builders.hand_dataset import Archive, Example, HandConfig, HandDataset
from tfds_builders.pictures import read_binary, read_gray, read_image

_HOMEPAGE = "https://cbs.ic.gatech.edu/fpv/"
# 250 MB, about 5,800 files.
_ARCHIVE = Archive(
    "hand2K_dataset.zip",
    "https://www.dropbox.com/s/k2g06apgx1u8p17/hand2K_dataset.zip?dl=1",
    tree="hand2K_dataset/GTEA",
    marker="Images",
    checksum="sha256:a64c0fcff572414fa964c5b524e989ffe2e0a6023316bf4554a0f3e24d66fb8b",
)
# 665 members, 4.9 MB.
_CROPPED = Archive(
    "gtea_cropped.zip",
    "https://github.com/aurooj/Hand-Segmentation-in-the-Wild/raw/master/data/gtea_cropped.zip",
    tree="gtea_cropped",
    marker="gtea_*_cropped",
)

# Official numbers of frames with a label.
_OFFICIAL = {"wrist": 662, "arm": 663}
_SIZE = 405, 720


class Builder(HandDataset):
    """DatasetBuilder for GTEA."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {"1.1.0": "Masks are a LabeledImage; no config left_right.", "1.0.0": "Initial release."}
    BUILDER_CONFIGS: ClassVar = [
        HandConfig(name="wrist", description="Background and hand down to the wrist: the masks of the CVPR 2018 paper.")
    ]
    MORE_CONFIGS: ClassVar = [
        HandConfig(
            name="arm",
            description="Background and hand with the arm up to the sleeve: the masks of hand2K.",
            class_names=("background", "hand and arm"),
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
Download {_ARCHIVE.url} (250 MB; page {_HOMEPAGE})
and, for the config wrist, {_CROPPED.url} (2.8 MB).
Put {_ARCHIVE.filename} and {_CROPPED.filename}, or the folders GTEA/ and gtea_cropped/ from them, into a folder and pass that
as --manual_dir.
"""

    def _info(self) -> tfds.core.DatasetInfo:
        return self.hand_info(homepage=_HOMEPAGE, shape=_SIZE, video=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        tree, labels = self.locate(dl_manager, _ARCHIVE), ["Masks"]
        folder = tree
        if self.builder_config.name == "wrist":
            folder, labels = self.locate(dl_manager, _CROPPED), hand2k.CROPPED_PARTS
        official = _OFFICIAL[self.builder_config.name]
        frames = hand2k.read_frames(tree / "Images", [folder / part for part in labels], official)
        splits = {split: [frame for frame in frames if frame.split == split] for split in hand2k.SPLITS}
        return {split: self._generate_examples(members) for split, members in splits.items() if members}

    def _generate_examples(self, frames: list[hand2k.Frame]) -> Any:
        return self.make_examples(frames, functools.partial(_example, wrist=self.builder_config.name == "wrist"))


def _example(frame: hand2k.Frame, wrist: bool) -> Example:
    # In masks of hand2K, left, right and their intersection have different gray values, which are not documented.
    mask = read_binary(frame.label, _SIZE) if wrist else (read_gray(frame.label, _SIZE) > 0).astype(np.uint8)
    return frame.name, {
        "image": read_image(frame.image, _SIZE),
        "mask": mask[..., np.newaxis],
        "id": frame.name,
        "video": frame.video,
        "frame": frame.number,
    }
