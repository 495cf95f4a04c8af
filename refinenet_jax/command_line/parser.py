"""Parts of all command lines of the package: `~` in paths, one-line errors with suggestions, and the choice of devices."""

import argparse
import difflib
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import jax

from refinenet_jax.errors import UsageError


def expand_home(arguments: Iterable[str]) -> list[str]:
    """Expands `~` and `~user` in arguments also after `=`, `,` and `@`, where shells do not: --output=~/x."""
    return [
        re.sub(r"(?<![^=,@])~[^/,]*(?=/|,|$)", lambda home: os.path.expanduser(home[0]), text) for text in arguments
    ]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line and suggest the most similar valid word."""

    def error(self, message: str) -> NoReturn:
        end = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"error: {message}{end} See: {self.prog} --help\n")

    def refuse_unknown(self, arguments: Sequence[str]) -> None:
        """Exits with status 2 if `parse_known_args` returned unknown arguments."""
        if arguments:
            name = arguments[0].partition("=")[0]
            what = "Unknown option" if name.startswith("-") else "Unexpected argument"
            self.error(f"{what} {name}{_nearest(name, self._option_string_actions)}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            valid = [str(choice) for choice in action.choices]
            message = f"unknown value {value!r}{_nearest(str(value), valid)} Valid are {', '.join(valid)}"
            raise argparse.ArgumentError(action, message)


def use_device(name: str | None) -> None:
    """Chooses the devices that networks run on; call it before anything uses JAX devices.

    Args:
      name: cpu; gpu or cuda for all GPUs; gpu:1 or gpu:0,2 for these; tpu; None for the best available.

    Raises:
      UsageError: the name is invalid, or JAX cannot use such a device.
    """
    if name is None:
        return
    platform, _, numbers = name.replace("cuda", "gpu", 1).partition(":")
    if platform not in ("cpu", "gpu", "tpu") or (numbers and not re.fullmatch(r"\d+(,\d+)*", numbers)):
        raise UsageError(f"--device={name} is unknown. Choose cpu, gpu, gpu:0, gpu:0,1 or tpu.")
    if numbers and platform != "gpu":
        raise UsageError(f"--device={name}: only GPUs can be chosen by number. Use --device={platform}.")
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if numbers:
        jax.config.update("jax_cuda_visible_devices", numbers)
    try:
        backend = jax.default_backend()
    except RuntimeError as error:
        raise UsageError(f"--device={name} cannot be used: {error}. Omit --device to use the CPU.") from error
    if backend != platform:
        extra = {"gpu": "cuda", "tpu": "tpu"}.get(platform)
        install = f" Install 'refinenet-jax[{extra}]', or omit" if extra else " Omit"
        raise UsageError(f"--device={name} cannot be used: JAX runs on {backend} here.{install} --device.")


def _nearest(word: str, valid: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(valid), n=1)
    return f"; did you mean {near[0]}?" if near else "."
