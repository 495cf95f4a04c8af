"""Training on several datasets at once."""

import os
from collections.abc import Sequence

from refinenet_jax.data.examples import DataError, DatasetInfo, Source
from refinenet_jax.data.sources import open_source

Mix = Sequence[tuple[Source, float]]


def open_mix(parts: Sequence[tuple[str, float]], split: str, data_dir: str | os.PathLike | None = None) -> Mix:
    """Opens the datasets of a mix.

    Args:
      parts: (name, weight) of each dataset, named as for `open_source`. Of every n examples, n * weight / sum of weights come
        from this dataset (weights are rounded to a hundredth of the smallest).
      split: split of each dataset.
      data_dir: directory of built datasets, as in `open_source`.

    Raises:
      DataError: a weight is not a positive number, a dataset is named twice or missing, or its classes differ from the first.
    """
    if isinstance(parts, str) or not all(isinstance(part, tuple | list) and len(part) == 2 for part in parts):
        raise DataError(
            f"The mix is {parts!r}. Write a (name, weight) for each dataset: "
            """--config.data.mix='(("egohands/hands", 2.0), ("gtea/wrist", 1.0))'"""
        )
    names = [name for name, _ in parts]
    if twice := {name for name in names if names.count(name) > 1}:
        raise DataError(f"The mix names {', '.join(sorted(twice))} twice. Name it once, with a larger weight.")
    for name, weight in parts:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise DataError(f"The mix gives {name} the weight {weight!r}. Write (name, weight) with a number above 0.")
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
            f" {', '.join(second.class_names)}. Choose dataset configs that have the same classes."
        )
