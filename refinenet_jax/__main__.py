"""`refinenet-jax COMMAND` = `python -m refinenet_jax COMMAND`: the jobs that need no config."""

import importlib
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import logging

from refinenet_jax import compilation_cache
from refinenet_jax.command_line import Parser, expand_home
from refinenet_jax.errors import UsageError

# Name -> module, imported only when its command is run, and what it does.
COMMANDS = {
    "check": ("data.doctor.check", "find what is wrong with a dataset before training on it"),
    "convert": (
        "weights.convert",
        "turn other people's weights into a folder that predict, evaluate and training take",
    ),
    "export": (
        "inference.export.command",
        "write a trained network as ONNX, TFLite, SavedModel or StableHLO, compared with it",
    ),
    "predict": (
        "inference.predict.command",
        "find hands in pictures, videos and cameras: masks, overlays, outlines, tables",
    ),
    "serve": (
        "inference.serve.command",
        "a web page and an API that find hands in pictures, clips and a webcam",
    ),
    "verify": ("verify", "report whether the checkpoints in a folder are what was written"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    argv = expand_home(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # file names that are not UTF-8, and terminals that are not
    parser = Parser(
        "refinenet-jax",
        description="Hand segmentation with RefineNet. Training and evaluation: python -m refinenet_jax.main --help",
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


if __name__ == "__main__":
    sys.exit(main())
