"""Synthetic egocentric hands, drawn by this package: nothing is downloaded."""

import dataclasses
from collections.abc import Iterator
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from tfds_builders.synthetic_hands import scene, tabletop


@dataclasses.dataclass
class SyntheticHandsConfig(tfds.core.BuilderConfig):
    """`class_names` by class id; `flip_pairs`: ids that swap when a picture is mirrored; `pictures`: what draws them."""

    class_names: tuple[str, ...] = ()
    flip_pairs: tuple[tuple[int, int], ...] = ()
    pictures: ModuleType = scene


class Builder(tfds.core.GeneratorBasedBuilder):
    """Egocentric pictures of articulated hands with exact masks up to the wrist."""

    VERSION = tfds.core.Version("1.1.0")
    RELEASE_NOTES: ClassVar = {"1.1.0": "hands, left_right and tabletop as in 1.0.0.", "1.0.0": "First release."}
    BUILDER_CONFIGS: ClassVar = [
        SyntheticHandsConfig(name="hands", description="Hand against background.", class_names=("background", "hand")),
        SyntheticHandsConfig(
            name="left_right",
            description="Left and right hands apart.",
            class_names=("background", "left hand", "right hand"),
            flip_pairs=((1, 2),),
        ),
        SyntheticHandsConfig(
            name="tabletop",
            description="Hand against background; people opposite, small hands, clutter, poor cameras.",
            class_names=("background", "hand"),
            pictures=tabletop,
        ),
    ]

    def _info(self) -> tfds.core.DatasetInfo:
        shape = scene.HEIGHT, scene.WIDTH
        config = self.builder_config
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(*shape, 3), encoding_format="png"),
                    "mask": tfds.features.Image(shape=(*shape, 1), dtype=np.uint8, encoding_format="png"),
                    "id": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "mask"),
            metadata=tfds.core.MetadataDict(
                {"class_names": list(config.class_names), "flip_pairs": [list(pair) for pair in config.flip_pairs]}
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {split: self._generate_examples(split) for split in self.builder_config.pictures.NUM_EXAMPLES}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
        num_ids, pictures = len(self.builder_config.class_names), self.builder_config.pictures
        for index in range(pictures.NUM_EXAMPLES[split]):
            image, mask = pictures.generate(split, index)
            # With two classes both hands are class 1.
            mask = np.minimum(mask, num_ids - 1)[..., None]
            name = f"{split}_{index:04d}"
            yield name, {"image": image, "mask": mask, "id": name}
