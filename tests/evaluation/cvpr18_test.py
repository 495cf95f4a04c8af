"""The published fusion and comparison, compared with NumPy code after the scripts and MATLAB's manual."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from refinenet_jax.evaluation import cvpr18


def _cubic(x):
    """Keys' kernel with a = -1/2, which MATLAB's imresize calls cubic."""
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def _resized(row, m):
    """Resizes a row to m numbers: mirrored borders, the kernel stretched to shrink; float64."""
    n = len(row)
    stretch = max(n / m, 1)
    result = []
    for i in range(m):
        center = (i + 0.5) * n / m - 0.5
        taps = range(int(np.floor(center - 2 * stretch)) - 1, int(np.ceil(center + 2 * stretch)) + 2)
        weights = np.array([_cubic((center - t) / stretch) for t in taps])
        mirrored = [t % (2 * n) for t in taps]
        values = np.array([row[t if t < n else 2 * n - 1 - t] for t in mirrored])
        result.append((weights @ values) / weights.sum())
    return np.array(result)


def _resized_map(x, size):
    x = np.apply_along_axis(_resized, 0, x, size[0])
    return np.apply_along_axis(_resized, 1, x, size[1])


@pytest.mark.parametrize("size", [(5, 9), (9, 30)])
def test_imresize_rounds_after_each_direction(size):
    """Of 12 x 10: the direction that shrinks more goes first."""
    image = np.random.default_rng(0).integers(0, 256, (12, 10)).astype(float)
    expected = image
    for axis in sorted((0, 1), key=lambda axis: size[axis] / image.shape[axis]):
        expected = np.floor(np.apply_along_axis(_resized, axis, expected, size[axis]) + 0.5).clip(0, 255)
    found = np.asarray(cvpr18.imresize(jnp.asarray(image)[None, ..., None], size))[0, ..., 0]
    assert (found == np.round(found)).all()
    assert abs(found - expected).max() <= 1  # float32 against float64 where a half is rounded
    assert (found != expected).mean() < 0.02


@pytest.mark.parametrize(
    ("values", "above"),
    [
        ([0, 0, 255, 255], 127),  # any of 0..254 separates them: their mean
        ([10, 12, 200, 202], 105.5),  # any of 12..199
        ([0, 0, 0, 0], 0),
        ([255, 255, 255, 255], 0),  # one value: the threshold is 0
        # Otsu maximizes w0 w1 (m0 - m1)^2. Cut at 0, 60 and 200: 3/16 (171.7)^2 = 5526, 1/4 (197.5)^2 = 9752 and
        # 3/16 (168.3)^2 = 5313. The best is any of 60..199.
        ([0, 60, 200, 255], 129.5),
    ],
)
def test_imbinarize_by_hand(values, above):
    image = np.array([values], np.uint8)
    np.testing.assert_array_equal(cvpr18.imbinarize(image), image > above)


def test_compare_at_the_same_size_by_hand():
    truth = np.array([[0, 1, 2, 255], [1, 0, 255, 2]], np.uint8)
    prediction = np.array([[1, 2, 0, 1], [1, 0, 0, 1]], np.uint8)
    # Counted 6: background right 1, false hand 1; hands right 3 (left for right among them), missed 1.
    for dataset in ("mine", "hof", "egohands"):
        assert cvpr18.compare(truth, prediction, dataset).tolist() == [[1, 1], [1, 3]]


def test_egohands_truth_is_resized_to_the_prediction():
    """720x1280, with a hand in the left half; at 216x384 the left half is hand for any treatment of pixel edges."""
    truth = np.zeros((720, 1280), np.uint8)
    truth[:, :640] = 4  # another's right hand
    prediction = np.zeros((216, 384), np.uint8)
    prediction[:, :192] = 1
    assert cvpr18.compare(truth, prediction, "egohands").tolist() == [[216 * 192, 0], [0, 216 * 192]]
    prediction[:, 192:202] = 1
    assert cvpr18.compare(truth, prediction, "egohands").tolist() == [[216 * 182, 2160], [0, 216 * 192]]
    # In other datasets the prediction is resized to the truth.
    assert cvpr18.compare(truth, prediction, "eyth").sum() == 720 * 1280


@pytest.mark.parametrize(
    ("size", "scale", "enlarged", "expected"),
    [
        ((720, 1280), 1.0, 1.2, (720, 1280)),  # to 600x1067 (1066.7 is rounded up), enlarged: 720, 1280.4
        ((720, 1280), 0.6, 1.0, (360, 640)),  # 600 * 0.6, 1066.7 * 0.6
        ((405, 720), 0.8, 1.0, (360, 640)),  # to 450x800, times 0.8
        ((216, 384), 0.6, 1.2, (324, 576)),  # to 450x800, 270x480, enlarged
        ((500, 333), 1.0, 1.0, (676, 450)),  # the short edge is the width; 675.7 is rounded up
        ((480, 640), 1.0, 1.0, (480, 640)),  # within the bounds
    ],
)
def test_input_sizes(size, scale, enlarged, expected):
    model = tiny.Tiny(2, input_scale=enlarged)
    shape = jax.eval_shape(
        lambda x: cvpr18.prepare(model, x, scale), jax.ShapeDtypeStruct((1, *size, 3), np.uint8)
    ).shape
    assert shape == (1, *expected, 3)


class _Maps:
    """A network with given logits for each of the three scales."""

    input_scale = 1.0
    normalization = "minus_128"

    def __init__(self, maps):
        self._maps = iter(maps)

    def apply(self, variables, x):
        return jnp.asarray(next(self._maps), jnp.float32)[None]


def _fused(maps, size):
    image = jnp.zeros((1, 480, 640, 3), jnp.uint8)
    return np.asarray(jax.jit(lambda image: cvpr18.hands(_Maps(maps), {}, image, size))(image))[0]


def _script(maps, size, bytes_=True, logarithm=True, floor=-20):
    """multiscale_evaluation.m in float64, or a variant of it."""
    total = 0
    for logits in maps:
        scores = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        scores = np.floor(scores * 255 + 0.5) if bytes_ else scores * 255
        if scores.shape[:2] != size:
            with np.errstate(divide="ignore"):
                scores = np.maximum(np.log(scores), floor) if logarithm else scores
            scores = np.stack([_resized_map(scores[..., c], size) for c in range(3)], -1)
            scores = np.exp(scores) if logarithm else scores
        total = total + scores / 3
    return total.argmax(-1)


def test_fusion_follows_the_script():
    """Maps of other sizes than the result, compared with the script, from which variants differ."""
    rng = np.random.default_rng(2)
    maps = [rng.normal(0, 4, (*size, 3)) for size in ((6, 10), (8, 12), (16, 20))]
    expected = _script(maps, (16, 20))
    assert {0, 1, 2} == set(expected.ravel())  # 2 is void, as in the authors' networks, and counts as hand
    np.testing.assert_array_equal(_fused(maps, (16, 20)), expected != 0)
    for other in ({"bytes_": False}, {"logarithm": False}, {"floor": -5}):
        assert ((_script(maps, (16, 20), **other) != 0) != (expected != 0)).any(), other


def test_counts_of_a_source(monkeypatch):
    """Of several sizes, in batches that 8 devices do not divide."""
    monkeypatch.setattr(cvpr18, "SHORT_EDGE", (20, 40))  # quick to compute
    source = tiny.Pictures([(17, 30), (24, 32), (24, 32), (17, 30)], tiny.HANDS)
    segmenter = tiny.segmenter()
    saved, done = {}, []
    counts = cvpr18.count(segmenter, source, 4, done.append, lambda name, mask: saved.update({name: mask}))
    assert counts.sum((1, 2)).tolist() == [int((example["mask"] != 255).sum()) for example in source]
    assert sum(done) == 4
    for row, example in zip(counts, source, strict=True):
        mask = saved[example["id"]]
        assert mask.shape == example["mask"].shape
        np.testing.assert_array_equal(row, cvpr18.compare(example["mask"], mask, "sides"))
    assert len({row.tobytes() for row in counts}) == 4
