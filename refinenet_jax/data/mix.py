"""Several datasets trained on at once."""

import os
from collections.abc import Sequence

from refinenet_jax.data.sources import DataError, DatasetInfo, Source, open_source

Mix = Sequence[tuple[Source, float]]


def open_mix(parts: Sequence[tuple[str, float]], split: str, data_dir: str | os.PathLike | None = None) -> Mix:
    """Opens the datasets of a mix.

    Args:
      parts: (name, weight) of each dataset, named as for `open_source`: of every n examples, n * weight / sum of weights come
        from it (weights are kept to a hundredth of the smallest).
      split: of each.
      data_dir: see open_source.

    Raises:
      DataError: a weight that is none, a dataset twice, one that is not there, or other classes than the first has.
    """
    if isinstance(parts, str) or not all(isinstance(part, tuple | list) and len(part) == 2 for part in parts):
        raise DataError(
            f"The mix is {parts!r}; write a (name, weight) for each dataset: "
            """--config.data.mix='(("egohands/hands", 2.0), ("gtea/wrist", 1.0))'"""
        )
    names = [name for name, _ in parts]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"The mix names {', '.join(sorted(twice))} twice; give it one, greater, weight.")
    for name, weight in parts:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise DataError(f"The mix gives {name} the weight {weight!r}; write (name, weight) with a number above 0.")
    mix = [(open_source(name, split, data_dir), float(weight)) for name, weight in parts]
    first = mix[0][0].info
    for source, _ in mix:
        require_same_classes(first, source.info)
    return mix


def require_same_classes(first: DatasetInfo, second: DatasetInfo) -> None:
    """Raises DataError unless two datasets have the same classes in the same order."""
    if first.class_names != second.class_names:
        raise DataError(
            f"{first.name} has the classes {', '.join(first.class_names)}, but {second.name} has"
            f" {', '.join(second.class_names)}. One network learns one set: choose configs of the datasets that agree."
        )
