"""Which classes meet, which pairs are refused, and what merging does to probabilities and masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import cvpr18, label_policies
from refinenet_jax.evaluation.label_policies import HANDS, meet
from refinenet_jax.inference.segmenter import Segmenter

HAND, SIDES = ("background", "hand"), ("background", "left hand", "right hand")
WHOSE = ("background", "own left hand", "own right hand", "other left hand", "other right hand")
ARM, LOWER = ("background", "hand and arm"), ("background", "lower arm")
PARTS = ("background", "head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")


@pytest.mark.parametrize("names", [HAND, SIDES, WHOSE, ARM, LOWER])
def test_equal_classes_stay(names):
    mapping = meet(names, names, "hands_only")
    assert mapping.class_names == names
    assert mapping.of_model == mapping.of_dataset == tuple(range(len(names)))


@pytest.mark.parametrize(
    ("model", "dataset", "of_model", "of_dataset"),
    [
        (HAND, SIDES, (0, 1), (0, 1, 1)),
        (WHOSE, HAND, (0, 1, 1, 1, 1), (0, 1)),
        (("background", "left", "right"), ("background", "Hands"), (0, 1, 1), (0, 1)),
        (SIDES, ("background", "right hand", "left hand"), (0, 1, 1), (0, 1, 1)),
    ],
)
def test_hands_of_all_kinds_are_hands(model, dataset, of_model, of_dataset):
    mapping = meet(model, dataset, "hands_only")
    assert (mapping.class_names, mapping.of_model, mapping.of_dataset) == (HANDS, of_model, of_dataset)


@pytest.mark.parametrize(
    ("model", "dataset", "says"),
    [
        (HAND, ARM, r"'hand and arm' is more than a hand: choose builds of hands alone .*--policy=merge_to_hand"),
        (LOWER, SIDES, r"'lower arm' is more than a hand.*--policy=merge_to_hand"),
        (ARM, LOWER, r"'hand and arm' and 'lower arm' is more than a hand"),
        (PARTS, HAND, r"'lower arms' .*'head', 'torso', "),
        (PARTS, PARTS, r"'lower arms' is more than a hand; 'head'"),
        (("background", "glove"), HAND, r"'glove' [^-]*$"),
        (("background", "hand-held object"), HAND, r"'hand-held object' "),
    ],
)
def test_what_is_not_a_hand_is_refused(model, dataset, says):
    with pytest.raises(UsageError, match=says):
        meet(model, dataset, "hands_only")


def test_arms_count_as_hands_where_that_is_asked_for():
    assert meet(HAND, ARM, "merge_to_hand").of_dataset == (0, 1)
    mapping = meet(PARTS, HAND, "merge_to_hand")
    assert mapping.class_names == HANDS
    assert mapping.of_model == (0, 0, 0, 0, 1, 0, 0)  # upper arms have no hands at their ends


def test_nothing_to_compare_is_refused_under_any_policy():
    with pytest.raises(UsageError, match=r"the network has .* only background, glove"):
        meet(("background", "glove"), HAND, "merge_to_hand")
    with pytest.raises(UsageError, match="did you mean 'merge_to_hand'"):
        meet(HAND, HAND, "merge")


def test_masks_get_the_new_classes_and_keep_void():
    source = tiny.Pictures([(24, 32)] * 3, tiny.HANDS)
    relabeled = label_policies.RelabeledSource(source, meet(SIDES, SIDES[:1] + SIDES[:0:-1], "hands_only"))
    assert relabeled.info.class_names == HANDS
    assert len(relabeled) == 3
    before, after = source[2], relabeled[2]
    np.testing.assert_array_equal(after["mask"], np.where(before["mask"] == 2, 1, before["mask"]))
    assert set(np.unique(before["mask"])) == {0, 1, 2, 255}
    assert before["id"] == after["id"]


def test_probabilities_are_added_before_the_decision():
    segmenter = Segmenter(tiny.Tiny(3), tiny.variables(), SIDES, ((1, 2),), flip=True)
    merged = label_policies.merged_segmenter(segmenter, meet(SIDES, HAND, "hands_only"))
    image = tiny.Pictures([(24, 32)], tiny.HANDS)[0]["image"]
    separate, together = segmenter(image).scores, merged(image).scores
    np.testing.assert_allclose(together[..., 0], separate[..., 0], atol=1e-5)
    np.testing.assert_allclose(together[..., 1], separate[..., 1:].sum(-1), atol=1e-5)
    split = (separate.argmax(-1) == 0) & (separate[..., 0] < 0.5)
    assert split.any()  # background only because the hand was in two halves
    assert (merged(image).mask[split] == 1).all()


def test_merged_classes_keep_scales_and_longest_side():
    segmenter = Segmenter(tiny.Tiny(3), tiny.variables(), SIDES, scales=(0.5,), longest_side=64)
    merged = label_policies.merged_segmenter(segmenter, meet(SIDES, HAND, "hands_only"))
    image = tiny.Pictures([(96, 128)], tiny.HANDS)[0]["image"]
    np.testing.assert_allclose(merged(image).scores[..., 0], segmenter(image).scores[..., 0], atol=1e-5)
    of_size = [jax.jit(s.probabilities)(s.variables, image[None])[..., 0] for s in (segmenter, merged)]
    np.testing.assert_allclose(*of_size, atol=1e-5)


def test_void_channel_stays_apart():
    model = label_policies.MergedModel(tiny.Tiny(4), (0, 1, 1, 2))
    x = jnp.ones((1, 8, 8, 3))
    variables = tiny.variables(4)
    logits, merged = tiny.Tiny(4).apply(variables, x), model.apply(variables, x)
    assert model.num_classes == merged.shape[-1] == 3
    before, after = jax.nn.softmax(logits), jax.nn.softmax(merged)
    np.testing.assert_allclose(after[..., 2], before[..., 3], rtol=1e-5)
    np.testing.assert_allclose(after[..., 1], before[..., 1] + before[..., 2], rtol=1e-5)


def test_protocol_cvpr18_takes_merged_classes_too(monkeypatch):
    """A person-part network whose lower arms count as hands: what lies on other parts is background there as well."""
    monkeypatch.setattr(cvpr18, "SHORT_EDGE", (20, 40))
    monkeypatch.setattr(cvpr18, "SCALES", (1.0,))
    names = ("background", "torso", "lower arms")
    mapping = meet(names, HAND, "merge_to_hand")
    source = tiny.Pictures([(24, 32)] * 2, tiny.HANDS)
    merged = label_policies.merged_segmenter(Segmenter(tiny.Tiny(3), tiny.variables(), names), mapping)
    masks = {}
    cvpr18.count(merged, source, 2, save=lambda name, mask: masks.update({name: mask}))
    images = np.stack([example["image"] for example in source])
    x = cvpr18.prepare(tiny.Tiny(3), images, 1.0)
    probabilities = jax.nn.softmax(tiny.Tiny(3).apply(tiny.variables(), x))
    arms = np.asarray(probabilities[..., 2] > probabilities[..., :2].sum(-1))
    for mask, arm in zip(masks.values(), arms, strict=True):
        assert mask.shape == (24, 32)
        assert 0 < arm.mean() < 1
        assert (mask[1::4, 1::4] == arm).mean() > 0.8  # which is enlarged


def test_same_classes_leave_the_network_alone():
    segmenter = Segmenter(tiny.Tiny(3), tiny.variables(), SIDES)
    assert label_policies.merged_segmenter(segmenter, meet(SIDES, SIDES, "hands_only")) is segmenter
