"""HandOverFace (Urooj and Borji, CVPR 2018) as a TFDS data set: web pictures of hands before faces, and masks of the hands."""

import dataclasses
import functools
from typing import Any

import tensorflow_datasets as tfds
from absl import logging

from refinenet_jax.data import polygons
from refinenet_jax.data.examples import first_few
from tfds_builders.hand_dataset import Archive, Example, HandConfig, HandDataset
from tfds_builders.hof import hand_over_face, splits
from tfds_builders.hof.hand_over_face import Masked, Outlined
from tfds_builders.pictures import read_binary, read_image

_HOMEPAGE = "https://github.com/aurooj/Hand-Segmentation-in-the-Wild"
_URL = "https://drive.google.com/uc?export=download&id=1hHUvINGICvOGcaDgA5zMbzAIUv7ewDd3"
_TEST_URL = "https://drive.google.com/file/d/1-OmtqYBVmAstCzOKz8xpatw6lk9hUm--/view"
# The official archive has 41 MB, some 1,200 files.
_ARCHIVE = Archive(
    "hand_over_face_corrected.tar.gz",
    _URL,
    max_bytes=1 << 29,
    max_members=5_000,
    other_names=("hand_over_face_corrected.tar", "hand_over_face_corrected.zip", "hand_over_face.tar.gz"),
)

_INSTRUCTIONS = f"""\
Open {_URL} in a browser (41 MB; page {_HOMEPAGE}).
Put {_ARCHIVE.filename} into a folder, or unpack it there so that the folder has {hand_over_face.FOLDER}/ in it, and give
that folder as --manual_dir.
For the paper's split, unpack the test pictures, {_TEST_URL},
into {splits.TEST_FOLDER}/ in the same folder, or write their numbers, one per line, into {splits.LIST} there.
"""


# eq=False as in the parent: a config is told apart by its name and stays hashable.
@dataclasses.dataclass(eq=False)
class HofConfig(HandConfig):
    """A size and labelling.

    Attributes:
      original: Whether pictures have their original size, and masks are drawn from the outlines.
      classes: The class of a 'left' and a 'right' hand, and of one of which that is not told (''); that, if it is not
        here, cannot be labelled.
    """

    original: bool = False
    classes: dict[str, int] = dataclasses.field(default_factory=dict)


class Builder(HandDataset):
    """DatasetBuilder for HandOverFace."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Initial release."}  # noqa: RUF012
    BUILDER_CONFIGS = [  # noqa: RUF012
        HofConfig(
            name="resized",
            description="Background and hand, all pictures forced to 384x216, with the official masks, as in the paper.",
            class_names=("background", "hand"),
        ),
        HofConfig(
            name="original",
            description="Background and hand at the original sizes, drawn from the outlines.",
            class_names=("background", "hand"),
            original=True,
            classes={"": 1, "left": 1, "right": 1},
        ),
        HofConfig(
            name="left_right",
            description="Left and right hands at the original sizes, drawn from the outlines.",
            class_names=("background", "left hand", "right hand"),
            flip_pairs=((1, 2),),
            original=True,
            classes={"left": 1, "right": 2},
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = _INSTRUCTIONS

    def _info(self) -> tfds.core.DatasetInfo:
        shape = (None, None) if self.builder_config.original else hand_over_face.SIZE
        return self.hand_info(homepage=_HOMEPAGE, shape=shape)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Reads all files first, so that a faulty tree is refused before anything is written."""
        tree = self.locate(dl_manager, _ARCHIVE, hand_over_face.find)
        if self.builder_config.original:
            pictures = hand_over_face.read_original(tree)
            _check_sides(pictures, self.builder_config)
        else:
            pictures = hand_over_face.read_resized(tree)
        by_number = {picture.number: picture for picture in pictures}
        divided = splits.divide(by_number, self._read_test(dl_manager, by_number))
        return {
            split: self._generate_examples([by_number[number] for number in numbers])
            for split, numbers in divided.items()
            if numbers
        }

    def _generate_examples(self, pictures: list[Masked] | list[Outlined]) -> Any:
        make = _masked_example
        if self.builder_config.original:
            make = functools.partial(_draw_example, classes=self.builder_config.classes)
        return self.make_examples(pictures, make)

    def _read_test(
        self, dl_manager: tfds.download.DownloadManager, by_number: dict[int, Masked | Outlined]
    ) -> set[int] | None:
        """The official test pictures, if they are in the manual folder, and a line about it."""
        test = None
        # Only where the folder was asked for: the common one may have a test.txt of other data.
        if self._manual_dir_asked_for:
            paths = {number: picture.image for number, picture in by_number.items()}
            test = splits.read_test(dl_manager.manual_dir, paths)
        if test is None:
            logging.warning(
                "HandOverFace is split by this library (a third tests), not as in the paper: there is no %s and no %s/ in a "
                "manual folder.",
                *(splits.LIST, splits.TEST_FOLDER),
            )
        else:
            logging.info("The %d test pictures are those of the manual folder.", len(test))
        return test


def _check_sides(pictures: list[Outlined], config: HofConfig) -> None:
    unknown = [str(p.number) for p in pictures if any(hand.side not in config.classes for hand in p.hands)]
    if unknown:
        raise ValueError(
            f"{config.name} cannot be built: not told to be left or right are hands in {len(unknown)} of {len(pictures)} "
            f"annotations, {first_few(unknown, 20)}. Build --config=original, or write left or right into "
            "<attributes> of each hand in these files."
        )


def _masked_example(picture: Masked) -> Example:
    return str(picture.number), {
        "image": read_image(picture.image),  # TFDS stores bytes as they are
        "mask": read_binary(picture.mask)[0][..., None],
        "id": str(picture.number),
    }


def _draw_example(picture: Outlined, classes: dict[str, int]) -> Example:
    hands = [(hand.points, classes[hand.side]) for hand in picture.hands]
    return str(picture.number), {
        "image": read_image(picture.image),
        "mask": polygons.draw(picture.height, picture.width, hands)[..., None],
        "id": str(picture.number),
    }
