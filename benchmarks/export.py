"""Measures each export format: size, time per picture compared with JAX, and agreement with the network.

    python -m benchmarks.export [--checkpoint=DIR] [--size=192x256]

Uses random weights (for rf_lw_mbv2 those of the checkpoint, if given) and synthetic pictures; each row in its own process.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks import tables

ROWS = (
    ("rf_lw_mbv2", "stablehlo", False),
    ("rf_lw_mbv2", "onnx", False),
    ("rf_lw_mbv2", "tflite", False),
    ("rf_lw_mbv2", "savedmodel", False),
    ("rf_lw_mbv2", "onnx", True),
    ("rf_lw_mbv2", "tflite", True),
    ("rf101", "stablehlo", False),
    ("rf101", "onnx", False),
)


def segmenter(variant: str, checkpoint: str | None):
    """Returns the checkpoint's network, or one with random weights whose two classes are about equally frequent."""
    import jax
    import numpy as np

    from refinenet_jax import Segmenter, create_model, models

    if checkpoint and variant == "rf_lw_mbv2":
        return Segmenter.from_checkpoint(checkpoint, scales=(1.0,), flip=False)
    model, rng = create_model(variant, 2), np.random.default_rng(0)

    def draw(place, leaf):
        path, name = jax.tree_util.keystr(place), place[-1].key
        if name in ("scale", "var"):  # small at the end of a ResNet block, or a deep trunk overflows
            return np.full(leaf.shape, 0.3 if "bn3" in path and name == "scale" else 1.0, np.float32)
        if name != "kernel":
            return np.zeros(leaf.shape, np.float32)
        gain = 0.3 if "cascade" in path else np.sqrt(2)
        kernel = rng.normal(0, gain / np.sqrt(np.prod(leaf.shape[:-1])), leaf.shape)
        return (kernel - kernel.mean(tuple(range(leaf.ndim - 1))) * ("classifier" in path)).astype(np.float32)

    return Segmenter(
        model, jax.tree_util.tree_map_with_path(draw, models.variable_shapes(model)), ("background", "hand")
    )


def measure(variant: str, form: str, int8: bool, size: tuple[int, int], checkpoint: str | None) -> dict:
    """Exports and compares a network in this process; returns a row of the table."""
    import importlib

    from refinenet_jax.inference.export import check, pictures
    from refinenet_jax.inference.export.network import Network

    module = importlib.import_module(f"refinenet_jax.inference.export.{form}")
    network = Network.of(segmenter(variant, checkpoint), size)
    calibration = [image for image, _ in pictures.made_up(size, 16)] if int8 else []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"export{module.SUFFIX}"
        module.write(path, network, {}, calibration)
        files = [file for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
        stored = sum(file.stat().st_size for file in files)
        comparison = check.compare(
            module.load(path)[1], network, pictures.made_up(size, 4 if variant == "rf101" else 16)[-8:]
        )
    return {"name": f"{form}{', int8' if int8 else ''}", "MB": stored / 1e6, **vars(comparison)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", help="run folder or weight file of rf_lw_mbv2")
    parser.add_argument("--size", default="192x256", metavar="HxW")
    parser.add_argument("--row", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row is not None:
        size = tuple(map(int, args.size.split("x")))
        print(json.dumps(measure(*ROWS[args.row], size, args.checkpoint)))
        return
    tables.header(
        *("network", "format", "MB", "same class", "maximum difference of a score"),
        *("IoU with the network", "ms, JAX", "ms"),
    )
    for index, (variant, _, _) in enumerate(ROWS):
        result = tables.measured("export", *sys.argv[1:], f"--row={index}")
        before, after = result["milliseconds"]
        tables.row(
            variant,
            result["name"],
            f"{result['MB']:.1f}",
            f"{result['agreement']:.3%}",
            f"{result['difference']:.1e}",
            "none" if result["iou"] is None else f"{result['iou']:.4f}",
            f"{before:.0f}",
            f"{after:.0f}",
        )


if __name__ == "__main__":
    main()
