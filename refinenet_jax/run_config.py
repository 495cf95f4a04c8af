"""config.json: the complete config of the run in a folder.

This module is a config file itself and loads that of a run: --config=refinenet_jax/run_config.py:runs/egohands
"""

import json
import os
from collections.abc import Mapping
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from refinenet_jax import text_files
from refinenet_jax.errors import UsageError

NAME = "config.json"


def get_config(workdir: str) -> ConfigDict:
    """Returns the config of the run in a folder; fields that an older version did not have get their default values.

    Raises:
      UsageError: config.json is missing or damaged.
    """
    from configs import common  # here, because `config_files.use_folder_of` sets what it means

    saved = read(workdir)
    if saved is None:
        raise UsageError(f"{workdir} has no {NAME}. Pass the config of that run: --config=NAME_OR_FILE")
    return ConfigDict(_filled(_with_tuples(saved), common.get_config().to_dict()))


def read(workdir: str | os.PathLike) -> dict | None:
    """Returns the contents of config.json, None if it does not exist.

    Raises:
      UsageError: the file is damaged.
    """
    path = epath.Path(workdir) / NAME
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({error}). Delete it, and pass --config=NAME_OR_FILE") from error


def write(workdir: str | os.PathLike, config: ConfigDict) -> None:
    """Writes config.json atomically."""
    text_files.replace(epath.Path(workdir) / NAME, json.dumps(config.to_dict(), indent=2) + "\n")


def flatten(config: Mapping[str, Any] | ConfigDict) -> dict[str, Any]:
    """Returns the fields of a config by dotted name, such as 'schedule.learning_rate', as JSON."""
    fields = {}
    for name, value in config.items():
        if isinstance(value, Mapping | ConfigDict):
            fields |= {f"{name}.{inner}": field for inner, field in flatten(value).items()}
        else:
            fields[name] = json.loads(json.dumps(value))
    return fields


def differences(before: Mapping[str, Any], now: ConfigDict) -> dict[str, list]:
    """Returns [value before, value now] of every field that differs, by dotted name; None for a missing field."""
    old, new = flatten(before), flatten(now)
    return {name: [old.get(name), new.get(name)] for name in {**old, **new} if old.get(name) != new.get(name)}


def _filled(fields: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Adds the fields of `defaults` that are missing, at every level."""
    inner = {
        name: _filled(value, defaults[name])
        for name, value in fields.items()
        if isinstance(value, Mapping) and isinstance(defaults.get(name), Mapping)
    }
    return {**defaults, **fields, **inner}


def _with_tuples(value: Any) -> Any:
    """Converts JSON lists to tuples, as in configs."""
    if isinstance(value, Mapping):
        return {name: _with_tuples(field) for name, field in value.items()}
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value
