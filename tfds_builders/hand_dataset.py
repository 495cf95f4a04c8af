"""What the builders share: where the files come from, what an example holds, and how examples are made.

A builder says which archives its owners publish and how to recognise their unpacked tree; it reads that tree with a module of
its own that knows no TFDS.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError

from tfds_builders import archives

Item = TypeVar("Item")
Example = tuple[str, dict[str, Any]]

# Pictures are compressed already: an honest archive of them unpacks to hardly more than its own size, one of flat masks to
# some tens of times that.
_MAX_RATIO = 200


# eq=False as in the parent: a config is told apart by its name and stays hashable.
@dataclasses.dataclass(eq=False)
class HandConfig(tfds.core.BuilderConfig):
    """One labelling of a dataset.

    Attributes:
      class_names: The classes by id, background first.
      flip_pairs: Pairs of ids that trade places in a mirrored picture.
    """

    class_names: tuple[str, ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()


@dataclasses.dataclass(frozen=True)
class Archive:
    """A file that the owners of a dataset publish.

    Attributes:
      filename: Its name, under which it is looked for in the manual folder.
      url: Where it can be downloaded; empty if nowhere.
      max_bytes: The most that it may unpack to: some times what the true one does.
      max_members: The most files and folders that it may hold, likewise.
      other_names: Names under which people keep it, too.
    """

    filename: str
    url: str
    max_bytes: int
    max_members: int
    other_names: tuple[str, ...] = ()


class HandDataset(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Base of the builders. They set MANUAL_DOWNLOAD_INSTRUCTIONS, VERSION and BUILDER_CONFIGS of HandConfig."""

    _manual_dir_asked_for = False
    _beam_asked_for = False

    def hand_info(
        self, *, homepage: str, shape: tuple[int | None, int | None] = (None, None), video: bool = False
    ) -> tfds.core.DatasetInfo:
        """Features and classes; description and citation come from the files beside the builder.

        Args:
          homepage: Of the dataset.
          shape: Height and width of all pictures; None where they differ.
          video: Whether examples carry `video` and `frame`.
        """
        features = {
            "image": tfds.features.Image(shape=(*shape, 3), encoding_format="jpeg"),
            "mask": tfds.features.Image(shape=(*shape, 1), dtype=np.uint8, encoding_format="png"),
            "id": tfds.features.Text(),
        }
        if video:
            features |= {"video": tfds.features.Text(), "frame": tfds.features.Scalar(np.int32)}
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "mask"),
            homepage=homepage,
            metadata=tfds.core.MetadataDict(
                class_names=list(self.builder_config.class_names),
                flip_pairs=[list(pair) for pair in self.builder_config.flip_pairs],
            ),
        )

    def download_and_prepare(
        self, *, download_config: tfds.download.DownloadConfig | None = None, **kwargs: Any
    ) -> None:
        """As TFDS has it, noting what was asked for: a download manager has a manual folder in any case."""
        self._manual_dir_asked_for = bool(download_config and download_config.manual_dir)
        self._beam_asked_for = bool(download_config and (download_config.beam_options or download_config.beam_runner))
        super().download_and_prepare(download_config=download_config, **kwargs)

    def locate(
        self,
        dl_manager: tfds.download.DownloadManager,
        archive: Archive,
        find: Callable[[epath.Path], epath.Path | None],
        required: bool = True,
    ) -> epath.Path | None:
        """Finds the unpacked tree of an archive: in the manual folder, else in the archive there, else by download.

        Nothing is downloaded if a manual folder was asked for.

        Args:
          dl_manager: TFDS's.
          archive: What to look for.
          find: Returns the tree in a folder (that folder or one below it), or None if it is not there.
          required: Whether to raise an error, rather than to return None, if there is none.

        Returns:
          What `find` found.

        Raises:
          FileNotFoundError, RuntimeError: It is in no such place, or cannot be downloaded; with instructions.
          UnsafeArchiveError: The archive is not whole or not safe to unpack.
        """
        try:
            manual_dir = dl_manager.manual_dir
        except AssertionError:  # TFDS: the folder is missing or empty. It names it, and adds the instructions.
            if self._manual_dir_asked_for:
                raise
        else:
            if tree := find(manual_dir):
                return tree
            for name in (archive.filename, *archive.other_names):
                if (manual_dir / name).is_file():
                    return self._unpack(manual_dir / name, archive, dl_manager.download_dir, find)
            if self._manual_dir_asked_for:
                if not required:
                    return None
                raise FileNotFoundError(
                    f"{manual_dir} has neither {archive.filename} nor what it unpacks to.\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}"
                )
        try:
            if not archive.url:
                raise OSError("no address is known")
            path = dl_manager.download(archive.url)
        except (OSError, ValueError, tfds.download.DownloadError, NonMatchingChecksumError) as error:
            what = f"{archive.filename} could not be downloaded from {archive.url or 'anywhere'} ({error})."
            if not required:
                logging.warning("%s", what)
                return None
            raise RuntimeError(f"{what}\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}") from error
        return self._unpack(path, archive, dl_manager.download_dir, find)

    def make_examples(self, items: Iterable[Item], make: Callable[[Item], Example]) -> Iterator[Example] | Any:
        """The examples of a split: one by one, or as a Beam transform if `tfds build` was given --beam_pipeline_options.

        Args:
          items: What each example is made from: small, such as paths, and picklable.
          make: Makes the key and the example of one; picklable: a function of a module, or a partial of one.
        """
        if not self._beam_asked_for:
            return map(make, items)
        import apache_beam as beam  # slow to import, and an extra

        return beam.Create(list(items)) | beam.Map(make)

    def _unpack(
        self,
        path: epath.Path,
        archive: Archive,
        download_dir: epath.Path,
        find: Callable[[epath.Path], epath.Path | None],
    ) -> epath.Path:
        """Unpacks an archive beside TFDS's downloads, once for all configs, and returns what `find` finds there."""
        about = path.stat()
        into = download_dir / "extracted" / f"{archive.filename}.{about.length}.{int(about.mtime)}"
        if not into.exists():
            limits = {"max_members": archive.max_members, "max_bytes": archive.max_bytes, "max_ratio": _MAX_RATIO}
            try:
                archives.safe_extract(path, into, **limits)
            except archives.UnsafeArchiveError as error:
                raise archives.UnsafeArchiveError(f"{error}\n{self.MANUAL_DOWNLOAD_INSTRUCTIONS}") from error
        if tree := find(into):
            return tree
        inside = ", ".join(sorted(p.name for p in into.iterdir())[:8]) or "nothing"
        raise FileNotFoundError(f"{path} does not hold what {archive.filename} should; it holds {inside}.")
