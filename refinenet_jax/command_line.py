"""What every command line of the package does: `~` in paths, errors of one line with the nearest right word, and devices."""

import argparse
import difflib
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import jax

from refinenet_jax.errors import UsageError


def expand_home(arguments: Iterable[str]) -> list[str]:
    """Arguments with `~` and `~user` expanded also after `=`, `,` and `@`, where shells leave it: --output=~/x."""
    return [
        re.sub(r"(?<![^=,@])~[^/,]*(?=/|,|$)", lambda home: os.path.expanduser(home[0]), text) for text in arguments
    ]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, with the nearest valid word in the place of a wrong one."""

    def error(self, message: str) -> NoReturn:
        end = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"error: {message}{end} See: {self.prog} --help\n")

    def refuse_unknown(self, arguments: Sequence[str]) -> None:
        """Ends the program with status 2 where `parse_known_args` left arguments over."""
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
    """Chooses where networks run, before anything else asks JAX for devices.

    Args:
      name: cpu; gpu or cuda, for all GPUs; gpu:1 or gpu:0,2, for those; tpu; None for the best there is.

    Raises:
      UsageError: another name, or no such device that JAX can use.
    """
    if name is None:
        return
    platform, _, numbers = name.replace("cuda", "gpu", 1).partition(":")
    if platform not in ("cpu", "gpu", "tpu") or (numbers and not re.fullmatch(r"\d+(,\d+)*", numbers)):
        raise UsageError(f"--device={name} is unknown; give cpu, gpu, gpu:0, gpu:0,1 or tpu.")
    if numbers and platform != "gpu":
        raise UsageError(f"--device={name}: only GPUs can be chosen by number; give --device={platform}.")
    if platform == "cpu":
        jax.config.update("jax_platforms", "cpu")
    if numbers:
        jax.config.update("jax_cuda_visible_devices", numbers)
    try:
        found = jax.default_backend()
    except RuntimeError as error:
        raise UsageError(f"--device={name} cannot be used: {error}. Leave --device out to use the CPU.") from error
    if found != platform:
        extra = {"gpu": "cuda", "tpu": "tpu"}.get(platform)
        install = f" Install 'refinenet-jax[{extra}]', or leave" if extra else " Leave"
        raise UsageError(f"--device={name} cannot be used: JAX runs on {found} here.{install} --device out.")


def _nearest(word: str, valid: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(valid), n=1)
    return f"; did you mean {near[0]}?" if near else "."
