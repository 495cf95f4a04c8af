"""EgoYouTubeHands (Urooj and Borji, CVPR 2018) as a TFDS data set: frames, masks of the hands, the official lists."""

from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders.eyth import official_tree
from tfds_builders.hand_dataset import Archive, Example, HandConfig, HandDataset
from tfds_builders.pictures import read_binary, read_image

_HOMEPAGE = "https://github.com/aurooj/Hand-Segmentation-in-the-Wild"
_ID = "1EwjJx-V-Gq7NZtfiT6LZPLGXD2HN--qT"
_URL = f"https://drive.google.com/uc?export=download&id={_ID}"
# The official archive has 17 MB and about 2,600 files.
_ARCHIVE = Archive("eyth_dataset.tar.gz", _URL, max_bytes=512 << 20, max_members=10_000)

_INSTRUCTIONS = f"""\
Open https://drive.google.com/file/d/{_ID}/view in a browser and download
{_ARCHIVE.filename} (17 MB; page {_HOMEPAGE}).
Put it into a folder, or unpack it there so that the folder has {official_tree.FOLDER}/ in it, and give that folder as
--manual_dir.
"""


class Builder(HandDataset):
    """DatasetBuilder for EgoYouTubeHands."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        HandConfig(name="hands", description="Background and hand.", class_names=("background", "hand"))
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def _info(self) -> tfds.core.DatasetInfo:
        return self.hand_info(homepage=_HOMEPAGE, video=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Reads all but the pictures first, so that a faulty tree is refused before anything is written."""
        splits = official_tree.read_frames(self.locate(dl_manager, _ARCHIVE, official_tree.find))
        return {split: self._generate_examples(frames) for split, frames in splits.items()}

    def _generate_examples(self, frames: list[official_tree.Frame]) -> Any:
        return self.make_examples(frames, _example)


def _example(frame: official_tree.Frame) -> Example:
    mask, _ = read_binary(frame.mask)
    return frame.name, {
        "image": read_image(frame.image, mask.shape),  # TFDS stores bytes as they are
        "mask": mask[..., np.newaxis],
        "id": frame.name,
        "video": frame.video,
        "frame": frame.number,
    }
