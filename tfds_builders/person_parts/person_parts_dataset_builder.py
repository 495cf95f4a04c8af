"""PASCAL Person-Part (Chen et al., CVPR 2014 and 2016) as a TFDS dataset: photographs, and masks of body parts."""

import concurrent.futures
import dataclasses
import functools
import io
import itertools
import os
from typing import Any, ClassVar

import cv2
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from etils import epath
from PIL import Image

from tfds_builders.hand_dataset import Archive, Example, HandConfig, HandDataset
from tfds_builders.person_parts import official_tree, pascal_part
from tfds_builders.person_parts.pascal_part import VOID
from tfds_builders.pictures import read_image

_HOMEPAGE = "http://liangchiehchen.com/projects/DeepLab.html"
# 3,533 masks and some lists.
_PERSON_PART = Archive(
    "pascal_person_part.zip",
    "http://www.liangchiehchen.com/data/pascal_person_part.zip",
    tree="pascal_person_part",
    marker=official_tree.MASKS,
)
# 10,103 annotations of about 20 KB, with MATLAB code and examples; the owners' own address is gone.
_PASCAL_PART = Archive(
    "trainval.tar.gz",
    "https://www.cs.stanford.edu/~roozbeh/pascal-parts/trainval.tar.gz",
    tree="trainval/Annotations_Part",
    marker="*.mat",
)
# 1.3 GB; about 35,000 pictures, lists and annotations.
_VOC = Archive(
    "VOCtrainval_03-May-2010.tar",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2010/VOCtrainval_03-May-2010.tar",
    tree="VOCdevkit/VOC2010",
    marker=official_tree.PICTURES,
    checksum="md5:da459979d0c395079b5c75ee67908abb",
)

# Each thread has an annotation in memory, which may use 256 MiB if it is faulty.
_THREADS = min(os.cpu_count() or 1, 8)


@dataclasses.dataclass(frozen=True)
class _Item:
    """A picture and its mask as PNG, drawn once when pictures are selected, because drawing takes minutes."""

    picture: epath.Path
    mask: bytes


class Builder(HandDataset):
    """DatasetBuilder for PASCAL Person-Part."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {"1.1.0": "Masks are a LabeledImage.", "1.0.0": "Initial release."}
    # `classes`: for background, head, torso, upper arms, lower arms, upper legs, lower legs, hands.
    BUILDER_CONFIGS: ClassVar = [
        HandConfig(
            name="parts",
            description="Background and six body parts; hands belong to the lower arms.",
            class_names=pascal_part.CLASS_NAMES,
            classes=(0, 1, 2, 3, 4, 5, 6, 4),
        )
    ]
    MORE_CONFIGS: ClassVar = [
        HandConfig(name="hands", description="Background and hand.", classes=(0, 0, 0, 0, 0, 0, 0, 1)),
        HandConfig(
            name="lower_arms",
            description="Background and lower arm with its hand.",
            class_names=("background", "lower arm"),
            classes=(0, 0, 0, 0, 1, 0, 0, 1),
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
Download the pictures (1.3 GB): {_VOC.url}
for the config parts, and for the split in all configs, the masks of Chen et al.: {_PERSON_PART.url}
for the configs hands and lower_arms (and parts, if there are no masks of Chen et al.) PASCAL-Part, from one of
  {_PASCAL_PART.url}
  http://roozbehm.info/pascal-parts/pascal-parts.html
  https://academictorrents.com/details/f86670296bff85bcdffea6c4fc2e791446f9fb5e
Put {_VOC.filename}, {_PERSON_PART.filename} and {_PASCAL_PART.filename}, or the folders VOCdevkit/,
pascal_person_part/ and Annotations_Part/ from them, into one folder and pass that as --manual_dir.
"""

    def _info(self) -> tfds.core.DatasetInfo:
        return self.hand_info(homepage=_HOMEPAGE)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Draws all masks first, so that faulty annotations are rejected before anything is written."""
        person_part = self.locate(dl_manager, _PERSON_PART, required=False)
        splits = official_tree.read_lists(person_part / official_tree.LISTS, "_id.txt") if person_part else None
        if person_part and self.builder_config.name == "parts":
            folder, ending, draw = person_part / official_tree.MASKS, ".png", _draw_png
        else:
            folder, ending = self._locate_annotations(dl_manager), ".mat"
            draw = functools.partial(_draw_mat, classes=self.builder_config.classes, listed=splits is not None)
        voc = self.locate(dl_manager, _VOC)

        annotations = official_tree.list_files(folder, ending)
        pictures = official_tree.list_files(voc / official_tree.PICTURES, ".jpg")
        ids = sorted(itertools.chain(*splits.values())) if splits else [*annotations]
        official_tree.check_all_there(ids, annotations, folder, "annotation")
        official_tree.check_all_there(ids, pictures, voc / official_tree.PICTURES, "file")
        with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
            drawn = zip(ids, pool.map(draw, [annotations[name] for name in ids]), strict=True)
            items = {name: _Item(pictures[name], mask) for name, mask in drawn if mask is not None}
        if not items:
            raise ValueError(f"{folder} has no annotation of body parts. Unpack it again.")
        splits = splits or _split([*items], voc)
        return {split: self._generate_examples([items[name] for name in names]) for split, names in splits.items()}

    def _generate_examples(self, items: list[_Item]) -> Any:
        return self.make_examples(items, _example)

    def _locate_annotations(self, dl_manager: tfds.download.DownloadManager) -> epath.Path:
        if self.builder_config.name == "parts":
            what = "masks are drawn from PASCAL-Part instead, and scores are not exactly comparable with published ones"
            logging.warning("The masks of Chen et al. (%s) are missing: %s.", _PERSON_PART.filename, what)
        return self.locate(dl_manager, _PASCAL_PART)


def _split(ids: list[str], voc: epath.Path) -> dict[str, list[str]]:
    """Splits pictures by the lists of VOC, without those of Chen et al."""
    folder = voc / official_tree.MAIN
    lists = official_tree.read_lists(folder, ".txt")
    logging.warning(
        "The lists of Chen et al. are missing: %d pictures have a person with parts, split by %s.", len(ids), folder
    )
    return official_tree.split_by_lists(ids, lists, folder)


def _draw_png(path: epath.Path) -> bytes:
    return _encode(pascal_part.read_png(path))


def _draw_mat(path: epath.Path, classes: tuple[int, ...], listed: bool) -> bytes | None:
    """Returns the mask; None if no person has parts and the picture is in no list."""
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
        "image": read_image(item.picture, size),
        "mask": item.mask,
        "id": key,
    }
