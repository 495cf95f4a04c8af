"""PASCAL Person-Part (Chen et al., CVPR 2014 and 2016) as a TFDS data set: photographs, and masks of parts of persons."""

import concurrent.futures
import dataclasses
import functools
import io
import itertools
import os
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath
from PIL import Image
from tqdm import tqdm

from tfds_builders.archives import UnsafeArchiveError
from tfds_builders.hand_dataset import Archive, Example, HandConfig, HandDataset
from tfds_builders.person_parts import official_tree, pascal_part
from tfds_builders.person_parts.pascal_part import VOID
from tfds_builders.pictures import read_image

_HOMEPAGE = "http://liangchiehchen.com/projects/DeepLab.html"
# 3,533 masks and some lists.
_PERSON_PART = Archive(
    "pascal_person_part.zip",
    "http://www.liangchiehchen.com/data/pascal_person_part.zip",
    max_bytes=1 << 30,
    max_members=20_000,
)
# 10,103 annotations, of some 20 KB each, with MATLAB code and examples.
_PASCAL_PART = Archive(
    "trainval.tar.gz",
    "http://www.stat.ucla.edu/~xianjie.chen/pascal_part_dataset/trainval.tar.gz",
    max_bytes=4 << 30,
    max_members=50_000,
    other_names=("pascal_part.tar.gz",),
)
_MIRROR = dataclasses.replace(_PASCAL_PART, url="https://www.cs.stanford.edu/~roozbeh/pascal-parts/trainval.tar.gz")
# 1.3 GB; about 35,000 pictures, lists and annotations.
_VOC = Archive(
    "VOCtrainval_03-May-2010.tar",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar",
    max_bytes=8 << 30,
    max_members=200_000,
)

# Each holds an annotation in memory, which may take 256 MiB if it is not what it should be.
_THREADS = min(os.cpu_count() or 1, 8)

_INSTRUCTIONS = f"""\
Get the pictures (1.3 GB): {_VOC.url}
for config `parts`, and for the split in all configs, the masks of Chen et al.: {_PERSON_PART.url}
for configs `hands` and `lower_arms` (and `parts`, if those masks cannot be had) PASCAL-Part, from one of
  {_PASCAL_PART.url}
  {_MIRROR.url}
  http://roozbehm.info/pascal-parts/pascal-parts.html
  https://academictorrents.com/details/f86670296bff85bcdffea6c4fc2e791446f9fb5e
Put {_VOC.filename}, {_PERSON_PART.filename} and {_PASCAL_PART.filename} into one folder, or
unpack them there so that it has VOCdevkit/, pascal_person_part/ and {official_tree.ANNOTATIONS}/ in it, and give that folder
as --manual_dir.
"""


# eq=False as in the parent: a config is told apart by its name and stays hashable.
@dataclasses.dataclass(eq=False)
class PersonPartsConfig(HandConfig):
    """Which parts are told apart.

    Attributes:
      classes: The class of background, head, torso, upper arms, lower arms, upper legs, lower legs, hands.
    """

    classes: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Item:
    """A picture and its mask as PNG: drawn once, with the choice of pictures, for that takes minutes."""

    picture: epath.Path
    mask: bytes


class Builder(HandDataset):
    """DatasetBuilder for PASCAL Person-Part."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        PersonPartsConfig(
            name="parts",
            description="Background and six parts of persons; hands belong to the lower arms.",
            class_names=pascal_part.CLASS_NAMES,
            classes=(0, 1, 2, 3, 4, 5, 6, 4),
        ),
        PersonPartsConfig(
            name="hands",
            description="Background and hand.",
            class_names=("background", "hand"),
            classes=(0, 0, 0, 0, 0, 0, 0, 1),
        ),
        PersonPartsConfig(
            name="lower_arms",
            description="Background and lower arm with its hand.",
            class_names=("background", "lower arm"),
            classes=(0, 0, 0, 0, 1, 0, 0, 1),
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def _info(self) -> tfds.core.DatasetInfo:
        return self.hand_info(homepage=_HOMEPAGE)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Draws all masks first, so that faulty annotations are refused before anything is written."""
        person_part = self._locate(dl_manager, _PERSON_PART, official_tree.find_person_part, required=False)
        splits = official_tree.read_lists(person_part / official_tree.LISTS) if person_part else None
        if person_part and self.builder_config.name == "parts":
            folder, ending, draw = person_part / official_tree.MASKS, ".png", _draw_png
        else:
            folder, ending = self._locate_annotations(dl_manager), ".mat"
            draw = functools.partial(_draw_mat, classes=self.builder_config.classes, listed=splits is not None)
        voc = self._locate(dl_manager, _VOC, official_tree.find_voc)

        annotations = official_tree.list_files(folder, ending)
        pictures = official_tree.list_files(voc / official_tree.PICTURES, ".jpg")
        ids = sorted(itertools.chain(*splits.values())) if splits else [*annotations]
        official_tree.check_all_there(ids, annotations, folder, "annotation")
        official_tree.check_all_there(ids, pictures, voc / official_tree.PICTURES, "file")
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            drawn = pool.map(draw, [annotations[name] for name in ids])
            drawn = tqdm(drawn, "Reading annotations", len(ids), disable=None)  # None: if this is no terminal
            items = {
                name: _Item(pictures[name], mask) for name, mask in zip(ids, drawn, strict=True) if mask is not None
            }
        if not items:
            raise ValueError(f"{folder} has no annotation of a person's parts.\n{_INSTRUCTIONS}")
        splits = splits or _split([*items], voc)
        return {split: self._generate_examples([items[name] for name in names]) for split, names in splits.items()}

    def _generate_examples(self, items: list[_Item]) -> Any:
        return self.make_examples(items, _example)

    def _locate_annotations(self, dl_manager: tfds.download.DownloadManager) -> epath.Path:
        if self.builder_config.name == "parts":
            logging.warning(
                "The masks of Chen et al. (%s) are not there: masks are drawn from PASCAL-Part instead, with void where a "
                "person has no parts. Scores on them are not quite comparable to published ones.",
                _PERSON_PART.filename,
            )
        return self._locate(dl_manager, _PASCAL_PART, official_tree.find_annotations, required=False) or self._locate(
            dl_manager, _MIRROR, official_tree.find_annotations
        )

    def _locate(
        self,
        dl_manager: tfds.download.DownloadManager,
        archive: Archive,
        find: Callable[[epath.Path], epath.Path | None],
        required: bool = True,
    ) -> epath.Path | None:
        """As `locate`; of what is not required, a page in place of a download counts as none: servers go."""
        try:
            return self.locate(dl_manager, archive, find, required)
        except UnsafeArchiveError as error:
            if required or self._manual_dir_asked_for:
                raise
            logging.warning("%s", error)
            return None


def _split(ids: list[str], voc: epath.Path) -> dict[str, list[str]]:
    """Splits without the lists of Chen et al."""
    folder = voc / official_tree.MAIN
    lists = official_tree.read_lists(folder)
    logging.warning(
        "The lists of Chen et al. are not there: %d pictures have a person with parts, split %s.",
        len(ids),
        f"by {folder}" if lists else f"in halves by the SHA-256 of their names, for there is no {folder}",
    )
    return official_tree.split_by_lists(ids, lists, folder) if lists else official_tree.split_by_hash(ids)


def _draw_png(path: epath.Path) -> bytes:
    return _encode(pascal_part.read_png(path))


def _draw_mat(path: epath.Path, classes: tuple[int, ...], listed: bool) -> bytes | None:
    """The mask; None if nobody has parts and the picture is in no list."""
    size, persons = pascal_part.read_persons(path)
    if not listed and not any(person.parts for person in persons):
        return None
    if not min(size):
        raise ValueError(f"{path} has no object with a mask. Get the file from the official archive.")
    lookup = np.zeros(256, np.uint8)
    lookup[: len(classes)] = classes
    lookup[VOID] = VOID
    return _encode(lookup[pascal_part.draw(size, persons)])


def _encode(mask: np.ndarray) -> bytes:
    return cv2.imencode(".png", mask)[1].tobytes()


def _example(item: _Item) -> Example:
    with Image.open(io.BytesIO(item.mask)) as mask:
        size = mask.height, mask.width
    key = item.picture.stem
    return key, {
        "image": read_image(item.picture, size),  # TFDS stores bytes as they are
        "mask": item.mask,
        "id": key,
    }
