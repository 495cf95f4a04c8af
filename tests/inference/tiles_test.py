"""Windows cover an image exactly, their weights sum to one, and results equal those of the whole image."""

import jax
import numpy as np
import pytest
import tiny

from refinenet_jax.errors import UsageError
from refinenet_jax.inference import tiles

LENGTHS = (1, 127, 128, 129, 160, 161, 300, 512, 513, 769, 1000, 1281, 4096)


@pytest.mark.parametrize("tile", [128, 130, 160, 500, 512])
def test_windows_cover_every_axis_exactly(tile):
    for length in LENGTHS:
        size, starts = tiles.windows(length, tile)
        assert size <= tile
        assert starts[0] == 0
        assert starts[-1] + size == length  # nothing is padded
        assert len(set(np.diff(starts))) <= 1  # evenly spread
        assert all(start % 32 == 0 for start in starts)
        if length <= tile:
            assert starts == [0]
        else:
            assert size - starts[1] >= size / 4  # overlap


def test_the_fewest_windows():
    assert tiles.windows(1280, 512) == (512, [0, 384, 768])  # overlap 128: a quarter
    assert tiles.windows(720, 512) == (496, [0, 224])
    assert tiles.windows(1281, 512) == (513 - 32 * 3, [0, 288, 576, 864])  # three of 513 would be too long


@pytest.mark.parametrize("length", LENGTHS)
def test_weights_sum_to_one_and_change_smoothly(length):
    size, starts = tiles.windows(length, 160)
    weights = tiles.weights(size, starts)
    total = np.zeros(-(-length // 4))
    for start, weight in zip(starts, weights, strict=True):
        assert weight.min() > 0
        total[start // 4 :][: len(weight)] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    if len(starts) > 1:
        assert np.abs(np.diff(weights)).max() < 0.25
        assert weights[0, -1] < 1e-3  # no weight at the end of a window
        assert weights[1, 0] < 1e-3
        assert weights[0, 0] == weights[-1, -1] == 1  # except at the image's border


@pytest.fixture(scope="module")
def network():
    variables = tiny.variables()
    return lambda x: tiny.Tiny(3).apply(variables, x)


@pytest.mark.parametrize("size", [(140, 332), (300, 128), (60, 76)])
def test_tiled_equals_untiled(network, size):
    """The receptive field is 3 x 3 logits: only a window's outermost logit differs, and it has no weight."""
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    whole = jax.jit(network)(x)
    tiled = jax.jit(lambda x: tiles.apply(network, x, 128, 3))(x)
    assert tiled.shape == whole.shape
    np.testing.assert_allclose(tiled, whole, atol=2e-4)
    assert np.abs(whole).max() > 1


def test_windows_are_blended_where_they_disagree():
    """A network that returns its window's first value gives a ramp between the values of two windows."""
    x = np.zeros((1, 128, 192, 3), np.float32)
    x[0, 0, 0, 0], x[0, 0, 64, 0] = 1, 3
    tiled = tiles.apply(lambda x: x[:, ::4, ::4, :1] * 0 + x[:, :1, :1, :1], x, 128, 1)[0, :, :, 0]
    assert tiles.windows(192, 128) == (128, [0, 64])
    np.testing.assert_allclose(tiled, np.broadcast_to(tiled[:1], tiled.shape), atol=1e-6)
    np.testing.assert_allclose(tiled[0, :16], 1, atol=1e-3)
    np.testing.assert_allclose(tiled[0, -16:], 3, atol=1e-3)
    assert (np.diff(tiled[0]) >= -1e-6).all()
    assert np.abs(np.diff(tiled[0])).max() < 0.25  # no seam: 2 over 16 logits


def test_segmenter_with_tiles():
    """With flips; 120 x 176 is prepared as 180 x 264 and divided along both axes."""
    image = np.random.default_rng(0).integers(0, 256, (1, 120, 176, 3), np.uint8)
    model = tiny.Tiny(3, input_scale=1.5)
    whole, tiled = (tiny.segmenter(model=model, flip=True, tile=tile) for tile in (None, 128))
    of_whole, of_tiled = (jax.jit(s.probabilities)(s.variables, image) for s in (whole, tiled))
    np.testing.assert_allclose(of_tiled, of_whole, atol=1e-4)


def test_smallest_tile():
    for tile in (0, -5, 127):
        with pytest.raises(UsageError, match=rf"tile is {tile}\b.*128"):
            tiny.segmenter(tile=tile)
