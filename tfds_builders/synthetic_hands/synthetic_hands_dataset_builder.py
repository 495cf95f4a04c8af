"""Synthetic egocentric hands, drawn by this package: nothing is downloaded."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders.hand_dataset import HandConfig, HandDataset
from tfds_builders.synthetic_hands import scene, tabletop


class Builder(HandDataset):
    """Egocentric pictures of articulated hands with exact masks up to the wrist."""

    VERSION = tfds.core.Version("1.2.0")
    RELEASE_NOTES: ClassVar = {
        "1.2.0": "Masks are a LabeledImage; no config left_right.",
        "1.1.0": "As in 1.0.0.",
        "1.0.0": "First release.",
    }
    BUILDER_CONFIGS: ClassVar = [HandConfig(name="hands", description="Near hands: a small dataset for a demo.")]
    MORE_CONFIGS: ClassVar = [
        HandConfig(name="tabletop", description="Small hands, people opposite, clutter, poor cameras.")
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        return self.hand_info(homepage=None, shape=(scene.HEIGHT, scene.WIDTH))

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        pictures = tabletop if self.builder_config.name == "tabletop" else scene
        return {split: self._generate_examples(split, pictures) for split in pictures.NUM_EXAMPLES}

    def _generate_examples(self, split: str, pictures: Any) -> Iterator[tuple[str, dict[str, Any]]]:
        for index in range(pictures.NUM_EXAMPLES[split]):
            image, mask = pictures.generate(split, index)
            name = f"{split}_{index:04d}"
            # Left and right hands are one class.
            yield name, {"image": image, "mask": (mask > 0).astype(np.uint8)[..., None], "id": name}
