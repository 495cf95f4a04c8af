"""Maps the classes of a network to those of a dataset with other classes, so that it can be scored there.

By their names, classes are hands ("hand", "left hand", "own right hand", ...), arms that include the hand ("hand and arm",
"lower arms", as drawn by the authors of GTEA and Person-Part), or something else. All kinds of hands are merged. An arm has
several times the pixels of a hand, so a pair with hands on one side and arms on the other is refused unless it is asked for.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

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
        fix = "Choose builds of hands alone (gtea/wrist, person_parts/hands)"
        if any(kinds[name] == "arm" for name in strange):
            fix += ", or give --policy=merge_to_hand to count arms as hands and all else as background"
        names = ", ".join(map(repr, strange))
        raise UsageError(f"{names} {'is' if len(strange) == 1 else 'are'} not a hand. {fix}.")
    sides = [tuple(int(i > 0 and kinds[name] in wanted) for i, name in enumerate(names)) for names in (model, dataset)]
    for what, names, ids in zip(("the network", "the dataset"), (model, dataset), sides, strict=True):
        if not any(ids):
            raise UsageError(
                f"{what} has no class that is or includes a hand, only {', '.join(names)}. Choose another one."
            )
    return Mapping(HANDS, *sides)


def merged_segmenter(segmenter: Segmenter, mapping: Mapping) -> Segmenter:
    """Returns a segmenter that adds the probabilities of merged classes before the decision."""
    if mapping.of_model == tuple(range(len(segmenter.class_names))):
        return segmenter
    return replace(segmenter, class_names=mapping.class_names, merged=mapping.of_model)


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


def _kind(name: str) -> str:
    """Returns 'hand', 'arm' (including the hand) or 'other'."""
    words = [word.removesuffix("s") for word in re.findall(r"[a-z]+", name.lower())]
    if set(words) & {"hand", "left", "right"} and set(words) <= _OF_HANDS:
        return "hand"
    if set(words) & {"arm", "forearm"} and not set(words) & {"upper", "sleeve"}:
        return "arm"
    return "other"
