"""`refinenet-jax VERB` = `python -m refinenet_jax VERB`: the jobs that need no config."""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from absl import logging

from refinenet_jax import compilation_cache, verify
from refinenet_jax.data.doctor import check
from refinenet_jax.errors import UsageError
from refinenet_jax.evaluation import tune_crf
from refinenet_jax.inference import export, predict, serve
from refinenet_jax.weights import convert

VERBS = {
    "check": (check, "find what is wrong with a dataset before training on it"),
    "convert": (convert, "turn other people's weights into a folder that predict, evaluate and training take"),
    "export": (export, "write a trained network as ONNX, TFLite, SavedModel or StableHLO, compared with it"),
    "predict": (predict, "find hands in pictures, videos and from a camera: masks, overlays, polygons, tables"),
    "serve": (serve, "a web page that finds hands in pictures, clips and a webcam, and a JSON API"),
    "tune-crf": (tune_crf, "find the dense CRF's parameters that serve a network best"),
    "verify": (verify, "tell whether the checkpoints in a folder are what was written"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs a verb; returns the exit status."""
    parser = argparse.ArgumentParser(
        "refinenet-jax",
        description="Hand segmentation with RefineNet. Training and evaluation: python -m refinenet_jax.main --help",
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, (module, summary) in VERBS.items():
        module.add_arguments(verbs.add_parser(name, help=summary, description=summary))
    args = parser.parse_args(argv)
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every file
    try:
        compilation_cache.use()
        return VERBS[args.verb][0].run(args)
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
