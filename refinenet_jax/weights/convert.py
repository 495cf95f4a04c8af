"""`refinenet-jax convert`: other people's weights into our checkpoint format, or into one file."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refinenet_jax import models
from refinenet_jax.errors import UsageError
from refinenet_jax.weights.flat import ENDING, description_of, save_weights
from refinenet_jax.weights.loading import build, network_in
from refinenet_jax.weights.recognize import Network

_EXAMPLES = """examples:
  refinenet-jax convert refinenet_res101.mat
  refinenet-jax convert rf_lw50.pth --output=runs/rf_lw50
  refinenet-jax convert runs/egohands --output=hands.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command-line arguments of `refinenet-jax convert`."""
    parser.usage = "refinenet-jax convert FILE [options]"
    parser.formatter_class, parser.epilog = argparse.RawDescriptionHelpFormatter, _EXAMPLES
    parser.add_argument(
        "source", metavar="FILE", help=".pth, .safetensors, .npz, .tflite, MatConvNet's .mat, or the folder of a run"
    )
    parser.add_argument(
        "--output",
        metavar="DIR_OR_FILE",
        help="new folder or .safetensors file (default: nothing is written, the content of FILE is printed)",
    )
    parser.add_argument(
        "--classes",
        metavar="NAMES",
        help="names of the classes, background first, as in 'background,left hand,right hand' (default: the file's)",
    )


def run(args: argparse.Namespace) -> int:
    """Converts the file, or describes it without --output; returns the exit status."""
    from refinenet_jax import checkpoint  # loads Orbax, which prediction does not need; it uses `describe`

    source, output = Path(args.source), args.output and Path(args.output)
    if output and output.exists():
        raise UsageError(f"{output} exists; move it, or give another --output.")
    if source.is_dir():
        if output is None or output.suffix != ENDING:
            raise UsageError(f"{source} is a folder already; give an --output that ends in {ENDING}.")
        description, variables = checkpoint.load_model(source)
        save_weights(output, variables, description)
        print(f"Written: {output}")
        return 0
    classes = tuple(name.strip() for name in args.classes.split(",")) if args.classes else ()
    network = network_in(source)
    file = network.file
    for line in _summary(source, file.format, network):
        print(line)
    if output is None:
        return 0
    if network.variant is None:
        raise UsageError(f"{source} holds a trunk alone. Train from it: --config.init_from={source}.")
    model, variables = build(network, source)
    description = describe(network.variant, model, network, file.facts, classes)
    own = description_of(file) or {}
    kept = {"dtype", "scales", "longest_side", "flip", "dataset", "license"} | (set() if classes else {"flip_pairs"})
    description |= {key: own[key] for key in kept & own.keys()}
    description |= {"converted_from": source.name}
    if output.suffix == ENDING:
        save_weights(output, variables, description)
    else:
        checkpoint.write_model(output, description, variables)
    print(f"Written: {output}")
    return 0


def describe(
    variant: str, model: models.RefineNet, network: Network, facts: Mapping[str, Any], classes: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Returns the content of model.json for a converted network: as for one trained here, with the file's own facts.

    Raises:
      UsageError: more or fewer classes than the network has channels (a last one called void may be there or not).
    """
    names = classes or network.class_names
    if names[-1] == "void":
        names = names[:-1]
    if not model.num_classes - 1 <= len(names) <= model.num_classes:
        raise UsageError(f"The network has {model.num_classes} channels, but {len(names)} classes: {', '.join(names)}.")
    pairs = [
        (i, names.index(other))
        for i, name in enumerate(names)
        if "left" in name and (other := name.replace("left", "right")) in names
    ]
    return {
        "variant": variant,
        "num_classes": model.num_classes,
        "class_names": names,
        "flip_pairs": pairs,
        **{name: getattr(model, name) for name in (*models.OPTIONS, "input_scale")},
        "dtype": "float32",
        "scales": (1.0,),
        "flip": False,
        "dataset": "",
        "license": str(facts.get("license", "not stated in the file")),
    }


def _summary(source: Path, form: str, network: Network) -> list[str]:
    """Returns the lines that describe a file."""
    count = sum(array.size for array in network.arrays.values())
    lines = [f"{source}: {form}, {len(network.arrays)} arrays, {count / 1e6:.1f} M numbers"]
    if network.variant:
        void = network.num_classes - len(network.class_names)
        lines.append(
            f"network   {network.variant}, {network.num_classes} channels: {', '.join(network.class_names)}"
            f"{' (and void)' if void else ''}"
        )
    else:
        lines.append(f"network   {network.trunk}, a trunk alone")
    if network.unused:
        lines.append(f"unused    {', '.join(network.unused)}")
    if network.options:
        lines.append("computes  " + ", ".join(f"{key} {value}" for key, value in network.options.items()))
    # A file may hold what would steer the terminal.
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]
