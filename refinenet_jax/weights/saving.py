"""Our own weights in one file: safetensors or npz, with the description that model.json has."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from refinenet_jax.errors import UsageError
from refinenet_jax.weights.weights_file import WeightsError, WeightsFile

DESCRIPTION = "model.json"  # the entry of the file that holds it
ENDINGS = (".safetensors", ".npz")


def save_weights(path: str | os.PathLike, variables: Mapping[str, Any], description: Mapping[str, Any]) -> None:
    """Writes variables to a new file; `load` gives them back, bit for bit.

    Args:
      path: ends in .safetensors or .npz. Arrays are named by their place, as in 'params/trunk/conv1/kernel'.
      variables: {'params': ..., 'batch_stats': ...}.
      description: as in model.json: variant, class_names, options, licence, ...

    Raises:
      UsageError: another ending, or the file exists.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise UsageError(f"{path} must end in {' or '.join(ENDINGS)}.")
    if path.exists():
        raise UsageError(f"{path} exists; move it, or write to another file.")
    arrays = {
        "/".join(key.key for key in place): np.ascontiguousarray(leaf)
        for place, leaf in jax.tree_util.tree_leaves_with_path(variables)
    }
    text = json.dumps(description)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    if path.suffix == ".npz":
        with partial.open("wb") as file:
            np.savez(file, **arrays, **{DESCRIPTION: np.frombuffer(text.encode(), np.uint8)})
    else:
        safetensors.numpy.save_file(arrays, partial, {DESCRIPTION: text})
    partial.replace(path)  # whole or not at all


def description_of(file: WeightsFile) -> dict[str, Any] | None:
    """The description in a file that `save_weights` wrote; None in any other.

    Raises:
      WeightsError: there is one, but it cannot be read.
    """
    text = file.facts.get(DESCRIPTION)
    if text is None and DESCRIPTION in file.arrays:
        text = file.arrays[DESCRIPTION].tobytes()
    if text is None:
        return None
    try:
        description = json.loads(text)
        missing = {"variant", "class_names", "dtype"} - description.keys()
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"Its {DESCRIPTION} cannot be read ({error}).") from error
    if missing:
        raise WeightsError(f"Its {DESCRIPTION} does not tell {', '.join(sorted(missing))}.")
    return description
