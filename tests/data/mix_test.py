"""What a mix of datasets refuses; what it yields is in pipeline_test."""

import pytest

from refinenet_jax.data import mix, sources


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ((("a", 1.0), ("a", 2.0)), "names a twice"),
        ((("a", 0),), "gives a the weight 0"),
        ((("a", "much"),), "the weight 'much'"),
        ((("a", float("nan")),), "the weight nan"),
        ("egohands/hands,gtea/wrist", "--config.data.mix="),
        (("a", "b"), "--config.data.mix="),
        (("ab", 1.0), "--config.data.mix="),
    ],
)
def test_impossible_mixes_are_named(parts, says):
    with pytest.raises(sources.DataError, match=says):
        mix.open_mix(parts, "train")


def test_datasets_must_agree_on_the_classes():
    hands = sources.DatasetInfo("egohands/hands", ("background", "hand"))
    sides = sources.DatasetInfo("egohands/left_right", ("background", "left hand", "right hand"))
    mix.require_same_classes(hands, sources.DatasetInfo("gtea/wrist", ("background", "hand")))
    with pytest.raises(
        sources.DataError, match="egohands/hands has the classes background, hand, but egohands/left_right has"
    ):
        mix.require_same_classes(hands, sides)
