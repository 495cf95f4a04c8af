"""Tests of the builder, and of the geometry of its pictures and masks."""

import hashlib
import pathlib
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds

from tfds_builders.synthetic_hands import (
    scene,
    synthetic_hands_dataset_builder,
    tabletop,
)

SMALL = {"train": 3, "validation": 1, "test": 2}
# Config, split, index, SHA-256 of the mask, mean of the picture: masks are the same to the bit, pictures up to rounding.
PINNED = (
    (scene, "train", 0, "392bd64dde1a4d406eae5e92d32fd69357ee9ede14b4372288e85b3dedd3eebb", 125.65),
    (scene, "train", 9, "4bed911ab09e4f54b5160299b985ce5029f836a2342cb4e4e72cac1bed2433f2", 95.31),
    (scene, "train", 34, "9f3a2e91badbf648ccac5df786310aee133a666d3f70bc00f7d72387467a8a4a", 111.64),
    (scene, "validation", 5, "213cd956220722384f31d94c10a46e7c37ac72a52c22b8f3ddaad95d26c4b783", 73.75),
    (scene, "test", 12, "1d22e53de497d45b9a26080a8f9196adcc2ba99aae8b35a76d21ec5cf1011557", 134.54),
    (scene, "test", 40, "c3977668e972cf6e351ddcb05d7fcd11664f4876219f5df1e63aaf54f00eef89", 160.49),
    (tabletop, "train", 0, "b74f870839ba73317336c12c01a28d9e2a10a80dc275605b0b417cecce7302dd", 70.30),
    (tabletop, "train", 7, "4dc779620d7490fc4f63f46abee908cd5d4e3e7f07278bdef05acf433dbd4956", 141.53),
    (tabletop, "train", 1500, "e3de644d126805706a8298b52fdc9e69421ee238cd8a9ab326d541e916f39fd3", 130.29),
    (tabletop, "validation", 5, "e9b77e2711f15f970056b548b3db92f9e329529daed57aaf3a79963a8cef38d6", 149.34),
    (tabletop, "test", 12, "51f2911ffea648805cfad0da0297685aabfaf3dc51d49e24a3b7344e827f95c8", 130.96),
)
# Config, largest and least median share of hand pixels, darkest and brightest mean.
LIMITS = {"hands": (scene, 0.45, 0.04, 20, 235), "tabletop": (tabletop, 0.35, 0.02, 12, 240)}


class SyntheticHandsTest(tfds.testing.DatasetBuilderTestCase):
    """Builds every config with a few examples, through TFDS's own checks."""

    DATASET_CLASS = synthetic_hands_dataset_builder.Builder
    SPLITS = SMALL
    EXAMPLE_DIR = str(pathlib.Path(__file__).parent)  # nothing is downloaded, so nothing is faked
    SKIP_CHECKSUMS = True

    def setUp(self):
        super().setUp()
        for pictures in (scene, tabletop):
            self.enter_context(mock.patch.object(pictures, "NUM_EXAMPLES", SMALL))


@pytest.mark.parametrize(("pictures", "split", "index", "digest", "mean"), PINNED)
def test_same_on_every_machine(pictures, split, index, digest, mean):
    image, mask = pictures.generate(split, index)
    assert hashlib.sha256(mask.tobytes()).hexdigest() == digest
    assert image.mean() == pytest.approx(mean, abs=0.3)  # JPEG libraries differ a little


def test_no_random_stream_is_used_twice():
    draws = [
        pictures.make_rng(split, index).integers(2**63)
        for pictures in (scene, tabletop)
        for split, count in pictures.NUM_EXAMPLES.items()
        for index in range(count)
    ]
    assert len(set(draws)) == len(draws)


@pytest.mark.parametrize("config", LIMITS)
def test_pictures_are_well_exposed_and_hands_have_plausible_sizes(config):
    pictures, largest, median, darkest, brightest = LIMITS[config]
    examples = [pictures.generate("train", index) for index in range(16)]
    for image, mask in examples:
        assert image.shape == (scene.HEIGHT, scene.WIDTH, 3)
        assert image.dtype == mask.dtype == np.uint8
        assert mask.shape == (scene.HEIGHT, scene.WIDTH)
        assert set(np.unique(mask)) <= {scene.BACKGROUND, scene.LEFT, scene.RIGHT}
        assert darkest < image.mean() < brightest
    share = np.array([(mask > 0).mean() for _, mask in examples])
    assert share.max() < largest
    assert np.median(share) > median
    assert all(any((mask == side).any() for _, mask in examples) for side in (scene.LEFT, scene.RIGHT))
