"""The losses count what they should: values by hand and by the papers' formulas, void and weight 0 as if not there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from refinenet_jax.errors import UsageError
from refinenet_jax.training.losses import TERMS, check_options, loss_terms

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(2, 3, 4, 3)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 3, (2, 3, 4)).astype(np.uint8)
VOID = LABELS.copy()  # with unequally much void; class 2 is in the first image only
VOID[0, 0, :2], VOID[1, 1], VOID[1, 2, 0] = 255, 255, 255
VOID[1][VOID[1] == 2] = 1
ONES = np.ones(2, np.float32)
CLASS_WEIGHTS = (0.5, 2.0, 3.0)

CASES = {
    "cross_entropy": {},
    "weighted": {"class_weights": CLASS_WEIGHTS},
    "smoothed": {"class_weights": CLASS_WEIGHTS, "label_smoothing": 0.3},
    "hardest": {"class_weights": CLASS_WEIGHTS, "label_smoothing": 0.3, "hard_fraction": 0.4},
    "dice": {},
    "focal": {"class_weights": CLASS_WEIGHTS},
    "focal_root": {"focal_gamma": 0.5},
    "lovasz": {},
}


def _term(case):
    return case if case in TERMS else case.split("_")[0] if "focal" in case else "cross_entropy"


@functools.cache
def _compiled(case):
    def total(logits, labels, weight):
        terms = loss_terms(logits, labels, weight, weights={_term(case): 1.0}, **CASES[case])
        assert list(terms) == [_term(case)]
        return terms[_term(case)]

    return jax.jit(jax.value_and_grad(total, has_aux=True))


def _loss(case, logits=LOGITS, labels=VOID, weight=ONES):
    """Total, divisor, gradient of the total."""
    (total, divisor), gradient = _compiled(case)(logits, labels, weight)
    return float(total), float(divisor), np.asarray(gradient)


def _in_numpy(case, logits, labels):
    """Sum and divisor of one image, as the papers have them, of the pixels that are not void: no masks, no shortcuts."""
    options = CASES[case]
    there = labels != 255
    x, y = logits[there].astype(np.float64), labels[there]
    p = np.exp(x) / np.exp(x).sum(-1, keepdims=True)
    p_label = p[np.arange(len(y)), y]
    class_weights = np.array(options.get("class_weights", (1.0, 1.0, 1.0)))
    w = class_weights[y]
    if _term(case) == "focal":
        return (-w * (1 - p_label) ** options.get("focal_gamma", 2.0) * np.log(p_label)).sum(), w.sum()
    if _term(case) == "cross_entropy":
        # https://docs.pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
        smoothing, fraction = options.get("label_smoothing", 0.0), options.get("hard_fraction", 1.0)
        losses = -(1 - smoothing) * w * np.log(p_label) - smoothing / 3 * (class_weights * np.log(p)).sum(-1)
        kept = int(np.ceil(fraction * len(y)))
        return np.sort(losses)[::-1][:kept].sum(), w.sum() * kept / len(y)
    one_class = _dice_of_class if case == "dice" else _lovasz_of_class
    return np.mean([one_class(p[:, c], (y == c).astype(float)) for c in np.unique(y)]), 1.0


def _dice_of_class(p, truth):
    return 1 - 2 * (p * truth).sum() / (p.sum() + truth.sum())


def _lovasz_of_class(p, truth):
    """Algorithm 1 of the paper, and the authors' code."""
    order = np.argsort(-np.abs(truth - p))
    truth_sorted = truth[order]
    intersection = truth.sum() - np.cumsum(truth_sorted)
    union = truth.sum() + np.cumsum(1 - truth_sorted)
    jaccard = 1 - intersection / union
    jaccard[1:] = jaccard[1:] - jaccard[:-1]
    return np.abs(truth - p)[order] @ jaccard


@pytest.mark.parametrize("case", CASES)
def test_terms_equal_the_papers_formulas_on_pixels_that_are_not_void(case):
    weight = np.array([1.0, 0.25], np.float32)
    by_image = [_in_numpy(case, LOGITS[i], VOID[i]) for i in (0, 1)]
    np.testing.assert_allclose(_loss(case, weight=weight)[:2], weight @ by_image, rtol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_images_are_summed_and_weight_zero_means_absent(case):
    whole = _loss(case)
    parts = [_loss(case, weight=weight) for weight in np.eye(2, dtype=np.float32)]
    for both, first, second in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(both, first + second, rtol=1e-6)
    assert not parts[0][2][1].any()
    assert whole[1] == _loss(case, -5 * LOGITS)[1]  # divisors do not depend on the logits
    other = np.stack([LOGITS[0], 7 * LOGITS[0]])
    assert _loss(case, other, VOID[[0, 0]], np.array([1, 0], np.float32))[:2] == parts[0][:2]


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_those_of_finite_differences(case):
    with jax.enable_x64(True):
        logits, step = np.asarray(LOGITS, np.float64), 1e-6
        shifts = step * np.eye(logits.size).reshape(-1, *logits.shape)
        total = jax.jit(jax.vmap(lambda x: _compiled(case)(x, VOID, ONES)[0][0]))
        slopes = (total(logits + shifts) - total(logits - shifts)) / (2 * step)
        gradient = _loss(case, logits)[2]
    assert gradient.dtype == np.float64
    assert np.abs(gradient).max() > 0.01
    np.testing.assert_allclose(gradient, slopes.reshape(logits.shape), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_void_pixels_have_no_effect_for_any_logits(case):
    """No gradient, no influence; and logits of 1e4 and 1e30 give numbers, right and wrong, void and not."""
    void = VOID == 255
    total, divisor, gradient = _loss(case)
    assert (gradient[void] == 0).all()
    loud = np.where(void[..., None], LOGITS * 1e4, LOGITS)
    again = _loss(case, loud)
    assert again[:2] == (total, divisor)
    np.testing.assert_array_equal(again[2], gradient)
    for size in (1e4, 1e30):
        assert all(np.isfinite(number).all() for number in _loss(case, LOGITS * np.float32(size)))
    right = np.eye(3, dtype=np.float32)[np.where(void, 0, VOID)]
    for size in (1e4, -1e4):
        assert all(np.isfinite(number).all() for number in _loss(case, right * np.float32(size)))


@pytest.mark.parametrize("case", CASES)
def test_all_void_has_zero_loss_and_zero_gradients_in_every_term(case):
    for size in (1, 1e4, 1e30):
        total, divisor, gradient = _loss(case, LOGITS * np.float32(size), np.full_like(VOID, 255))
        assert total == divisor == 0
        np.testing.assert_array_equal(gradient, 0)


def test_among_equal_pixels_exactly_the_requested_number_is_used():
    """Void has the largest losses of all if it is looked at; ceil(0.4 * 10) = 4 and ceil(0.4 * 7) = 3 pixels."""
    labels = np.where(VOID == 255, 255, 1)
    logits = np.where((VOID == 255)[..., None], [9.0, 0.0, 0.0], 0.0).astype(np.float32)
    _, divisor, gradient = _loss("hardest", logits, labels)
    taken = (gradient != 0).any(-1)
    assert taken.sum((1, 2)).tolist() == [4, 3]
    assert not taken[VOID == 255].any()
    assert divisor == pytest.approx((4 + 3) * CLASS_WEIGHTS[1])


def _certain(prediction):
    """Logits whose softmax is 0 and 1."""
    return np.float32(1e4) * np.eye(3, dtype=np.float32)[prediction]


def test_region_losses_are_0_for_the_truth_and_1_for_nothing_right():
    truth = np.where(VOID == 255, 0, VOID)
    for case in ("dice", "lovasz"):
        assert _loss(case, _certain(truth))[0] == pytest.approx(0, abs=1e-6)
        assert _loss(case, _certain((truth + 1) % 3))[0] == pytest.approx(2, abs=1e-6)


def test_lovasz_gradient_keeps_its_digits_in_large_images():
    """Errors fall from pixel to pixel, so the order is known; neighboring Jaccard losses differ by about 1e-5."""
    n = 20_000
    margin, y = np.linspace(4, -4, n), (np.arange(n) * 7 // 5 % 3 == 0).astype(int)
    logits = np.zeros((1, 100, 200, 2), np.float32)
    logits.reshape(n, 2)[np.arange(n), y] = -margin
    error = 1 / (1 + np.exp(-margin))
    slopes = 0
    for c in (0, 1):
        truth = (y == c).astype(float)
        jaccard = 1 - (truth.sum() - np.cumsum(truth)) / (truth.sum() + np.cumsum(1 - truth))
        slopes = slopes - np.diff(jaccard, prepend=0) * error * (1 - error) / 2
    gradient = _loss("lovasz", logits, y.reshape(1, 100, 200), ONES[:1])[2].reshape(n, 2)[np.arange(n), y]
    np.testing.assert_allclose(gradient, slopes, rtol=2e-4)


def test_terms_without_weight_are_not_computed():
    weights = {"lovasz": 0.5, "dice": 0.0, "cross_entropy": 1}
    terms = jax.eval_shape(functools.partial(loss_terms, weights=weights), LOGITS, VOID, ONES)
    assert list(terms) == ["cross_entropy", "lovasz"]
    assert all(x.dtype == jnp.float32 and x.shape == () for pair in terms.values() for x in pair)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": {"dise": 1.0}}, "Unknown term of the loss 'dise'; did you mean 'dice'"),
        ({"weights": {"dice": 0.0}}, "at least one term a weight above 0"),
        ({"weights": {}}, "at least one term a weight above 0"),
        ({"weights": {"dice": -1.0, "focal": 1.0}}, "none below 0"),
        ({"weights": {"dice": float("nan")}}, "none below 0"),
        ({"class_weights": (1.0, 2.0)}, "give 3 numbers, one for each class"),
        ({"class_weights": (1.0, -2.0, 1.0)}, "none below 0"),
        ({"class_weights": (0.0, 0.0, 0.0)}, "not all 0"),
        ({"label_smoothing": 1.0}, "label_smoothing 1.0; choose 0 for none"),
        ({"hard_fraction": 0.0}, "hard_fraction 0.0; choose 1 for all pixels"),
        ({"hard_fraction": 25}, "hard_fraction 25"),
        ({"focal_gamma": -1.0}, "focal_gamma -1.0; choose 2"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        check_options(3, **{"weights": {"cross_entropy": 1.0}, **options})
    check_options(3, weights={"cross_entropy": 1.0}, class_weights=CLASS_WEIGHTS, hard_fraction=0.25)
