"""HandOverFace (Urooj and Borji, CVPR 2018) as a TFDS dataset: web pictures of hands over faces, and masks of the hands."""

from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders.hand_dataset import Archive, Example, HandConfig, HandDataset
from tfds_builders.hof import hand_over_face, splits
from tfds_builders.hof.hand_over_face import Picture
from tfds_builders.pictures import read_binary, read_image

_HOMEPAGE = "https://github.com/aurooj/Hand-Segmentation-in-the-Wild"
_TEST_URL = "https://drive.google.com/file/d/1-OmtqYBVmAstCzOKz8xpatw6lk9hUm--/view"
# 41 MB, about 1,200 files.
_ARCHIVE = Archive(
    "hand_over_face_corrected.tar.gz",
    "https://drive.google.com/uc?export=download&id=1hHUvINGICvOGcaDgA5zMbzAIUv7ewDd3",
    tree="hand_over_face_corrected/hand_over_face",
    marker="images_*",
)


class Builder(HandDataset):
    """DatasetBuilder for HandOverFace."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {
        "1.1.0": "Masks are a LabeledImage; the owners' test pictures have a config, `paper`; no config left_right.",
        "1.0.0": "Initial release.",
    }
    BUILDER_CONFIGS: ClassVar = [
        HandConfig(
            name="resized",
            description="Background and hand, all pictures forced to 384x216, with the official masks.",
        )
    ]
    MORE_CONFIGS: ClassVar = [
        HandConfig(
            name="paper",
            description="As resized, with the paper's test split, from a list of the owners' test pictures.",
        ),
        HandConfig(name="original", description="Background and hand at the original sizes, drawn from the outlines."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = f"""\
Open {_ARCHIVE.url} in a browser (41 MB; page {_HOMEPAGE}).
Put {_ARCHIVE.filename}, or the folder hand_over_face/ from it, into a folder and pass that as --manual_dir.
For the config paper, write the numbers of the owners' test pictures, {_TEST_URL},
one per line, into {splits.LIST} in the same folder.
"""

    def _info(self) -> tfds.core.DatasetInfo:
        shape = (None, None) if self.builder_config.name == "original" else hand_over_face.SIZE
        return self.hand_info(homepage=_HOMEPAGE, shape=shape)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        tree, config = self.locate(dl_manager, _ARCHIVE), self.builder_config.name
        folders = hand_over_face.ORIGINAL if config == "original" else hand_over_face.RESIZED
        pictures = hand_over_face.list_pictures(tree, *folders)
        test = splits.FIXED_TEST
        if config == "paper":
            test = splits.read_test(dl_manager.manual_dir / splits.LIST, pictures)
        return {
            split: self._generate_examples([pictures[number] for number in numbers])
            for split, numbers in splits.divide(pictures, test).items()
            if numbers
        }

    def _generate_examples(self, pictures: list[Picture]) -> Any:
        return self.make_examples(pictures, _original if self.builder_config.name == "original" else _resized)


def _resized(picture: Picture) -> Example:
    return _example(picture, read_binary(picture.label, hand_over_face.SIZE), hand_over_face.SIZE)


def _original(picture: Picture) -> Example:
    return _example(picture, hand_over_face.draw_outlines(picture))


def _example(picture: Picture, mask: np.ndarray, size: tuple[int, int] | None = None) -> Example:
    key = str(picture.number)
    return key, {"image": read_image(picture.image, size), "mask": mask[..., np.newaxis], "id": key}
