"""EgoHands (Bambach et al., ICCV 2015) as a TFDS data set: frames, masks of the hands, the official split by video."""

import dataclasses
import functools
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from tfds_builders.egohands import labelled_samples
from tfds_builders.hand_dataset import Archive, Example, HandConfig, HandDataset

_HOMEPAGE = "http://vision.soic.indiana.edu/projects/egohands/"
_URL = "http://vision.soic.indiana.edu/egohands_files/egohands_data.zip"
# The official zip lists about 4,900 members and unpacks to 1.3 GB.
_ARCHIVE = Archive("egohands_data.zip", _URL, max_bytes=4 << 30, max_members=10_000)

_INSTRUCTIONS = f"""\
Get {_URL} (1.3 GB; page {_HOMEPAGE}).
Should that server be gone, look for a copy at https://web.archive.org/web/2024/{_URL}
Put {_ARCHIVE.filename} into a folder, or unpack it there so that the folder has {labelled_samples.FOLDER}/ in it, and give
that folder as --manual_dir.
"""


# eq=False as in the parent: a config is told apart by its name and stays hashable.
@dataclasses.dataclass(eq=False)
class EgoHandsConfig(HandConfig):
    """What the hands are told apart by.

    Attributes:
      classes: The class of background, own left, own right, other left, other right hand.
      available: Whether to build from the videos that are there, rather than to refuse a tree with some missing.
    """

    classes: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    available: bool = False


def _configs(**kwargs: Any) -> list[EgoHandsConfig]:
    """The three labellings, with what `kwargs` adds."""
    return [
        EgoHandsConfig(
            name="hands",
            description="Background and hand.",
            class_names=("background", "hand"),
            classes=(0, 1, 1, 1, 1),
            **kwargs,
        ),
        EgoHandsConfig(
            name="left_right",
            description="Left and right hands.",
            class_names=("background", "left hand", "right hand"),
            flip_pairs=((1, 2),),
            classes=(0, 1, 2, 1, 2),
            **kwargs,
        ),
        EgoHandsConfig(
            name="identities",
            description="Left and right hands of the wearer of the camera and of the other person.",
            class_names=("background", "own left hand", "own right hand", "other left hand", "other right hand"),
            flip_pairs=((1, 2), (3, 4)),
            classes=(0, 1, 2, 3, 4),
            **kwargs,
        ),
    ]


def _available_configs() -> list[EgoHandsConfig]:
    """The same three for a tree that lacks some of the videos."""
    configs = _configs(available=True)
    for config in configs:
        config.name += "_available"
        config.description += " Only from the videos that are there."
    return configs


class Builder(HandDataset):
    """DatasetBuilder for EgoHands."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012
    BUILDER_CONFIGS = _configs() + _available_configs()
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def _info(self) -> tfds.core.DatasetInfo:
        return self.hand_info(homepage=_HOMEPAGE, shape=(labelled_samples.HEIGHT, labelled_samples.WIDTH), video=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Reads all but the pictures first, so that a faulty tree is refused before anything is written."""
        videos = self._read_videos(self.locate(dl_manager, _ARCHIVE, labelled_samples.find))
        return {
            split: self._generate_examples([videos[name] for name in names if name in videos])
            for split, names in labelled_samples.SPLITS.items()
            if any(name in videos for name in names)
        }

    def _read_videos(self, samples: epath.Path) -> dict[str, list[labelled_samples.Frame]]:
        """Reads all videos but their pictures, and reports all faults at once.

        Raises:
          ValueError: Videos are missing (the `_available` configs allow it, as long as one is there) or not whole.
        """
        missing = labelled_samples.missing_videos(samples)
        videos, faults = {}, []
        for name in sorted(set(labelled_samples.VIDEOS) - set(missing)):
            try:
                videos[name] = labelled_samples.read_video(samples / name)
            except ValueError as error:
                faults.append(str(error))
                continue
            count, whole = len(videos[name]), labelled_samples.FRAMES_PER_VIDEO
            if count != whole and not self.builder_config.available:
                faults.append(f"{samples / name} has {count} frames; the official video has {whole}.")
        total = len(labelled_samples.VIDEOS)
        if missing and (not self.builder_config.available or len(missing) == total):
            faults.append(f"{len(missing)} of the {total} videos are missing: {' '.join(missing)}")
            strangers = sorted({p.name for p in samples.iterdir() if p.is_dir()} - set(labelled_samples.VIDEOS))
            if strangers:
                faults.append(f"Folders that are no video of EgoHands: {' '.join(strangers)}")
            if len(missing) < total:
                faults.append(f"To build from the others, ask for --config={self.builder_config.name}_available")
        if faults:
            raise ValueError("\n".join([f"{samples} is not all of EgoHands:", *faults]))
        if missing:
            logging.warning("%s lacks %d of %d videos: %s", samples, len(missing), total, " ".join(missing))
        return videos

    def _generate_examples(self, videos: list[list[labelled_samples.Frame]]) -> Any:
        make = functools.partial(_example, classes=self.builder_config.classes)
        return self.make_examples([frame for video in videos for frame in video], make)


def _example(frame: labelled_samples.Frame, classes: tuple[int, ...]) -> Example:
    video = frame.path.parent.name
    key = f"{video}/{frame.path.stem}"
    return key, {
        "image": labelled_samples.read_jpeg(frame.path),  # TFDS stores bytes as they are
        "mask": np.asarray(classes, np.uint8)[labelled_samples.draw_identities(frame.polygons)][..., np.newaxis],
        "id": key,
        "video": video,
        "frame": frame.number,
    }
