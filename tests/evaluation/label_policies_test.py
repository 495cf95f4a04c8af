"""Common classes of networks and datasets, refused pairs, and merged probabilities and masks."""

import jax
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
    segmenter = Segmenter(tiny.Tiny(len(names)), {}, names)
    assert label_policies.merged_segmenter(segmenter, mapping) is segmenter


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
    ("model", "dataset", "facts"),
    [
        (HAND, ARM, "'hand and arm'.*--policy=merge_to_hand"),
        (LOWER, SIDES, "'lower arm'.*--policy=merge_to_hand"),
        (ARM, LOWER, "'hand and arm', 'lower arm'"),
        (PARTS, HAND, "'head', 'torso', .*'lower arms'"),
        (PARTS, PARTS, "'head'"),
        (("background", "glove"), HAND, "'glove' [^-]*$"),
        (("background", "hand-held object"), HAND, "'hand-held object'"),
    ],
)
def test_classes_other_than_hands_are_refused(model, dataset, facts):
    with pytest.raises(UsageError, match=facts):
        meet(model, dataset, "hands_only")


def test_arms_count_as_hands_with_merge_to_hand():
    assert meet(HAND, ARM, "merge_to_hand").of_dataset == (0, 1)
    mapping = meet(PARTS, HAND, "merge_to_hand")
    assert mapping.class_names == HANDS
    assert mapping.of_model == (0, 0, 0, 0, 1, 0, 0)  # upper arms do not include hands

    with pytest.raises(UsageError, match=r"network.*glove"):
        meet(("background", "glove"), HAND, "merge_to_hand")
    with pytest.raises(UsageError, match="'merge_to_hand'"):
        meet(HAND, HAND, "merge")


def test_masks_with_merged_classes_keep_void():
    source = tiny.Pictures([(24, 32)] * 3, tiny.HANDS)
    relabeled = label_policies.RelabeledSource(source, meet(SIDES, SIDES[:1] + SIDES[:0:-1], "hands_only"))
    assert relabeled.info.class_names == HANDS
    assert len(relabeled) == 3
    before, after = source[2], relabeled[2]
    np.testing.assert_array_equal(after["mask"], np.where(before["mask"] == 2, 1, before["mask"]))
    assert set(np.unique(before["mask"])) == {0, 1, 2, 255}
    assert before["id"] == after["id"]


def test_probabilities_are_added_before_the_decision():
    """With all settings of the segmenter, and a channel for void."""
    settings = {"flip": True, "scales": (0.9,), "longest_side": 60}
    segmenter = Segmenter(tiny.Tiny(4), tiny.variables(4), SIDES, ((1, 2),), **settings)
    merged = label_policies.merged_segmenter(segmenter, meet(SIDES, HAND, "hands_only"))
    image = tiny.Pictures([(24, 32)], tiny.HANDS)[0]["image"]
    separate, together = segmenter(image).scores, merged(image).scores
    np.testing.assert_allclose(together[..., 0], separate[..., 0], atol=1e-5)
    np.testing.assert_allclose(together[..., 1], separate[..., 1:].sum(-1), atol=1e-5)
    split = (separate.argmax(-1) == 0) & (separate[..., 0] < 0.5)
    assert split.any()  # background only because the hand was divided into two classes
    assert (merged(image).mask[split] == 1).all()


@pytest.mark.parametrize("channels", [3, 4])
def test_merged_classes_in_protocol_cvpr18(channels, monkeypatch):
    """A person-part network whose lower arms count as hands: other parts are background; a fourth channel is void."""
    monkeypatch.setattr(cvpr18, "SHORT_EDGE", (20, 40))
    monkeypatch.setattr(cvpr18, "SCALES", (1.0,))
    names = ("background", "torso", "lower arms")
    mapping = meet(names, HAND, "merge_to_hand")
    source = tiny.Pictures([(24, 32)] * 2, tiny.HANDS)
    merged = label_policies.merged_segmenter(Segmenter(tiny.Tiny(channels), tiny.variables(channels), names), mapping)
    masks = {}
    cvpr18.count(merged, source, 2, save=lambda name, mask: masks.update({name: mask}))
    images = np.stack([example["image"] for example in source])
    x = cvpr18.prepare(tiny.Tiny(channels), images, 1.0)
    probabilities = jax.nn.softmax(jax.jit(tiny.Tiny(channels).apply)(tiny.variables(channels), x))
    arms = np.asarray(probabilities[..., 2:].max(-1) > probabilities[..., :2].sum(-1))  # void counts as hand
    for mask, arm in zip(masks.values(), arms, strict=True):
        assert mask.shape == (24, 32)
        assert 0 < arm.mean() < 1
        assert (mask[1::4, 1::4] == arm).mean() > 0.8  # the mask is enlarged
