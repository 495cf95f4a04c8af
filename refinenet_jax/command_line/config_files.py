"""Config files: given by path or, those that come with the package, by name."""

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path

from refinenet_jax.errors import UsageError, require

_FOLDER = Path(__file__).parents[2] / "configs"
_SHARED = ("common", "paper")  # imported by the others


def find(config: str) -> str:
    """Returns the path of a config, with the variant that may follow after a colon.

    Args:
      config: a path, as in `configs/hof.py:rf_lw_mbv2`, or the name of a packaged config, as in `hof:rf_lw_mbv2`.

    Raises:
      UsageError: there is no such file or packaged config.
    """
    path, colon, variant = config.partition(":")
    names = sorted(file.stem for file in _FOLDER.glob("*.py") if file.stem not in _SHARED)
    if not path.endswith(".py"):
        path = str(_FOLDER / f"{require(path, names, 'config')}.py")
    elif not os.path.isfile(path):
        name = Path(path).stem
        fix = f"Give --config={name} for the packaged one" if name in names else f"Packaged are {', '.join(names)}"
        raise UsageError(f"There is no config file {path}. {fix}.")
    return path + colon + variant


def use_folder_of(path: str | os.PathLike) -> None:
    """Makes `from configs import ...` in a config mean its own folder, if that is called configs, and then the packaged one.

    A folder configs elsewhere, such as one in the working directory, is not searched.
    """
    folder = Path(path).resolve().parent
    own = [str(folder)] if folder.name == _FOLDER.name else []
    spec = ModuleSpec("configs", None, is_package=True)
    spec.submodule_search_locations = [*own, str(_FOLDER)]
    for name in [name for name in sys.modules if name.partition(".")[0] == "configs"]:
        del sys.modules[name]
    sys.modules["configs"] = module_from_spec(spec)
