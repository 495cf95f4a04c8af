"""Tests of the builder, and of the geometry of its pictures and masks."""

import hashlib
import pathlib
from unittest import mock

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
    (scene, "train", 34, "9f3a2e91badbf648ccac5df786310aee133a666d3f70bc00f7d72387467a8a4a", 111.64),
    (scene, "test", 12, "1d22e53de497d45b9a26080a8f9196adcc2ba99aae8b35a76d21ec5cf1011557", 134.54),
    (tabletop, "train", 0, "b74f870839ba73317336c12c01a28d9e2a10a80dc275605b0b417cecce7302dd", 70.30),
    (tabletop, "train", 1500, "e3de644d126805706a8298b52fdc9e69421ee238cd8a9ab326d541e916f39fd3", 130.29),
    (tabletop, "test", 12, "51f2911ffea648805cfad0da0297685aabfaf3dc51d49e24a3b7344e827f95c8", 130.96),
)


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
        scene.make_rng(split, index, pictures.SEED).integers(2**63)
        for pictures in (scene, tabletop)
        for split, count in pictures.NUM_EXAMPLES.items()
        for index in range(count)
    ]
    assert len(set(draws)) == len(draws)
