"""The base class of the builders: where the files come from, what an example holds, and how examples are made.

A builder lists the archives that the owners publish and reads the unpacked files.
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

# Pictures are compressed already: their archives unpack to hardly more than their size, those of flat masks to some ten times.
_MAX_RATIO = 200


# eq=False as in the parent: a config is identified by its name and stays hashable.
@dataclasses.dataclass(eq=False)
class HandConfig(tfds.core.BuilderConfig):
    """One labeling of a dataset.

    Attributes:
      class_names: name of each class id, background first.
      flip_pairs: pairs of class ids that a left-right flip exchanges.
      classes: class id of each label that the builder draws.
    """

    class_names: tuple[str, ...] = ("background", "hand")
    flip_pairs: tuple[tuple[int, int], ...] = ()
    classes: tuple[int | None, ...] = ()


@dataclasses.dataclass(frozen=True)
class Archive:
    """A file that the owners of a dataset publish.

    Attributes:
      filename: its name, under which it is looked for in the manual folder.
      url: where it is downloaded.
      tree: path of the wanted folder in the archive.
      marker: pattern of something in that folder, by which it is recognized.
      max_bytes: limit on the size of the unpacked files, several times the true size.
      max_members: limit on the number of files and folders.
      checksum: `sha256:...` or `md5:...` if it is known, but not the size to the byte that checksums.tsv needs.
    """

    filename: str
    url: str
    tree: str
    marker: str
    max_bytes: int
    max_members: int
    checksum: str = ""

    def find(self, folder: epath.Path) -> epath.Path | None:
        """Returns the wanted folder: `tree` in `folder`, the end of `tree` in it, or `folder` itself; None if there is none."""
        parts = self.tree.split("/")
        candidates = (folder.joinpath(*parts[start:]) for start in range(len(parts) + 1))
        return next((path for path in candidates if path.is_dir() and any(path.glob(self.marker))), None)

    def check(self, path: epath.Path) -> None:
        """Raises UnsafeArchiveError unless a file has the known checksum."""
        if not self.checksum:
            return
        algorithm, expected = self.checksum.split(":")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if found != expected:
            raise archives.UnsafeArchiveError(
                f"{path} has the {algorithm} {found}, but the official file has {expected}."
            )


class HandDataset(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the builders, which set MANUAL_DOWNLOAD_INSTRUCTIONS, VERSION, BUILDER_CONFIGS and MORE_CONFIGS.

    `tfds build` without --config builds BUILDER_CONFIGS, the one default; those of MORE_CONFIGS are built by name.
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
        """Returns features and classes; description and citation come from the files in the builder's folder.

        Args:
          homepage: page of the owners; None if there is none.
          shape: height and width of all pictures; None where they differ.
          video: whether examples have `video` and `frame`.
        """
        config = self.builder_config
        features = {
            "image": tfds.features.Image(shape=(*shape, 3)),  # the owners' JPEG, or a PNG
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
        """As in TFDS; notes what was given, because a download manager always has a manual folder."""
        self._manual_dir_given = bool(download_config and download_config.manual_dir)
        self._beam_given = bool(download_config and (download_config.beam_options or download_config.beam_runner))
        super().download_and_prepare(download_config=download_config, **kwargs)

    def locate(
        self, dl_manager: tfds.download.DownloadManager, archive: Archive, required: bool = True
    ) -> epath.Path | None:
        """Finds the unpacked files of an archive: in the manual folder, in the archive there, or by download.

        Nothing is downloaded if a manual folder was given.

        Args:
          dl_manager: of TFDS.
          archive: what to look for.
          required: whether to raise an error, instead of returning None, if it is nowhere.

        Raises:
          FileNotFoundError, RuntimeError: it is nowhere, or cannot be downloaded; with instructions.
          UnsafeArchiveError: the archive is not whole, not the official one, or not safe to unpack.
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
                    f"{manual_dir} has neither {archive.filename} nor what it unpacks to.\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
                )
        try:
            path = dl_manager.download(archive.url)
            return self._unpack(path, archive, dl_manager.download_dir)
        except (OSError, ValueError, tfds.download.DownloadError, NonMatchingChecksumError) as error:
            if not required:  # servers go, or answer with a page
                logging.warning("%s could not be had from %s (%s).", archive.filename, archive.url, error)
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
          items: what the examples are made from: small, such as paths, and picklable.
          make: returns key and example of one item; picklable.
        """
        if not self._beam_given:
            return map(make, items)
        import apache_beam as beam  # slow to import, and an extra

        return beam.Create(list(items)) | beam.Map(make)

    def _unpack(self, path: epath.Path, archive: Archive, download_dir: epath.Path) -> epath.Path:
        """Unpacks an archive into the folder of TFDS's downloads, once for all configs."""
        about = path.stat()
        into = download_dir / "extracted" / f"{archive.filename}.{about.length}.{int(about.mtime)}"
        if not into.exists():
            limits = {"max_members": archive.max_members, "max_bytes": archive.max_bytes, "max_ratio": _MAX_RATIO}
            try:
                archives.refuse_web_page(path)
                archive.check(path)
                archives.safe_extract(path, into, **limits)
            except archives.UnsafeArchiveError as error:
                raise archives.UnsafeArchiveError(f"{error}\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}") from error
        if tree := archive.find(into):
            return tree
        inside = ", ".join(sorted(p.name for p in into.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(
            f"{path} has no {archive.tree}; it holds {inside}.\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
        )
