"""Probabilities of every pixel at its position, for all scales, flips, paddings and batches."""

import gc
import pickle
import weakref
from functools import partial

import jax
import numpy as np
import pytest
import tiny

from refinenet_jax import checkpoint, models, weights
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.weights.names import pytorch_name

_segmenter = partial(tiny.segmenter, tiny.HANDS)


def _images(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


_close = partial(np.testing.assert_allclose, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 47), (64, 32)])
def test_every_pixel_has_probabilities(size):
    (image,) = _images([size])
    result = _segmenter(scales=(0.6, 1.0), flip=True)(image)
    assert result.scores.shape == (*size, 3)
    assert result.scores.dtype == np.float32
    assert result.scores.min() >= 0
    np.testing.assert_allclose(result.scores.sum(-1), 1, atol=1e-5)
    assert result.mask.shape == size
    assert result.mask.dtype == np.uint8
    np.testing.assert_array_equal(result.mask, result.scores.argmax(-1))
    assert result.overlay().shape == image.shape
    assert result.class_names == ("background", "left", "right")


def test_scales_are_averaged():
    (image,) = _images([(32, 64)])
    single = [_segmenter(scales=(scale,))(image).scores for scale in (0.5, 1.5)]
    assert np.abs(single[0] - single[1]).max() > 0.1
    _close(_segmenter(scales=(0.5, 1.5))(image).scores, (single[0] + single[1]) / 2)


def test_input_scale_multiplies_the_test_scales():
    (image,) = _images([(32, 64)])
    _close(_segmenter(tiny.Tiny(3, input_scale=1.5))(image).scores, _segmenter(scales=(1.5,))(image).scores)
    _close(_segmenter(tiny.Tiny(3, input_scale=2.0), scales=(0.5,))(image).scores, _segmenter()(image).scores)


def test_flip_averages_the_mirrored_image_with_sides_exchanged():
    (image,) = _images([(32, 64)])
    plain = _segmenter()
    mirrored = plain(image[:, ::-1]).scores[:, ::-1][..., [0, 2, 1]]
    assert np.abs(plain(image).scores - mirrored).max() > 0.1  # the network itself is not symmetric
    _close(_segmenter(flip=True)(image).scores, (plain(image).scores + mirrored) / 2)


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_stream_keeps_the_order(batch_size):
    images = _images([(32, 32), (20, 30), (40, 20), (32, 32), (31, 32), (5, 40), (6, 40), (64, 64)])
    segmenter = _segmenter(flip=True, scales=(0.5, 1.0))
    for image, result in zip(images, segmenter.stream(iter(images), batch_size), strict=True):
        np.testing.assert_array_equal(result.image, image)
        _close(result.scores, segmenter(image).scores)
    assert list(segmenter.stream([], batch_size)) == []


@pytest.mark.parametrize("longest_side", [0, 32])
def test_batch_keeps_the_order_of_mixed_images(longest_side):
    images = _images([(40, 20), (20, 30), (33, 33), (310, 320), (64, 40)])
    segmenter = _segmenter(longest_side=longest_side)
    for image, result in zip(images, segmenter.batch(images), strict=True):
        assert result.image is image
        _close(result.scores, segmenter(image).scores)
    assert segmenter.batch([]) == []


def test_stream_reads_one_batch_at_a_time():
    """The memory for a video does not depend on its length."""
    asked = []

    def images():
        for image in _images([(16, 16)] * 100):
            asked.append(1)
            yield image

    stream = _segmenter().stream(images(), batch_size=8)
    next(stream)
    assert len(asked) <= 9


def test_results_are_not_kept():
    """Otherwise the scores of a video, 7 MB per frame at 1280 x 720, would fill the memory."""
    stream = _segmenter().stream(_images([(16, 16)] * 3), batch_size=3)
    first = next(stream)
    assert first.scores.base is None  # no view of the batch
    scores = weakref.ref(first.scores)
    del first
    gc.collect()
    assert scores() is None


def test_the_canvas_repeats_the_edge_of_the_image():
    (image,) = _images([(20, 30)])
    prepared = _segmenter().prepare(image)
    assert prepared.size == (20, 30)
    assert prepared.canvas.shape == (32, 32, 3)
    np.testing.assert_array_equal(prepared.canvas[:20, :30], image)
    np.testing.assert_array_equal(prepared.canvas[20:, :30], np.broadcast_to(image[-1], (12, 30, 3)))
    np.testing.assert_array_equal(prepared.canvas[:20, 31], image[:, -1])


def test_the_void_channel_is_dropped_and_the_rest_normalized():
    (image,), sides = _images([(32, 32)]), tiny.HANDS
    variables = tiny.variables(4)
    scores = Segmenter(tiny.Tiny(4), variables, sides.class_names)(image).scores
    whole = Segmenter(tiny.Tiny(4), variables, (*sides.class_names, "void"))(image).scores
    assert whole[..., 3].max() > 0.1
    _close(scores, whole[..., :3] / whole[..., :3].sum(-1, keepdims=True))


@pytest.mark.parametrize(("devices", "rows"), [(1, 4), (2, 4), (8, 8)])
def test_batches_of_a_canvas_have_one_length(monkeypatch, devices, rows):
    """11, 1, 1 and 3 images of two canvases in turn: every other length would need a program."""
    some = jax.local_devices()[:devices]
    monkeypatch.setattr(jax, "local_devices", lambda: some)
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    images = _images([(20, 30)] * 11 + [(33, 32)] + [(20, 30)] + [(40, 20)] * 3)
    for run in (Segmenter.stream, Segmenter.batch):
        segmenter = _segmenter()
        results = list(run(segmenter, images, 4))
        assert [result.image.shape for result in results] == [image.shape for image in images]
        assert set(segmenter.programs.shapes) == {(rows, 32, 32, 3), (rows, 64, 32, 3)}


def test_a_bounded_number_of_images_waits():
    """The memory is that of a few batches for any number of canvases."""
    segmenter, asked = _segmenter(), []

    def images():
        for i in range(100):
            asked.append(i)
            yield i, segmenter.prepare(np.zeros((32 * (1 + i % 5), 8, 3), np.uint8))

    results = segmenter.unordered(images(), 16)
    seen = [next(results)[0]]
    assert len(asked) <= 64
    seen += [key for key, _ in results]
    assert sorted(seen) == list(range(100))


def _enlarged(array, times):
    return array.repeat(times, 0).repeat(times, 1)


def test_with_a_longest_side_results_do_not_depend_on_the_resolution():
    (image,) = _images([(24, 64)])
    fitted = _segmenter(longest_side=64)
    plain = _segmenter()(image)
    _close(fitted(image).scores, plain.scores)  # it fits already
    large = fitted(_enlarged(image, 5))
    assert large.scores.shape == (120, 320, 3)
    _close(large.scores[2::5, 2::5], plain.scores)  # the centers of the enlarged pixels
    small = fitted(image[::2, ::2])
    assert small.scores.shape == (12, 32, 3)
    upright = fitted(_enlarged(image, 5).swapaxes(0, 1))
    assert upright.scores.shape == (320, 120, 3)
    assert len(fitted.programs.shapes) == 2  # 32 x 64 and 64 x 32, whatever the resolution


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"scales": ()}, r"scales are \[\]"),
        ({"scales": (1.0, 0.0)}, r"scales are \[1\.0, 0\.0\]"),
        ({"scales": (float("nan"),)}, r"scales are \[nan\]"),
        ({"longest_side": -1}, "longest_side is -1"),
        ({"model": tiny.Tiny(2)}, "2 channels.*3 class names"),
        ({"model": tiny.Tiny(5)}, "5 channels.*3 class names"),
    ],
)
def test_wrong_settings_are_refused(options, fact):
    with pytest.raises(UsageError, match=fact):
        _segmenter(**options)


def _real_variables(classes=3):
    shapes = models.variable_shapes(models.create_model("rf_lw_mbv2", classes))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), shapes)


def test_weight_file_with_a_description(tmp_path, monkeypatch):
    variables = _real_variables()
    description = {
        "variant": "rf_lw_mbv2",
        "class_names": ["background", "left", "right"],
        "flip_pairs": [[1, 2]],
        "scales": [0.5, 1.0],
        "longest_side": 320,
        "flip": True,
        "dtype": "bfloat16",
        "input_scale": 1.2,
    }
    path = tmp_path / "weights.safetensors"
    weights.save_weights(path, variables, description)
    segmenter = Segmenter.from_checkpoint(path)
    assert segmenter.model == models.create_model("rf_lw_mbv2", 3, dtype="bfloat16", input_scale=1.2)
    jax.tree.map(np.testing.assert_array_equal, segmenter.variables, variables)
    assert segmenter.class_names == ("background", "left", "right")
    assert (segmenter.flip_pairs, segmenter.scales, segmenter.flip) == (((1, 2),), (0.5, 1.0), True)
    assert segmenter.longest_side == 320
    monkeypatch.setenv("HOME", str(tmp_path))
    other = Segmenter.from_checkpoint("~/weights.safetensors", scales=[2], flip=False, tile=256, longest_side=0)
    assert (other.scales, other.flip, other.tile, other.longest_side) == ((2,), False, 256, 0)
    with pytest.raises(UsageError, match=r"weights\.safetensors.*step 7"):
        Segmenter.from_checkpoint(path, step=7)


def test_weight_file_without_a_description(tmp_path):
    model, arrays = models.create_model("rf_lw_mbv2", 2), {}
    for path, array in jax.tree_util.tree_leaves_with_path(_real_variables(2)):
        name = pytorch_name(tuple(key.key for key in path)[1:], model.trunk_name)
        arrays[name] = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
    np.savez(tmp_path / "foreign.npz", **arrays)
    segmenter = Segmenter.from_checkpoint(tmp_path / "foreign.npz")
    assert (segmenter.model, segmenter.class_names) == (model, ("background", "hand"))
    assert (segmenter.scales, segmenter.flip, segmenter.flip_pairs) == ((1.0,), False, ())
    np.savez(tmp_path / "trunk.npz", **{name: array for name, array in arrays.items() if name.startswith("layer")})
    with pytest.raises(UsageError, match=r"trunk\.npz.*mobilenet_v2"):
        Segmenter.from_checkpoint(tmp_path / "trunk.npz")


def test_paths_without_a_checkpoint(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="nowhere"):
        Segmenter.from_checkpoint(tmp_path / "nowhere")
    with pytest.raises(checkpoint.CheckpointError, match=r"model\.json"):
        Segmenter.from_checkpoint(tmp_path)
    (tmp_path / "weights.pth").write_bytes(b"<html>")
    with pytest.raises(weights.WeightsError, match=r"weights\.pth"):
        Segmenter.from_checkpoint(tmp_path / "weights.pth")


def test_a_segmenter_can_be_pickled_after_use():
    (image,) = _images([(20, 30)])
    segmenter = _segmenter(scales=(0.5, 1.0), flip=True)
    before = segmenter(image).scores
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(segmenter))(image).scores, before)
