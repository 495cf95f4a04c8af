"""HandOverFace (Urooj and Borji, CVPR 2018) as a TFDS dataset: web pictures of hands over faces, and masks of the hands."""

import functools
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from tfds_builders.hand_dataset import Archive, Example, HandConfig, HandDataset
from tfds_builders.hof import hand_over_face, splits
from tfds_builders.hof.hand_over_face import SIDES, Masked, Outlined
from tfds_builders.messages import first_few
from tfds_builders.outlines import draw
from tfds_builders.pictures import read_binary, read_image

_HOMEPAGE = "https://github.com/aurooj/Hand-Segmentation-in-the-Wild"
_TEST_URL = "https://drive.google.com/file/d/1-OmtqYBVmAstCzOKz8xpatw6lk9hUm--/view"
# 41 MB, about 1,200 files.
_ARCHIVE = Archive(
    "hand_over_face_corrected.tar.gz",
    "https://drive.google.com/uc?export=download&id=1hHUvINGICvOGcaDgA5zMbzAIUv7ewDd3",
    tree="hand_over_face_corrected/hand_over_face",
    marker="images_*",
    max_bytes=1 << 29,
    max_members=5_000,
)


class Builder(HandDataset):
    """DatasetBuilder for HandOverFace."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {
        "1.1.0": "Masks are a LabeledImage; the owners' test pictures have a config, `paper`.",
        "1.0.0": "Initial release.",
    }
    BUILDER_CONFIGS: ClassVar = [
        HandConfig(
            name="resized",
            description="Background and hand, all pictures forced to 384x216, with the official masks.",
        )
    ]
    # `classes`: for a hand of unknown side, a left hand and a right hand; None: cannot be labeled.
    MORE_CONFIGS: ClassVar = [
        HandConfig(
            name="paper", description="As resized, with the paper's test split, from the owners' test pictures."
        ),
        HandConfig(
            name="original",
            description="Background and hand at the original sizes, drawn from the outlines.",
            classes=(1, 1, 1),
        ),
        HandConfig(
            name="left_right",
            description="Left and right hands at the original sizes, drawn from the outlines.",
            class_names=("background", "left hand", "right hand"),
            flip_pairs=((1, 2),),
            classes=(None, 1, 2),
        ),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
Open {_ARCHIVE.url} in a browser (41 MB; page {_HOMEPAGE}).
Put {_ARCHIVE.filename}, or the folder hand_over_face/ from it, into a folder and pass that as --manual_dir.
For the config paper, unpack the test pictures, {_TEST_URL},
into {splits.TEST_FOLDER}/ in the same folder, or write their numbers, one per line, into {splits.LIST} there.
"""

    def _info(self) -> tfds.core.DatasetInfo:
        shape = (None, None) if self.builder_config.classes else hand_over_face.SIZE
        return self.hand_info(homepage=_HOMEPAGE, shape=shape)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        """Reads all files first, so that faulty ones are rejected before anything is written."""
        tree, config = self.locate(dl_manager, _ARCHIVE), self.builder_config
        if config.classes:
            pictures = hand_over_face.read_original(tree)
            _check_sides(pictures, config)
        else:
            pictures = hand_over_face.read_resized(tree)
        by_number = {picture.number: picture for picture in pictures}
        test = splits.FIXED_TEST
        if config.name == "paper":
            images = {number: picture.image for number, picture in by_number.items()}
            test = splits.read_test(dl_manager.manual_dir, images)
        return {
            split: self._generate_examples([by_number[number] for number in numbers])
            for split, numbers in splits.divide(by_number, test).items()
            if numbers
        }

    def _generate_examples(self, pictures: list[Masked] | list[Outlined]) -> Any:
        classes = self.builder_config.classes
        return self.make_examples(pictures, functools.partial(_draw, classes=classes) if classes else _read)


def _check_sides(pictures: list[Outlined], config: HandConfig) -> None:
    unknown = [p.number for p in pictures if any(config.classes[SIDES.index(hand.side)] is None for hand in p.hands)]
    if unknown:
        raise ValueError(
            f"{config.name} cannot be built: hands in {len(unknown)} of {len(pictures)} annotations ({first_few(unknown, 20)})"
            " are not labeled as left or right. Build --config=original, or write left or right into <attributes> of each hand."
        )


def _read(picture: Masked) -> Example:
    return _example(picture, read_binary(picture.mask)[0])


def _draw(picture: Outlined, classes: tuple[int, ...]) -> Example:
    hands = [(hand.points, classes[SIDES.index(hand.side)]) for hand in picture.hands]
    return _example(picture, draw(picture.height, picture.width, hands))


def _example(picture: Masked | Outlined, mask: Any) -> Example:
    key = str(picture.number)
    return key, {"image": read_image(picture.image), "mask": mask[..., None], "id": key}
