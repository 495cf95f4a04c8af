"""EgoHands (Bambach et al., ICCV 2015) as a TFDS data set: frames, masks of the hands, the official split by video."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath

from tfds_builders import archives
from tfds_builders.egohands import labelled_samples

_HOMEPAGE = "http://vision.soic.indiana.edu/projects/egohands/"
_URL = "http://vision.soic.indiana.edu/egohands_files/egohands_data.zip"
_ZIP = "egohands_data.zip"
# The official zip lists about 4,900 members and unpacks to 1.3 GB, hardly more than its own size.
_ZIP_LIMITS = {"max_members": 10_000, "max_bytes": 4 << 30, "max_ratio": 100}

_INSTRUCTIONS = f"""\
Get {_URL} (1.3 GB; page {_HOMEPAGE}).
Should that server be gone, look for a copy at https://web.archive.org/web/2024/{_URL}
Put {_ZIP} into a folder, or unpack it there so that the folder has {labelled_samples.FOLDER}/ in it, and give
that folder as --manual_dir.
"""


# eq=False as in the parent: a config is told apart by its name and stays hashable.
@dataclasses.dataclass(eq=False)
class EgoHandsConfig(tfds.core.BuilderConfig):
    """What the hands are told apart by.

    Attributes:
      class_names: The classes by id.
      flip_pairs: Pairs of ids that trade places in a mirrored picture.
      classes: The class of background, own left, own right, other left, other right hand.
      available: Whether to build from the videos that are there, rather than to refuse a tree with some missing.
    """

    class_names: tuple[str, ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()
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


class Builder(tfds.core.GeneratorBasedBuilder):
    """DatasetBuilder for EgoHands."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012
    BUILDER_CONFIGS = _configs() + _available_configs()
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    _manual_dir_asked_for = False

    def _info(self) -> tfds.core.DatasetInfo:
        """Features and classes; description and citation come from the files beside this one."""
        shape = (labelled_samples.HEIGHT, labelled_samples.WIDTH)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(*shape, 3), encoding_format="jpeg"),
                    "mask": tfds.features.Image(shape=(*shape, 1), dtype=np.uint8, encoding_format="png"),
                    "id": tfds.features.Text(),
                    "video": tfds.features.Text(),
                    "frame": tfds.features.Scalar(np.int32),
                }
            ),
            supervised_keys=("image", "mask"),
            homepage=_HOMEPAGE,
            metadata=tfds.core.MetadataDict(
                class_names=list(self.builder_config.class_names),
                flip_pairs=[list(pair) for pair in self.builder_config.flip_pairs],
            ),
        )

    def download_and_prepare(
        self, *, download_config: tfds.download.DownloadConfig | None = None, **kwargs: Any
    ) -> None:
        """As TFDS has it, noting whether a manual_dir was given: a download manager has one in any case."""
        self._manual_dir_asked_for = bool(download_config and download_config.manual_dir)
        super().download_and_prepare(download_config=download_config, **kwargs)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator[tuple[str, Any]]]:
        """Reads all but the pictures first, so that a faulty tree is refused before anything is written."""
        samples = self._find_samples(dl_manager)
        videos = self._read_videos(samples)
        return {
            split: self._generate_examples([videos[name] for name in names if name in videos])
            for split, names in labelled_samples.SPLITS.items()
            if any(name in videos for name in names)
        }

    def _find_samples(self, dl_manager: tfds.download.DownloadManager) -> epath.Path:
        """Takes the tree from the manual folder, else the zip from there, else downloads the zip."""
        try:
            manual_dir = dl_manager.manual_dir
        except AssertionError:  # TFDS: the folder is missing or empty. It names it, and adds the instructions.
            if self._manual_dir_asked_for:
                raise
        else:
            if samples := labelled_samples.find(manual_dir):
                return samples
            if (manual_dir / _ZIP).exists():
                return _unpack(manual_dir / _ZIP, dl_manager.download_dir)
            if self._manual_dir_asked_for:
                raise FileNotFoundError(
                    f"{manual_dir} has neither {labelled_samples.FOLDER}/ nor egohands_data/{labelled_samples.FOLDER}/ "
                    f"nor {_ZIP}.\n{_INSTRUCTIONS}"
                )
        try:
            archive = dl_manager.download(_URL)
        except (OSError, tfds.download.DownloadError) as error:
            raise RuntimeError(f"{_URL} could not be downloaded ({error}).\n{_INSTRUCTIONS}") from error
        return _unpack(archive, dl_manager.download_dir)

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

    def _generate_examples(self, videos: list[list[labelled_samples.Frame]]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yields frame by frame; one picture is in memory at a time."""
        classes = np.asarray(self.builder_config.classes, np.uint8)
        for frame in (frame for video in videos for frame in video):
            video = frame.path.parent.name
            key = f"{video}/{frame.path.stem}"
            example = {
                "image": labelled_samples.read_jpeg(frame.path),  # TFDS stores bytes as they are
                "mask": classes[labelled_samples.draw_identities(frame.polygons)][..., np.newaxis],
                "id": key,
                "video": video,
                "frame": frame.number,
            }
            yield key, example


def _unpack(archive: epath.Path, download_dir: epath.Path) -> epath.Path:
    """Unpacks the zip beside TFDS's downloads, once for all configs, and returns its `_LABELLED_SAMPLES`."""
    about = archive.stat()
    into = download_dir / "extracted" / f"egohands_data.{about.length}.{int(about.mtime)}"
    if not into.exists():
        archives.safe_extract(archive, into, **_ZIP_LIMITS)
    samples = labelled_samples.find(into)
    if samples is None:
        raise FileNotFoundError(f"{archive} has no {labelled_samples.FOLDER}/ in it: it is not the zip of EgoHands.")
    return samples
