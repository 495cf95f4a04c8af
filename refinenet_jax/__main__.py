"""Runs `refinenet-jax COMMAND` (`python -m refinenet_jax COMMAND`)."""

import argparse
import importlib
import os
import runpy
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import logging

from refinenet_jax import compilation_cache
from refinenet_jax.command_line.parser import Parser, expand_home
from refinenet_jax.errors import UsageError

# Name -> module, imported only when its command is run, and what it does. Those without a module are jobs of main.py.
COMMANDS = {
    "predict": (
        "inference.predict.command",
        "find hands in pictures, videos and cameras: masks, overlays, outlines, tables",
    ),
    "train": ("", "train a network on a dataset or on a folder of your own pictures"),
    "evaluate": ("", "score a trained network, or masks of any program, on a dataset"),
    "check": ("data.doctor.check", "find what is wrong with a dataset before training on it"),
    "convert": (
        "weights.convert",
        "convert other people's weights to a folder for predict, evaluate and train",
    ),
    "export": (
        "inference.export.command",
        "write a network as ONNX, TFLite, SavedModel or StableHLO, and compare them",
    ),
    "serve": (
        "inference.serve.command",
        "serve a web page and an API that find hands in pictures, clips and a webcam",
    ),
    "verify": ("command_line.verify", "compare the checkpoints in a folder with their checksums"),
}
_EXAMPLES = """examples:
  refinenet-jax predict photos/ clip.mp4 --output=results
  refinenet-jax train --config=folder --config.data.name=./hands --workdir=run
  refinenet-jax evaluate --workdir=run
"""


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    argv = expand_home(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # file names that are not UTF-8, and terminals that are not
    if argv and COMMANDS.get(argv[0], (None,))[0] == "":
        return _run_job(*argv)
    parser = Parser(
        "refinenet-jax",
        usage="refinenet-jax COMMAND [options]",
        description="Hand segmentation with RefineNet. Options: refinenet-jax COMMAND --help",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, summary) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
        if name in argv[:1]:
            module = importlib.import_module(f"refinenet_jax.{module}")
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    args, unknown = parser.parse_known_args(argv)
    commands.choices[args.command].refuse_unknown(unknown)
    logging.set_verbosity(logging.ERROR)  # Orbax logs every file
    try:
        compilation_cache.use()
        status = args.run(args)
        sys.stdout.flush()
        return status
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `refinenet-jax check ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more when it ends
        return 141  # what a shell gives a program that SIGPIPE ended


def _run_job(job: str, *arguments: str) -> int:
    """Runs `python -m refinenet_jax.main`, which has its own flags and exits by itself."""
    sys.argv = [sys.argv[0], f"--job={job}", *arguments]
    runpy.run_module("refinenet_jax.main", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
