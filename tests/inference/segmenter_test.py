"""Probabilities of every pixel at its own place: scales, flips, padding and batches change nothing that they should not."""

import gc
import pickle
import weakref
from functools import partial

import flax.linen as nn
import jax
import numpy as np
import pytest
import tiny
from PIL import Image

from refinenet_jax import checkpoint, models, weights
from refinenet_jax.errors import UsageError
from refinenet_jax.inference.segmenter import Segmenter
from refinenet_jax.weights.names import pytorch_name


def _segmenter(model=None, **options):
    return Segmenter(model or tiny.Tiny(3), tiny.variables(), tiny.HANDS.class_names, tiny.HANDS.flip_pairs, **options)


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


def test_with_flips_the_mirrored_image_has_the_mirrored_result():
    (image,) = _images([(32, 64)])
    segmenter = _segmenter(flip=True, scales=(0.75, 1.0))
    _close(segmenter(image[:, ::-1]).scores, segmenter(image).scores[:, ::-1][..., [0, 2, 1]])


def test_averaging_does_not_mix_the_images_of_a_batch():
    """16 images: two on each device."""
    images = _images([(32, 32)] * 16)
    segmenter = _segmenter(flip=True, scales=(0.5, 1.0))
    together = [result.scores for result in segmenter.stream(images, batch_size=16)]
    for image, scores in zip(images, together, strict=True):
        _close(segmenter(image).scores, scores)
    assert np.abs(together[0] - together[1]).max() > 0.1


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_stream_keeps_the_order(batch_size):
    images = _images([(32, 32), (20, 30), (40, 20), (32, 32), (31, 32), (5, 40), (6, 40), (64, 64)])
    segmenter = _segmenter()
    results = list(segmenter.stream(iter(images), batch_size))
    assert len(results) == len(images)
    for image, result in zip(images, results, strict=True):
        np.testing.assert_array_equal(result.image, image)
        _close(result.scores, segmenter(image).scores)


def test_stream_of_nothing():
    assert list(_segmenter().stream([])) == []


def test_stream_asks_for_no_more_than_it_needs():
    """So that a video of any length takes constant memory."""
    asked = []

    def images():
        for image in _images([(16, 16)] * 100):
            asked.append(1)
            yield image

    stream = _segmenter().stream(images(), batch_size=8)
    next(stream)
    assert len(asked) <= 9


def test_images_of_one_canvas_share_a_program():
    shapes = []

    class Counted(tiny.Tiny):
        @nn.compact
        def __call__(self, x, train=False):
            shapes.append(x.shape[1:3])
            return tiny.Tiny.__call__(self, x, train)

    segmenter = Segmenter(Counted(3), tiny.variables(), tiny.HANDS.class_names)
    for image in _images([(33, 40), (64, 64), (50, 61), (20, 20), (1, 32), (60, 40)]):
        segmenter(image)
    assert shapes == [(64, 64), (32, 32)]


def test_what_was_given_out_is_not_kept():
    """Else a video of scores, 7 MB each at 1280 x 720, would fill the memory."""
    stream = _segmenter().stream(_images([(16, 16)] * 3), batch_size=3)
    first = next(stream)
    assert first.scores.base is None  # no view of the batch
    scores = weakref.ref(first.scores)
    del first
    gc.collect()
    assert scores() is None


def test_batch_keeps_the_order_of_mixed_images():
    images = _images([(40, 20), (20, 30), (33, 33), (31, 32), (64, 40)])
    segmenter = _segmenter()
    together = segmenter.batch(images)
    assert len(segmenter.programs.shapes) == 3  # 64 x 32, 32 x 32 and 64 x 64
    for image, result in zip(images, together, strict=True):
        np.testing.assert_array_equal(result.image, image)
        _close(result.scores, segmenter(image).scores)
    assert segmenter.batch([]) == []


def test_the_canvas_holds_the_image_at_the_upper_left_and_repeats_its_edge():
    (image,) = _images([(20, 30)])
    prepared = _segmenter().prepare(image)
    assert prepared.size == (20, 30)
    assert prepared.canvas.shape == (32, 32, 3)
    np.testing.assert_array_equal(prepared.canvas[:20, :30], image)
    np.testing.assert_array_equal(prepared.canvas[20:, :30], np.broadcast_to(image[-1], (12, 30, 3)))
    np.testing.assert_array_equal(prepared.canvas[:20, 31], image[:, -1])


def test_void_is_left_out_and_the_other_classes_sum_to_one():
    (image,), sides = _images([(32, 32)]), tiny.HANDS
    variables = tiny.variables(4)
    scores = Segmenter(tiny.Tiny(4), variables, sides.class_names)(image).scores
    whole = Segmenter(tiny.Tiny(4), variables, (*sides.class_names, "void"))(image).scores
    assert whole[..., 3].max() > 0.1
    _close(scores, whole[..., :3] / whole[..., :3].sum(-1, keepdims=True))


@pytest.mark.parametrize(("devices", "rows"), [(1, 4), (2, 4), (8, 8)])
def test_batches_of_a_canvas_have_one_length(monkeypatch, devices, rows):
    """Of two canvases in turn, 11, 1, 1 and 3 images: each other length would be a program."""
    some = jax.local_devices()[:devices]
    monkeypatch.setattr(jax, "local_devices", lambda: some)
    monkeypatch.setattr(jax, "local_device_count", lambda: devices)
    images = _images([(20, 30)] * 11 + [(33, 32)] + [(20, 30)] + [(40, 20)] * 3)
    for run in (Segmenter.stream, Segmenter.batch):
        segmenter = _segmenter()
        results = list(run(segmenter, images, 4))
        assert [result.image.shape for result in results] == [image.shape for image in images]
        assert set(segmenter.programs.shapes) == {(rows, 32, 32, 3), (rows, 64, 32, 3)}


def test_images_wait_for_others_of_their_canvas_but_not_for_all():
    """Memory stays that of a few batches, however many canvases there are."""
    segmenter, asked = _segmenter(), []

    def images():
        for i in range(100):
            asked.append(i)
            yield i, segmenter.prepare(np.zeros((32 * (1 + i % 8), 8, 3), np.uint8))

    results = segmenter.unordered(images(), 16)
    seen = [next(results)[0]]
    assert len(asked) <= 64
    seen += [key for key, _ in results]
    assert sorted(seen) == list(range(100))


def _enlarged(array, times):
    return array.repeat(times, 0).repeat(times, 1)


def test_a_longest_side_makes_the_result_independent_of_the_resolution():
    (image,) = _images([(24, 64)])
    fitted = _segmenter(longest_side=64)
    plain = _segmenter()(image)
    _close(fitted(image).scores, plain.scores)  # it fits already
    large = fitted(_enlarged(image, 5))
    assert large.scores.shape == (120, 320, 3)
    assert large.image.shape == (120, 320, 3)
    _close(large.scores[2::5, 2::5], plain.scores)  # the middles of the enlarged pixels
    small = fitted(image[::2, ::2])
    assert small.scores.shape == (12, 32, 3)
    upright = fitted(_enlarged(image, 5).swapaxes(0, 1))
    assert upright.scores.shape == (320, 120, 3)
    assert len(fitted.programs.shapes) == 2  # 32 x 64 and 64 x 32, whatever the resolution


def test_a_longest_side_mixes_no_images_up():
    images = _images([(40, 20), (20, 30), (33, 33), (310, 320), (64, 40)])
    fitted = _segmenter(longest_side=32)
    for image, result in zip(images, fitted.batch(images), strict=True):
        assert result.image is image
        _close(result.scores, fitted(image).scores)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scales": ()}, r"scales are \[\]"),
        ({"scales": (1.0, 0.0)}, r"scales are \[1\.0, 0\.0\]"),
        ({"scales": (float("nan"),)}, r"scales are \[nan\]"),
        ({"longest_side": -1}, "longest_side is -1"),
        ({"model": tiny.Tiny(2)}, "2 channels, but 3 class names: background, left, right"),
        ({"model": tiny.Tiny(5)}, "5 channels, but 3 class names"),
    ],
)
def test_what_cannot_be_is_refused_before_it_is_compiled(options, says):
    with pytest.raises(UsageError, match=says):
        _segmenter(**options)


def _real_variables(classes=3):
    shapes = models.variable_shapes(models.create_model("rf_lw_mbv2", classes))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), shapes)


def test_one_file_of_ours_is_as_good_as_a_folder(tmp_path):
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
    other = Segmenter.from_checkpoint(path, scales=[2], flip=False, tile=256, longest_side=0)
    assert (other.scales, other.flip, other.tile, other.longest_side) == ((2,), False, 256, 0)
    with pytest.raises(UsageError, match=r"weights\.safetensors.*step 7"):
        Segmenter.from_checkpoint(path, step=7)


def test_classes_of_a_foreign_file_are_named_by_their_number(tmp_path):
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


def test_what_is_no_checkpoint_is_named(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match=r"nowhere does not exist\. Give the --workdir"):
        Segmenter.from_checkpoint(tmp_path / "nowhere")
    with pytest.raises(checkpoint.CheckpointError, match=r"has no model\.json"):
        Segmenter.from_checkpoint(tmp_path)
    (tmp_path / "weights.pth").write_bytes(b"<html>")
    with pytest.raises(weights.WeightsError, match=r"weights\.pth is a web page"):
        Segmenter.from_checkpoint(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (np.zeros((4, 5), np.uint8), r"uint8 \[4, 5\]"),
        (np.zeros((4, 5, 4), np.uint8), r"uint8 \[4, 5, 4\]"),
        (np.zeros((4, 5, 3), np.float32), r"float32 \[4, 5, 3\]"),
        (np.zeros((1, 4, 5, 3), np.uint8), r"uint8 \[1, 4, 5, 3\]"),
        (np.zeros((0, 5, 3), np.uint8), r"uint8 \[0, 5, 3\]"),
    ],
)
def test_what_is_no_image_is_refused_with_its_shape(image, says):
    with pytest.raises(UsageError, match=rf"{says}.*uint8 \[h, w, 3\] RGB"):
        _segmenter()(image)


def test_a_segmenter_can_be_pickled_after_use():
    (image,) = _images([(20, 30)])
    segmenter = _segmenter(scales=(0.5, 1.0), flip=True)
    before = segmenter(image).scores
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(segmenter))(image).scores, before)


def test_images_may_be_files(tmp_path, monkeypatch):
    (image,) = _images([(20, 30)])
    Image.fromarray(image).save(tmp_path / "a.png")
    segmenter = _segmenter()
    expected = segmenter(image).scores
    for given in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.open(tmp_path / "a.png")):
        np.testing.assert_array_equal(segmenter(given).scores, expected)
    for given in (None, [image.tolist()], jax.numpy.asarray(image)):
        with pytest.raises(UsageError, match="a NumPy array"):
            segmenter(given)


def test_home_of_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    weights.save_weights(
        tmp_path / "w.npz",
        _real_variables(),
        {"variant": "rf_lw_mbv2", "class_names": ["b", "l", "r"], "dtype": "float32"},
    )
    assert Segmenter.from_checkpoint("~/w.npz").class_names == ("b", "l", "r")
