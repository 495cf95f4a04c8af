"""Pictures of any size through few programs, and back to their own size."""

import numpy as np
import pytest
import tiny

from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.inference.serve.bounded import BoundedSegmenter


def _segmenter(**options):
    return Segmenter(tiny.Tiny(3), tiny.variables(), tiny.HANDS.class_names, tiny.HANDS.flip_pairs, **options)


def test_any_sizes_make_few_programs():
    bounded = BoundedSegmenter.of(_segmenter(), 256)
    rng = np.random.default_rng(0)
    for height, width in [(1, 1), (1, 900), *rng.integers(1, 700, (12, 2)).tolist()]:
        result = bounded(np.zeros((height, width, 3), np.uint8))
        assert result.scores.shape == (height, width, 3)
        assert result.mask.shape == (height, width)
    assert bounded.segmenter.compilations <= 4  # 128 or 256 by 128 or 256


@pytest.mark.parametrize(
    ("size", "inference"),
    [
        ((480, 640), (480, 640)),
        ((3000, 4000), (480, 640)),
        ((720, 1280), (360, 640)),
        ((1, 9000), (1, 640)),
        ((5, 7), (5, 7)),
    ],
)
def test_only_what_is_too_large_is_shrunk(size, inference):
    assert BoundedSegmenter.of(_segmenter(), 640).inference_size(size) == inference


def test_a_network_that_wants_larger_pictures_is_refused():
    assert BoundedSegmenter.of(_segmenter(longest_side=256), 256).segmenter.longest_side == 256
    with pytest.raises(UsageError, match="side is 256; the network wants pictures of 320"):
        BoundedSegmenter.of(_segmenter(longest_side=320), 256)


def test_small_pictures_are_the_segmenters_own():
    (picture,) = tiny.Pictures([(90, 120)])
    bounded = BoundedSegmenter.of(_segmenter(), 128)
    np.testing.assert_array_equal(bounded(picture["image"]).scores, bounded.segmenter(picture["image"]).scores)


def test_masks_of_large_pictures_lie_where_those_of_small_ones_do():
    """A picture enlarged four times, each pixel repeated, has each pixel of the mask enlarged, but for the edges."""
    (picture,) = tiny.Pictures([(96, 128)])
    bounded = BoundedSegmenter.of(_segmenter(), 128)
    small = bounded(picture["image"]).mask
    large = bounded(picture["image"].repeat(4, 0).repeat(4, 1)).mask
    assert large.shape == (384, 512)
    assert np.mean(large == small.repeat(4, 0).repeat(4, 1)) > 0.9
    shifted = np.mean(large[:, 16:] == small.repeat(4, 0).repeat(4, 1)[:, :-16])
    assert shifted < np.mean(large == small.repeat(4, 0).repeat(4, 1)) - 0.05


def test_stream_keeps_images_and_order():
    images = [picture["image"] for picture in tiny.Pictures([(90, 120), (300, 200), (90, 120)])]
    bounded = BoundedSegmenter.of(_segmenter(), 128)
    results = list(bounded.stream(iter(images), batch_size=8))
    for image, result in zip(images, results, strict=True):
        assert result.image is image
        np.testing.assert_array_equal(result.mask, bounded(image).mask)


@pytest.mark.parametrize("side", [0, -128, 100, 8192])
def test_sides_that_cannot_be_are_refused(side):
    with pytest.raises(UsageError, match=f"side is {side}; it must be a multiple of 128, from 128 to 4096"):
        BoundedSegmenter.of(_segmenter(), side)
