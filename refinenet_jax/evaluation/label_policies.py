"""Maps the classes of a network to those of a dataset with other classes, so that it can be scored there.

By their names, classes are hands ("hand", "left hand", "own right hand", ...), arms that include the hand ("hand and arm",
"lower arms", as drawn by the authors of GTEA and Person-Part), or something else. All kinds of hands are merged. An arm has
several times the pixels of a hand, so a pair with hands on one side and arms on the other is refused unless it is asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from refinenet_jax import models
from refinenet_jax.data.examples import VOID, DatasetInfo, Source
from refinenet_jax.errors import UsageError, require
from refinenet_jax.inference.segmenter import Segmenter

HANDS = ("background", "hand")
# hands_only: left, right, own and other hands are merged into one class; other classes must be equal.
# merge_to_hand: arms count as hands as well, and everything else as background.
POLICIES = ("hands_only", "merge_to_hand")

_OF_HANDS = {"hand", "left", "right", "own", "my", "other", "your", "person"}


@dataclass(frozen=True)
class Mapping:
    """The common classes of a network and a dataset.

    Attributes:
      class_names: the classes in which both are scored.
      of_model: index into class_names for each class of the network.
      of_dataset: index into class_names for each class of the dataset.
    """

    class_names: tuple[str, ...]
    of_model: tuple[int, ...]
    of_dataset: tuple[int, ...]


def meet(model: Sequence[str], dataset: Sequence[str], policy: str) -> Mapping:
    """Returns the classes in which a network can be scored on a dataset.

    Args:
      model: class names of the network, background first.
      dataset: class names of the dataset, background first.
      policy: one of POLICIES.

    Returns:
      The classes of both if they are equal and consist of hands or of arms only; otherwise background and hand.

    Raises:
      UsageError: they have no kind of hand in common.
    """
    require(policy, POLICIES, "policy")
    model, dataset = tuple(model), tuple(dataset)
    kinds = {name: _kind(name) for name in (*model[1:], *dataset[1:])}
    if model == dataset and set(kinds.values()) in ({"hand"}, {"arm"}):
        return Mapping(model, tuple(range(len(model))), tuple(range(len(dataset))))
    wanted = {"hand"} if policy == "hands_only" else {"hand", "arm"}
    if policy == "hands_only" and (strange := [name for name, kind in kinds.items() if kind != "hand"]):
        raise UsageError(_refusal(strange, kinds))
    sides = [tuple(int(i > 0 and kinds[name] in wanted) for i, name in enumerate(names)) for names in (model, dataset)]
    for what, names, ids in zip(("the network", "the dataset"), (model, dataset), sides, strict=True):
        if not any(ids):
            raise UsageError(
                f"{what} has no class that is or includes a hand, only {', '.join(names)}: there is nothing to compare."
            )
    return Mapping(HANDS, *sides)


def merged_segmenter(segmenter: Segmenter, mapping: Mapping) -> Segmenter:
    """Returns a segmenter that adds the probabilities of merged classes before the decision."""
    if mapping.of_model == tuple(range(len(segmenter.class_names))):
        return segmenter
    channels = mapping.of_model
    if segmenter.model.num_classes > len(channels):  # the last channel is void
        channels += (len(mapping.class_names),)
    return MergedSegmenter(
        **{field.name: getattr(segmenter, field.name) for field in fields(Segmenter)}
        | {"model": MergedModel(segmenter.model, channels), "class_names": mapping.class_names, "flip_pairs": ()},
        original=segmenter,
        of_model=mapping.of_model,
    )


@dataclass(frozen=True, eq=False)
class MergedSegmenter(Segmenter):
    """A segmenter with merged classes; see `merged_segmenter`.

    Attributes:
      original: the segmenter with all classes. Its logits are upsampled before they become probabilities, which are added.
      of_model: index of the merged class for each of its classes.
    """

    original: Segmenter | None = None
    of_model: tuple[int, ...] = ()

    def probabilities(self, variables: dict, canvas: jax.Array) -> jax.Array:
        """See `Segmenter`."""
        return _added(self.original.probabilities(variables, canvas), self.of_model)

    def settings(self) -> tuple:
        """See `Segmenter`."""
        return (*self.original.settings(), self.of_model)


class RelabeledSource:
    """A source with mapped class ids; void is unchanged."""

    def __init__(self, source: Source, mapping: Mapping):
        self.info = DatasetInfo(source.info.name, mapping.class_names)
        self._source = source
        self._table = np.arange(256, dtype=np.uint8)
        self._table[: len(mapping.of_dataset)] = mapping.of_dataset
        self._table[VOID] = VOID

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> dict[str, Any]:
        example = self._source[index]
        return {**example, "mask": self._table[example["mask"]]}

    def encoded(self, index: int) -> tuple[bytes, str]:
        """See `Source`."""
        return self._source.encoded(index)


@dataclass(frozen=True)
class MergedModel:
    """A network that adds the probabilities of merged channels, for protocol cvpr18, which upsamples probabilities.

    Attributes:
      model: the network.
      channels: merged channel for each channel of the network.
    """

    model: models.RefineNet
    channels: tuple[int, ...]

    @property
    def num_classes(self) -> int:
        return max(self.channels) + 1

    @property
    def input_scale(self) -> float:
        return self.model.input_scale

    @property
    def normalization(self) -> str:
        return self.model.normalization

    def apply(self, variables: dict, x: jax.Array) -> jax.Array:
        """Maps float32 [b, h, w, 3] to log-probabilities [b, h/4, w/4, num_classes]."""
        return jnp.log(_added(jax.nn.softmax(self.model.apply(variables, x)), self.channels))


def _added(probabilities: jax.Array, classes: Sequence[int]) -> jax.Array:
    """Sums probabilities [..., n] by class into [..., classes]."""
    parts = [np.flatnonzero(np.array(classes) == i) for i in range(max(classes) + 1)]
    return jnp.stack([probabilities[..., part].sum(-1) for part in parts], -1)


def _kind(name: str) -> str:
    """Returns 'hand', 'arm' (including the hand) or 'other'."""
    words = [word.removesuffix("s") for word in re.findall(r"[a-z]+", name.lower())]
    if set(words) & {"hand", "left", "right"} and set(words) <= _OF_HANDS:
        return "hand"
    if set(words) & {"arm", "forearm"} and not set(words) & {"upper", "sleeve"}:
        return "arm"
    return "other"


def _refusal(strange: Sequence[str], kinds: dict[str, str]) -> str:
    arms = [name for name in strange if kinds[name] == "arm"]
    others = [name for name in strange if kinds[name] == "other"]
    reasons = []
    if arms:
        reasons.append(f"{' and '.join(map(repr, arms))} is more than a hand")
    if others:
        reasons.append(f"{', '.join(map(repr, others))} {'is' if len(others) == 1 else 'are'} not a hand")
    fix = "choose builds of hands alone (gtea/wrist, person_parts/hands)"
    if arms:
        fix += ", or pass --policy=merge_to_hand to count arms as hands and all else as background"
    return f"{'; '.join(reasons)}: {fix}."
