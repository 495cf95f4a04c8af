"""The base class of the builders: finds the files, defines the features, and generates examples.

A builder lists the archives published by the owners and reads the unpacked files.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from tfds_builders import archives

Item = TypeVar("Item")
Example = tuple[str, dict[str, Any]]

# Pictures hardly compress further; archives of flat masks unpack to about ten times their size. The largest, of PASCAL VOC, has
# 1.3 GB and about 35,000 files.
_LIMITS = {"max_members": 200_000, "max_bytes": 8 << 30, "max_ratio": 200}


# eq=False as in the parent: a config is identified by its name and stays hashable.
@dataclasses.dataclass(eq=False)
class HandConfig(tfds.core.BuilderConfig):
    """One labeling of a dataset.

    Attributes:
      class_names: name of each class id, background first.
      flip_pairs: pairs of class ids that a horizontal flip exchanges.
      classes: class id of each label drawn by the builder.
    """

    class_names: tuple[str, ...] = ("background", "hand")
    flip_pairs: tuple[tuple[int, int], ...] = ()
    classes: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Archive:
    """A file published by the owners of a dataset.

    Attributes:
      filename: file name, which is looked for in the manual folder.
      url: address of the download.
      tree: path of the wanted folder in the archive.
      marker: pattern of a file by which that folder is recognized.
      checksum: `sha256:...` or `md5:...` if it is known but the exact size, which checksums.tsv needs, is not.
    """

    filename: str
    url: str
    tree: str
    marker: str
    checksum: str = ""

    def find(self, folder: epath.Path) -> epath.Path | None:
        """Returns the wanted folder: `tree` in `folder`, an end of `tree` in it, or `folder` itself; None if there is none."""
        parts = self.tree.split("/")
        candidates = (folder.joinpath(*parts[start:]) for start in range(len(parts) + 1))
        return next((path for path in candidates if path.is_dir() and any(path.glob(self.marker))), None)

    def check(self, path: epath.Path) -> None:
        """Raises UnsafeArchiveError if a file does not have the known checksum."""
        if not self.checksum:
            return
        algorithm, expected = self.checksum.split(":")
        with path.open("rb") as file:
            actual = hashlib.file_digest(file, algorithm).hexdigest()
        if actual != expected:
            raise archives.UnsafeArchiveError(
                f"{path} has the {algorithm} {actual}, but the official file has {expected}. Download it again."
            )


class HandDataset(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base class of the builders, which set MANUAL_DOWNLOAD_INSTRUCTIONS, VERSION, BUILDER_CONFIGS and MORE_CONFIGS.

    `tfds build` without --config builds BUILDER_CONFIGS, the one default; MORE_CONFIGS are built by name.
    """

    MORE_CONFIGS: ClassVar[list[HandConfig]] = []
    _manual_dir_given = False
    _beam_given = False

    @tfds.core.utils.classproperty
    @classmethod
    def builder_configs(cls) -> dict[str, HandConfig]:
        """All configs by name."""
        return {config.name: config for config in (*cls.BUILDER_CONFIGS, *cls.MORE_CONFIGS)}

    def hand_info(
        self, *, homepage: str | None, shape: tuple[int | None, int | None] = (None, None), video: bool = False
    ) -> tfds.core.DatasetInfo:
        """Returns features and classes; description and citation are read from the builder's folder.

        Args:
          homepage: page of the owners; None if there is none.
          shape: height and width of all pictures; None if they vary.
          video: whether examples have `video` and `frame`.
        """
        config = self.builder_config
        features = {
            "image": tfds.features.Image(shape=(*shape, 3)),  # the original JPEG, or a PNG
            "mask": tfds.features.LabeledImage(
                labels=list(config.class_names), shape=(*shape, 1), dtype=np.uint8, encoding_format="png"
            ),
            "id": tfds.features.Text(),
        }
        if video:
            features |= {"video": tfds.features.Text(), "frame": tfds.features.Scalar(np.int32)}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "mask"),
            homepage=homepage,
            metadata=tfds.core.MetadataDict(
                class_names=list(config.class_names), flip_pairs=[list(pair) for pair in config.flip_pairs]
            ),
        )

    def download_and_prepare(
        self, *, download_config: tfds.download.DownloadConfig | None = None, **kwargs: Any
    ) -> None:
        """Does the same as in TFDS, and stores whether a manual folder was given: a download manager always has one."""
        self._manual_dir_given = bool(download_config and download_config.manual_dir)
        self._beam_given = bool(download_config and (download_config.beam_options or download_config.beam_runner))
        super().download_and_prepare(download_config=download_config, **kwargs)

    def locate(
        self, dl_manager: tfds.download.DownloadManager, archive: Archive, required: bool = True
    ) -> epath.Path | None:
        """Returns the unpacked files of an archive: from the manual folder, an archive in it, or a download.

        Nothing is downloaded if a manual folder was given.

        Args:
          dl_manager: download manager of TFDS.
          archive: archive to look for.
          required: whether to raise an error, instead of returning None, if it is not found.

        Raises:
          FileNotFoundError, RuntimeError: the archive is not found or cannot be downloaded; the message has instructions.
          UnsafeArchiveError: the archive is incomplete, not the official one, or unsafe to unpack.
        """
        try:
            manual_dir = dl_manager.manual_dir
        except AssertionError:  # TFDS: the folder is missing or empty
            if self._manual_dir_given:
                raise
        else:
            if tree := archive.find(manual_dir):
                return tree
            if (manual_dir / archive.filename).is_file():
                return self._unpack(manual_dir / archive.filename, archive, dl_manager.download_dir)
            if self._manual_dir_given:
                if not required:
                    return None
                raise FileNotFoundError(
                    f"{manual_dir} has neither {archive.filename} nor its contents.\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
                )
        try:
            path = dl_manager.download(archive.url)
            return self._unpack(path, archive, dl_manager.download_dir)
        except (OSError, ValueError, tfds.download.DownloadError, NonMatchingChecksumError) as error:
            if not required:  # servers disappear, or answer with a web page
                logging.warning("%s could not be downloaded from %s (%s).", archive.filename, archive.url, error)
                return None
            if isinstance(error, archives.UnsafeArchiveError):
                raise
            raise RuntimeError(
                f"{archive.filename} could not be downloaded from {archive.url} ({error}).\n"
                f"{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
            ) from error

    def make_examples(self, items: Iterable[Item], make: Callable[[Item], Example]) -> Iterator[Example] | Any:
        """Returns the examples of a split, or a Beam transform if `tfds build` was given --beam_pipeline_options.

        Args:
          items: data from which examples are made: small, such as paths, and picklable.
          make: function that returns key and example of one item; picklable.
        """
        if not self._beam_given:
            return map(make, items)
        import apache_beam as beam  # slow to import, and optional

        return beam.Create(list(items)) | beam.Map(make)

    def _unpack(self, path: epath.Path, archive: Archive, download_dir: epath.Path) -> epath.Path:
        """Unpacks an archive into the download folder of TFDS, once for all configs."""
        about = path.stat()
        into = download_dir / "extracted" / f"{archive.filename}.{about.length}.{int(about.mtime)}"
        if not into.exists():
            try:
                archives.refuse_web_page(path)
                archive.check(path)
                archives.safe_extract(path, into, **_LIMITS)
            except archives.UnsafeArchiveError as error:
                raise archives.UnsafeArchiveError(f"{error}\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}") from error
        if tree := archive.find(into):
            return tree
        raise FileNotFoundError(f"{path} has no {archive.tree}.\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}")
