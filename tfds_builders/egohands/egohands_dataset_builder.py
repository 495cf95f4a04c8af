"""EgoHands (Bambach et al., ICCV 2015) as a TFDS dataset: frames, masks of hands, and the official split by video."""

import functools
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from tfds_builders.egohands import labeled_samples
from tfds_builders.egohands.labeled_samples import Frame
from tfds_builders.hand_dataset import Archive, Example, HandConfig, HandDataset
from tfds_builders.lists import raise_faults
from tfds_builders.pictures import read_image

_HOMEPAGE = "http://vision.soic.indiana.edu/projects/egohands/"
# About 4,900 members, 1.3 GB.
_ARCHIVE = Archive(
    "egohands_data.zip",
    "http://vision.soic.indiana.edu/egohands_files/egohands_data.zip",
    tree=f"egohands_data/{labeled_samples.FOLDER}",
    marker="*/polygons.mat",
)
_SIZE = labeled_samples.HEIGHT, labeled_samples.WIDTH
_SIDES = ("background", "left hand", "right hand")
_OWNERS = ("background", "own left hand", "own right hand", "other left hand", "other right hand")


class Builder(HandDataset):
    """DatasetBuilder for EgoHands."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {"1.1.0": "Masks are a LabeledImage.", "1.0.0": "Initial release."}
    # `classes`: for background, own left, own right, other left, other right hand.
    BUILDER_CONFIGS: ClassVar = [HandConfig(name="hands", description="Background and hand.", classes=(0, 1, 1, 1, 1))]
    MORE_CONFIGS: ClassVar = [
        HandConfig(
            name="left_right",
            description="Left and right hands.",
            class_names=_SIDES,
            flip_pairs=((1, 2),),
            classes=(0, 1, 2, 1, 2),
        ),
        HandConfig(
            name="identities",
            description="Left and right hands of the wearer of the camera and of the other person.",
            class_names=_OWNERS,
            flip_pairs=((1, 2), (3, 4)),
            classes=(0, 1, 2, 3, 4),
        ),
        HandConfig(
            name="hands_available",
            description="Background and hand, from the available videos.",
            classes=(0, 1, 1, 1, 1),
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
Download {_ARCHIVE.url} (1.3 GB; page {_HOMEPAGE}).
If that server is down, look for a copy at https://web.archive.org/web/2024/{_ARCHIVE.url}
Put {_ARCHIVE.filename}, or the folder {labeled_samples.FOLDER}/ from it, into a folder and pass that as --manual_dir.
"""

    def _info(self) -> tfds.core.DatasetInfo:
        return self.hand_info(homepage=_HOMEPAGE, shape=_SIZE, video=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Reads everything except pictures first, so that faulty files are rejected before anything is written."""
        videos = self._read_videos(self.locate(dl_manager, _ARCHIVE))
        return {
            split: self._generate_examples([frame for name in names for frame in videos.get(name, [])])
            for split, names in labeled_samples.SPLITS.items()
            if any(name in videos for name in names)
        }

    def _read_videos(self, samples: epath.Path) -> dict[str, list[Frame]]:
        """Reads all videos without their pictures; raises one ValueError for all faults."""
        partial = self.builder_config.name.endswith("_available")
        missing = [video for video in labeled_samples.VIDEOS if not (samples / video).is_dir()]
        videos, faults = {}, []
        for name in sorted({*labeled_samples.VIDEOS} - {*missing}):
            try:
                videos[name] = labeled_samples.read_video(samples / name)
            except ValueError as error:
                faults.append(error)
                continue
            if len(videos[name]) != (whole := labeled_samples.FRAMES_PER_VIDEO) and not partial:
                faults.append(f"{samples / name} has {len(videos[name])} frames; the official video has {whole}.")
        total = len(labeled_samples.VIDEOS)
        lacks = f"{len(missing)} of the {total} videos are missing: {' '.join(missing)}"
        if missing and (not partial or len(missing) == total):
            faults.append(f"{lacks}. To build from the available videos, pass --config=hands_available.")
        raise_faults(f"{samples} is not the complete EgoHands:", faults)
        if missing:
            logging.warning("%s: %s", samples, lacks)
        return videos

    def _generate_examples(self, frames: list[Frame]) -> Any:
        return self.make_examples(frames, functools.partial(_example, classes=self.builder_config.classes))


def _example(frame: Frame, classes: tuple[int, ...]) -> Example:
    video = frame.path.parent.name
    key = f"{video}/{frame.path.stem}"
    return key, {
        "image": read_image(frame.path, _SIZE),
        "mask": np.asarray(classes, np.uint8)[labeled_samples.draw_identities(frame.polygons)][..., np.newaxis],
        "id": key,
        "video": video,
        "frame": frame.number,
    }
